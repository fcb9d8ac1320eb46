"""The page's sections about a sweep itself: its question, settings, problems and origin."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import pandas as pd

from analysis.reading.columns import METRIC_COLUMNS
from analysis.reading.integrity import inspect_folder
from analysis.reading.labels import exact_name, json_identity
from analysis.reading.results import NO_AXES, status_rank
from analysis.reading.settings import flatten
from analysis.report.curves import values_of
from analysis.report.markup import bullets, details, element, table
from analysis.tables.build import Part, mixed_environments
from sweep.records import LineageRecord, SweepRecord

MOST_LISTED = 50
"""Most problems or notes that the page lists."""
ENDED = ("done", "diverged", "unmeasured")
"""Statuses of lineages that will not change."""


def asked(
    part: Part, sweeps: Mapping[str, SweepRecord], records: Sequence[LineageRecord]
) -> Iterator[Element]:
    """What each sweep is about, how far it is, and which settings vary and which do not."""
    for run, sweep in sweeps.items():
        text = sweep.description or "This sweep has no description."
        name = element("strong", sweep.name)
        where = f" (folder {run})" if run != sweep.name else ""
        yield element("p", name, f"{where}: {text}")
    yield element("p", _progress(part.frame))
    rows = [[axis, ", ".join(values_of(part, axis))] for axis in (*part.by, "seed")]
    yield table("Settings that vary", ["setting", "values"], rows)
    if part.usual:
        yield element("p", f"{part.usual.describe()}.")
    constant = list(_constant(part, records))
    fixed = table("Settings that do not vary", ["setting", "value"], constant)
    yield details(f"{len(constant)} settings that do not vary", fixed)


def problems(frame: pd.DataFrame, runs: Mapping[str, Path], more: Sequence[str]) -> list[Element]:
    """What `analysis check` says of the folders, and what is unfinished or mixed."""
    found, notes = [], list(more)
    for run, folder in runs.items():
        findings = inspect_folder(folder)
        found += findings.problems
        where = f"{run}: " if len(runs) > 1 else ""
        notes += [where + note for note in findings.notes]
    notes += sorted({text for cell in frame[METRIC_COLUMNS[2]].dropna() for text in cell})
    if differing := mixed_environments(frame):
        notes.append(f"different environments (models): {differing}")
    made = [element("p", f"analysis check finds {_count(len(found), 'problem')}.")]
    made += [bullets(_first(found))] if found else []
    return [*made, element("p", "Notes and warnings:"), bullets(_first(notes))] if notes else made


def _first(sentences: Sequence[str]) -> list[str]:
    """The first sentences, and how many more there are."""
    more = len(sentences) - MOST_LISTED
    return [*sentences[:MOST_LISTED], *([f"and {more:,} more"] if more > 0 else [])]


def unfinished(records: Iterable[LineageRecord]) -> list[str]:
    """A sentence about each lineage that is not done."""
    return [
        f"lineage {record.id}: {record.status}" + (f" ({record.error})" if record.error else "")
        for record in records
        if record.status != "done"
    ]


def environment(sweeps: Mapping[str, SweepRecord], frame: pd.DataFrame) -> Iterator[Element]:
    """Where the runs were started, and where their models were trained."""
    for run, sweep in sweeps.items():
        facts = [[name, str(value)] for name, value in sorted(sweep.environment.items())]
        if facts:
            yield table(f"The last run of {run} was started with", ["what", "value"], facts)
    lines = frame.drop_duplicates(["node", "member"])["environments"].dropna()
    counts = pd.Series([line for cell in lines for line in cell], dtype=object).value_counts()
    if len(counts):
        rows = [[str(line), str(n)] for line, n in counts.items()]
        yield table("Environments of models", ["environment", "models"], rows)


def reproduce(sweeps: Mapping[str, SweepRecord], command: str) -> Iterator[Element]:
    """The commands that made the folders and this page."""
    for run, sweep in sweeps.items():
        yield element("p", f"Commands that made {run}, oldest first:")
        yield element("pre", element("code", "\n".join(sweep.commands) or "not recorded"))
        if commit := sweep.environment.get("git_commit"):
            yield element("p", "The code was at commit ", element("code", str(commit)), ".")
    yield element("p", "This page was made by:")
    yield element("pre", element("code", command))


def _progress(frame: pd.DataFrame) -> str:
    """Count lineages and models: `6 lineages, 5 done and 1 diverged; 15 models`."""
    statuses = frame.groupby(["run", "lineage"])["status"].agg(lambda s: max(s, key=status_rank))
    counts = statuses.value_counts()
    words = [f"{counts[each]} {each}" for each in sorted(counts.index, key=status_rank)]
    models = frame.loc[frame["status"].isin(ENDED), "node"].nunique()
    text = f"{_count(len(statuses), 'lineage')}: {', '.join(words)}. {_count(models, 'model')}."
    if not set(counts.index) <= set(ENDED):
        text += " The run is not finished: everything below is about what is there so far."
    return text


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _constant(part: Part, records: Sequence[LineageRecord]) -> Iterator[list[str]]:
    """Settings with the same value in every lineage."""
    flat = [flatten(record.config) for record in records]
    for name, value in sorted(flat[0].items()):
        same = {json_identity(each.get(name)) for each in flat} == {json_identity(value)}
        if same and name not in part.by and name not in NO_AXES[:1]:
            yield [name, exact_name(value) if value is not None else "none"]
