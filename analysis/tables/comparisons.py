"""Tables of paired comparisons: differences from a control within each seed, with their tests."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from analysis.reading.columns import (
    COMPARISON_COLUMNS,
    setting_axes,
)
from analysis.reading.labels import direction
from analysis.statistics.paired import POWER, Comparison, Unit, compare, holm
from analysis.tables.build import (
    Part,
    as_sentence,
    describe_lineages,
    describe_measurement,
    format_interval,
    part_of,
)
from analysis.tables.controls import (
    Arm,
    FindControl,
    arms_of,
    differences,
    find_controls,
    slopes,
)
from analysis.tables.table import Table
from model.errors import UsageError
from sweep.records import FIRST

SLOPE = "slope"
"""Value of the column of generations in rows about the slope over all of them."""
LEVEL = 0.05
"""Largest adjusted p-value of a generation that is called worse than V1."""


class Row(NamedTuple):
    """One comparison of a table."""

    arm: Arm
    generation: int | str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Rows:
    """The comparisons of one metric, and what could not be compared."""

    metric: str
    part: Part
    rows: list[Row]
    notes: list[str]


def build_comparisons(
    frame: pd.DataFrame,
    metrics: Sequence[str],
    *,
    against: str,
    confidence: float,
    margin: float | None = None,
    generations: Collection[int] = (),
) -> list[Table]:
    """Compare every setting with a control, within each seed and split of the data.

    A control is another setting at the same generation, or the first generation of the setting.
    Pairs of the same model with the same number are left out, and so are diverged lineages.

    Args:
        frame: A table of analysis.reading.results.load_results.
        metrics: Columns of numbers.
        against: V1, `base` (the setting from which the others differ in one value), `random` (the
            filter of that name), or AXIS=VALUE. The control of a setting is the one with this value
            that agrees with it in most other settings.
        confidence: Coverage of the intervals, in (0, 1).
        margin: Smallest difference that matters, for the equivalence tests.
        generations: Generations to compare; if empty, all of them, and their slopes.

    Returns:
        A table for each metric; with V1 and all generations, followed by one of the first
        generations that are worse.

    Raises:
        UsageError: There is no such control, or nothing to compare with it.
    """
    if margin is not None and not (margin > 0 and math.isfinite(margin)):
        raise UsageError(f"--margin must be a finite number above 0, got {margin!r}")
    there = sorted(frame["generation"].unique())
    for generation in generations:
        if generation not in there:
            known = ", ".join(map(str, there))
            raise UsageError(f"--generation must be one of {known}, got {generation}")
    part = part_of(frame, setting_axes(frame), confidence)
    find_control = find_controls(part, against)
    found = [
        _compare_metric(part, metric, find_control, against, margin, generations)
        for metric in metrics
    ]
    everything = [row.comparison.p for rows in found for row in rows.rows]
    if not everything:
        raise UsageError(
            f"--against {against} must leave at least one pair of different models of one seed, "
            f"got none{''.join(f'; {note}' for rows in found for note in rows.notes)}"
        )
    adjusted = iter(holm(everything))
    num_looks = sum(not math.isnan(p) for p in everything)
    tables = []
    for rows in found:
        if rows.rows:
            p_holm = [next(adjusted) for _ in rows.rows]
            tables.append(_table(rows, p_holm, against, num_looks, margin))
            if against == FIRST and direction(rows.metric) and not generations:
                tables.append(_first_worse(rows, p_holm, num_looks))
    return tables


def _compare_metric(
    part: Part,
    metric: str,
    find_control: FindControl,
    against: str,
    margin: float | None,
    generations: Collection[int],
) -> Rows:
    arms = arms_of(part, metric)
    rows, notes = [], []
    for arm in arms:
        control = find_control(arm, arms)
        setting = part.describe(arm.values)
        if control is None:
            notes.append(f"{setting} has no {against} to be compared with")
            continue
        wanted = sorted(n for n in arm.generations if n in (generations or arm.generations))
        pairs_of: dict[int | str, dict[Unit, float]] = {
            n: pairs for n in wanted if (pairs := differences(arm, n, control, against))
        }
        if pairs_of and not generations and (of_slopes := slopes(arm, control, against)):
            pairs_of[SLOPE] = of_slopes
        rows += [
            Row(arm, generation, compare(pairs, confidence=part.confidence, margin=margin))
            for generation, pairs in pairs_of.items()
        ]
        if lacking := arm.units() ^ control.units():
            seeds = ", ".join(sorted({part.labels.name("seed", unit[0]) for unit in lacking}))
            notes.append(f"{setting} has no pair for seed {seeds}")
    return Rows(metric, part, rows, notes)


def _table(
    found: Rows, p_holm: Sequence[float], against: str, num_looks: int, margin: float | None
) -> Table:
    part, metric = found.part, found.metric
    header = [*part.names, "", "difference", "p", "p (Holm)", "p (ranks)"]
    header += ["p (equal)"] if margin is not None else []
    header += ["seeds"]
    rows = []
    for row, adjusted in zip(found.rows, p_holm, strict=True):
        result = row.comparison
        cells = [_format_estimate(result, part.confidence)]
        cells += [format_p(result.p), format_p(adjusted), format_p(result.rank_p)]
        cells += [format_p(result.equivalence_p)] if margin is not None else []
        cells += ["-" if result.num_needed is None else str(result.num_needed)]
        generation = SLOPE if row.generation == SLOPE else f"V{row.generation}"
        rows.append([*part.name(row.arm.values), generation, *cells])
    caption = [describe_measurement(part.frame, metric), *_explain(found, against, num_looks)]
    if margin is not None:
        caption.append(
            f"p (equal): p-value of the hypothesis that the difference is at least {margin:g} in "
            "size; a small one supports equivalence; not corrected"
        )
    caption += [*found.notes, describe_lineages(part)]
    caption += [part.usual.describe()] if part.usual else []
    return Table(
        title=f"{metric}: differences from {against}",
        header=header,
        rows=rows,
        num_names=len(part.names) + 1,
        caption=as_sentence(caption),
        summary=_summary(found, p_holm, against, margin),
        runs=part.runs,
    )


def _explain(found: Rows, against: str, num_looks: int) -> list[str]:
    """Say what the columns mean."""
    confidence = found.part.confidence
    control = "V1 of the same lineage" if against == FIRST else f"{against} with the same seed"
    worse = {1: ", so that above 0 is worse", -1: ", so that below 0 is worse", 0: ""}[
        direction(found.metric)
    ]
    least = max(row.comparison.least_rank_p for row in found.rows)
    has_slopes = any(row.generation == SLOPE for row in found.rows)
    slopes = "" if against == FIRST else "difference of "
    return [
        f"difference: the row minus {control}{worse}; mean +- half-width of the "
        f"{100 * confidence:g}% t interval (n pairs)",
        f"{SLOPE}: {slopes}slopes per generation" if has_slopes else "",
        f"p of t tests, by Holm for all {num_looks} printed here, and of signed-rank tests (at "
        f"least {format_p(least)})",
        f"seeds for a power of {POWER:g} at level {1 - confidence:.3g}",
    ]


def _summary(
    found: Rows, p_holm: Sequence[float], against: str, margin: float | None
) -> pd.DataFrame:
    rows = []
    measured = found.part.measured(found.metric).values()
    for row, adjusted in zip(found.rows, p_holm, strict=True):
        result = row.comparison
        confidence = found.part.confidence
        numbers = (
            against,
            row.generation,
            result.estimate.mean,
            result.estimate.half_width(confidence),
            result.estimate.n,
            result.p,
            adjusted,
            result.rank_p,
            result.least_rank_p,
            result.equivalence_p,
            margin,
            result.num_needed,
            *measured,
            confidence,
        )
        rows.append((found.metric, *row.arm.values.values(), *numbers))
    columns = ["metric", *found.part.by, *COMPARISON_COLUMNS]
    return pd.DataFrame(rows, columns=pd.Index(columns, dtype=object), dtype=object)


def _first_worse(found: Rows, p_holm: Sequence[float], num_looks: int) -> Table:
    """The first generation of each setting that is worse than its V1."""
    part, worse = found.part, direction(found.metric)
    first: dict[tuple[str, ...], str] = {}
    for row, adjusted in zip(found.rows, p_holm, strict=True):
        name = tuple(part.name(row.arm.values))
        first.setdefault(name, "none")
        is_worse = adjusted < LEVEL and row.comparison.estimate.mean * worse > 0
        if row.generation != SLOPE and is_worse and first[name] == "none":
            first[name] = f"V{row.generation}"
    word = "higher" if worse > 0 else "lower"
    caption = [
        f"first generation whose {found.metric} is {word} than that of V1 of the same lineage with "
        f"p (Holm, {num_looks} tests) below {LEVEL:g}; none is no proof that nothing is worse"
    ]
    return Table(
        title=f"{found.metric}: first generation that is worse than V1",
        header=[*part.names, "first"],
        rows=[[*name, generation] for name, generation in first.items()],
        num_names=len(part.names),
        caption=as_sentence(
            [*caption, describe_measurement(part.frame, found.metric), describe_lineages(part)]
        ),
        summary=pd.DataFrame(),
        runs=part.runs,
    )


def _format_estimate(result: Comparison, confidence: float) -> str:
    estimate = result.estimate
    return format_interval(estimate.mean, estimate.half_width(confidence), estimate.n)


def format_p(p: float) -> str:
    """A p-value with two significant digits; a dash if there is none."""
    if math.isnan(p):
        return "-"
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"
