"""The report: one HTML file that needs nothing else."""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from xml.etree.ElementTree import Element

import pandas as pd

from analysis.reading.columns import setting_axes
from analysis.reading.hypotheses import load_hypotheses
from analysis.reading.results import run_names
from analysis.report.curves import choose_metrics, curves
from analysis.report.facts import asked, environment, problems, reproduce, unfinished
from analysis.report.findings import Findings, find_all
from analysis.report.gains import read_gains
from analysis.report.ledger import read_ledger
from analysis.report.lineages import Tree, read_tree
from analysis.report.markup import details, element, to_html
from analysis.report.previews import Previews, read_previews
from analysis.report.shares import read_shares
from analysis.statistics.forecasts import Forecasts
from analysis.tables.build import part_of
from analysis.tables.ledger import Step
from analysis.tables.verdicts import describe_verdicts
from model.errors import UsageError, printable
from sweep.records import HYPOTHESES, load_lineages, load_sweep

MARK = b'<meta name="generator" content="analysis report of collapse-sweep">'
"""By which a report of ours is recognised."""
SCRIPTS = (
    "elements",
    "curves",
    "paths",
    "gains",
    "ledger",
    "tree",
    "samples",
    "pools",
    "classes",
    "start",
)
"""Scripts in their order, without suffix."""
MEGABYTE = 10**6
MOST_OPEN = 6
"""Most sentences without a claim that are shown at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRequest:
    """What a report is about."""

    dirs: Sequence[Path]
    frame: pd.DataFrame
    """The table of analysis.reading.results.load_results for `dirs`."""
    metrics: Sequence[str]
    """Metrics that a user names; empty for the default."""
    steps: Sequence[Step]
    """Arms of the error ledger; empty without one."""
    forecasts: Forecasts | None
    """The forecast of each lineage, which is drawn beside gains; None if none was given."""
    confidence: float
    """Coverage of the intervals over seeds, in (0, 1)."""
    max_megabytes: float
    """Largest size of the page, unless it is larger without any sheet of samples."""
    command: str
    """The command line, for the page."""


def build_page(request: ReportRequest) -> bytes:
    """Make the page.

    Raises:
        UsageError: A metric does not exist, a size is no size, a step leaves no lineage, or no
            lineage has a forecast.
        RecordError: A record is damaged.
    """
    if not (request.max_megabytes >= 0 and math.isfinite(request.max_megabytes)):
        raise UsageError(
            f"--max-size must be a finite number of megabytes, got {request.max_megabytes!r}"
        )
    frame, runs = request.frame, run_names(request.dirs)
    metrics = choose_metrics(frame, request.metrics)
    part = part_of(frame, setting_axes(frame), request.confidence)
    drawn = curves(part, metrics)
    records = {(run, x.id): x for run, folder in runs.items() for x in load_lineages(folder)}
    tree = read_tree(part, runs, records, [each["column"] for each in drawn.data["metrics"]])
    tested = choose_metrics(frame, request.metrics) if request.metrics else metrics[:1]
    found = find_all(frame, tested, request.confidence)
    sweeps = {run: load_sweep(folder) for run, folder in runs.items()}
    gains, undrawn = read_gains(part, request.dirs, request.forecasts)
    ledger, bars = read_ledger(
        frame,
        request.metrics,
        request.steps,
        confidence=request.confidence,
        forecasts=request.forecasts,
    )
    notes = [*unfinished(records.values()), *drawn.notes, *undrawn]
    parts = {
        "title": element("title", f"{', '.join(s.name for s in sweeps.values())}: results"),
        "heading": element("h1", ", ".join(dict.fromkeys(s.name for s in sweeps.values()))),
        "asked": asked(part, sweeps, list(records.values())),
        "findings": [
            *_verdicts(runs.values()),
            *(each for findings in found for each in _describe(findings)),
        ],
        "ledger": ledger,
        "problems": problems(frame, runs, notes),
        "environment": environment(sweeps, frame),
        "reproduce": reproduce(sweeps, request.command),
    }
    html = {name: to_html([x] if isinstance(x, Element) else x) for name, x in parts.items()}
    html["ledger_hidden"] = "" if ledger else "hidden"
    data = {
        "curves": drawn.data,
        "gains": gains,
        "ledger": bars,
        "tree": tree.data,
        "shares": read_shares(request.dirs, tree),
    }
    return _assemble(html, data, tree, request.max_megabytes)


def is_report(content: bytes) -> bool:
    """Whether the content of a file is a report of ours."""
    return MARK in content[:1000]


def _verdicts(folders: Iterable[Path]) -> Iterator[Element]:
    """What `analysis verdict` says of the hypotheses that were written down."""
    for folder in folders:
        if any((folder / HYPOTHESES).glob("*.json")):
            yield element("h3", "Hypotheses")
            yield element("pre", describe_verdicts(load_hypotheses(folder)))


def _describe(found: Findings) -> list[Element]:
    words = {"shown": "shown", "undecided": "not shown", "single": "one seed"}
    items = [
        element(
            "li",
            element("span", words[each.strength], class_=f"mark {each.strength}"),
            f" {each.text}.",
        )
        for each in found.findings
    ]
    notes = [note[0].upper() + note[1:] + "." for note in found.notes]
    num_shown = sum(each.strength == "shown" for each in found.findings)
    made = [element("h3", found.title)]
    if found.findings:
        verb = "shows" if num_shown == 1 else "show"
        noun = "comparison" if len(items) == 1 else "comparisons"
        counts = f"{num_shown} of {len(items)} {noun} {verb} a difference."
        made.append(element("p", counts))
    if num_shown:
        made.append(element("ul", *items[:num_shown], class_="findings"))
    rest = element("ul", *items[num_shown:], class_="findings")
    if len(rest) > MOST_OPEN:
        made.append(details(f"{len(rest)} comparisons that show no difference", rest))
    elif len(rest):
        made.append(rest)
    return [*made, *(element("p", note, class_="note") for note in notes)]


def _assemble(html: dict[str, str], data: dict[str, Any], tree: Tree, megabytes: float) -> bytes:
    """Fill the template, with as many pictures as fit."""
    scripts = {"plotly": _plotly(), "script": "\n".join(_text(f"{name}.js") for name in SCRIPTS)}
    texts = html | scripts | {"style": _text("report.css")}
    texts["policy"] = _policy(scripts.values())
    rest = len("".join(texts.values()).encode()) + len(_embed(data))
    previews = read_previews(tree.sheets, int(megabytes * MEGABYTE) - rest)
    data = data | _pictures(tree, previews, rest)
    texts["data"] = _embed(data)
    texts["previews"] = "\n".join(previews.texts)
    return Template(_text("template.html")).substitute(texts).encode()


def _pictures(tree: Tree, previews: Previews, rest: int) -> dict[str, Any]:
    """Where each model's and data set's pictures are, and a sentence about those left out."""
    nodes: dict[int, int] = {}
    for line, shown in zip(tree.lines, tree.data["lines"], strict=True):
        for key, node in zip(line.nodes, shown["nodes"], strict=True):
            if key in previews.of:
                nodes[node] = previews.of[key]
    needed = math.ceil((rest + sum(map(len, previews.texts)) + previews.bytes_left_out) / MEGABYTE)
    left = [f"{path} is left out, because it is no PNG file." for path in previews.damaged]
    if previews.num_left_out:
        left.append(
            f"{previews.num_left_out:,} of {len(tree.sheets):,} sheets of samples are left out, "
            f"because the page would be too large; analysis report --max-size {needed + 1} "
            "includes all of them. The first seed of each setting comes first."
        )
    return {
        "previews": {
            "nodes": nodes,
            "real": {name: previews.of[name] for name in tree.sets if name in previews.of},
            "left": printable(" ".join(left)),
        }
    }


def _embed(data: Any) -> str:
    """JSON for a script element: no tag can begin in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _policy(scripts: Sequence[str] | Any) -> str:
    """Nothing but these scripts runs, and nothing is loaded from anywhere."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _text(name: str) -> str:
    return files("analysis.report").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()
