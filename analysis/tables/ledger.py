"""The error ledger: what each difference between real images and a model's adds to a metric.

Arms of one sweep differ in one thing after the other, for example the exact score of the pool's
Gaussian, then a network that must learn it. The terms are the differences between neighbouring arms
with the same seed, so that they add up to the whole loss. A term depends on the order of the arms:
an interaction counts in the term of the later one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from analysis.reading.columns import axis_columns, split_name, unit_columns
from analysis.reading.floors import floor_column
from analysis.reading.rows import keep_rows
from analysis.statistics.forecasts import GAINS, Forecasts, check_forecast
from analysis.statistics.paired import Unit, estimate_difference
from analysis.tables.build import (
    Part,
    as_sentence,
    describe_lineages,
    describe_measurement,
    format_interval,
    part_of,
)
from analysis.tables.table import Table
from model.errors import UsageError, check_choice, shown

GAIN = "gain_"
"""Start of the names of metrics whose value for real images is 1."""
FORECAST = "forecast"
"""Name of the arm of `sweep plan --forecast`."""
TOTAL = "total"
COLUMNS = ("metric", "term", "generation", "mean", "half_width", "n", "confidence")
"""Columns of the numbers behind a table."""

Numbers = dict[int, dict[Unit, float]]
"""Generation -> seed, or seed and split of the data -> number."""


@dataclass(frozen=True, slots=True)
class Step:
    """An arm of the ledger: the lineages with some settings."""

    name: str
    """Name of the term that this arm adds."""
    settings: tuple[str, ...]
    """AXIS=VALUE, with the names that tables print."""


def parse_step(text: str) -> Step:
    """Parse NAME:AXIS=VALUE,AXIS=VALUE,...; raises UsageError for another text."""
    name, colon, settings = text.partition(":")
    words = tuple(word.strip() for word in settings.split(","))
    if not (name.strip() and colon and all("=" in word for word in words)):
        raise UsageError(f"--step must be NAME:AXIS=VALUE,AXIS=VALUE,..., got {shown(text)}")
    return Step(name.strip(), words)


def build_ledger(
    frame: pd.DataFrame,
    metrics: Sequence[str],
    steps: Sequence[Step],
    *,
    confidence: float,
    forecast: Forecasts | None = None,
) -> list[Table]:
    """Split the difference between models' and real images into the terms of each step.

    Args:
        frame: A table of analysis.reading.results.load_results.
        metrics: Columns of numbers.
        steps: The arms in order, at least one. Each must leave one lineage for each seed.
        confidence: Coverage of the intervals over seeds, in (0, 1).
        forecast: The forecast of each lineage, which becomes the first arm, with the lineages of
            the first step; None if there is none.

    Returns:
        A table for each metric, with a row for each term and one for their sum.

    Raises:
        UsageError: A step leaves no lineage, or several for a seed; or there is no number of real
            images, or no forecast, for a metric.
    """
    parts = [(step.name, keep_rows(frame, step.settings, option="--step")) for step in steps]
    used = pd.concat([rows for _, rows in parts], ignore_index=True)
    part = part_of(used, [], confidence, may_have_usual=False)
    tables = []
    for metric in metrics:
        arms = [(name, numbers_of(rows, metric, name)) for name, rows in parts]
        if forecast is not None:
            arms.insert(0, ("sampler", forecast_numbers(parts[0][1], metric, forecast)))
        real = real_numbers(parts[0][1], metric)
        tables.append(_table(part, metric, [("real images", real), *arms]))
    return tables


def numbers_of(rows: pd.DataFrame, metric: str, name: str) -> Numbers:
    """The numbers of one arm, without diverged lineages."""
    used = rows[(rows["status"] != "diverged") & rows[metric].notna()]
    columns = [used[column].tolist() for column in unit_columns(used)]
    found: Numbers = {}
    for generation, value, *unit in zip(
        used["generation"], used[metric].astype(float), *columns, strict=True
    ):
        of_unit = found.setdefault(int(generation), {})
        if tuple(unit) in of_unit:
            differing = [
                axis
                for axis in [*axis_columns(used), "member"]
                if used[axis].nunique(dropna=False) > 1
            ]
            raise UsageError(
                f"--step {name} must leave one lineage for each seed, got several that differ in "
                f"{', '.join(differing) or 'run'}; add AXIS=VALUE of one of them"
            )
        of_unit[tuple(unit)] = value
    return found


def real_numbers(rows: pd.DataFrame, metric: str) -> Numbers:
    """What real images have in place of the samples: 1 for gains, otherwise the floor."""
    if split_name(metric)[0].startswith(GAIN):
        ones = rows[metric].where(rows[metric].isna(), 1.0)
        return numbers_of(rows.assign(**{metric: ones}), metric, "")
    column = floor_column(metric)
    if column not in rows or rows[column].isna().all():
        raise UsageError(
            f"--metric {metric} must have a floor, the number of real images, got none; "
            "`sweep evaluate DIR --floors` measures it"
        )
    return numbers_of(rows.assign(**{metric: rows[column]}), metric, "")


def forecast_numbers(rows: pd.DataFrame, metric: str, forecast: Forecasts) -> Numbers:
    """The forecast of a gain for the lineages of the first step."""
    name = split_name(metric)[0].removeprefix(GAIN)
    check_choice("--metric with --forecast", split_name(metric)[0], GAINS)
    rows = rows[rows[metric].notna()]
    check_forecast(forecast, rows["lineage"], all_of=True)
    said = [
        forecast[lineage][generation - 1][name]
        for lineage, generation in zip(rows["lineage"], rows["generation"], strict=True)
    ]
    return numbers_of(rows.assign(**{metric: said}), metric, FORECAST)


def _table(part: Part, metric: str, arms: Sequence[tuple[str, Numbers]]) -> Table:
    """The terms between neighbouring arms, and their sum."""
    confidence = part.confidence
    pairs = [(name, before, after) for (_, before), (name, after) in pairwise(arms)]
    pairs.append((TOTAL, arms[0][1], arms[-1][1]))
    generations = sorted(set.intersection(*(set(numbers) for _, numbers in arms)))
    units = {
        n: sorted(set.intersection(*(set(arm[n]) for _, arm in arms)), key=str) for n in generations
    }
    rows, numbers = [], []
    for name, before, after in pairs:
        cells = []
        for generation in generations:
            differences = {
                unit: after[generation][unit] - before[generation][unit]
                for unit in units[generation]
            }
            estimate = estimate_difference(differences)
            same = len(differences) > 1 and len(set(differences.values())) == 1  # a forecast's
            half_width = 0.0 if same else estimate.half_width(confidence)
            cells.append(format_interval(estimate.mean, half_width, estimate.n))
            measured = estimate.mean, half_width, estimate.n, confidence
            numbers.append((metric, name, generation, *measured))
        rows.append([name, *cells])
    caption = [
        "each term is the difference of its arm from the one above with the same seed, the first "
        "from real images, so that the terms add up to the total",
        f"mean +- half-width of the {100 * confidence:g}% t interval (n seeds with all arms)",
        describe_measurement(part.frame, metric),
        describe_lineages(part),
    ]
    return Table(
        title=f"{metric}: error ledger",
        header=["term", *(f"V{generation}" for generation in generations)],
        rows=rows,
        num_names=1,
        caption=as_sentence(caption),
        summary=pd.DataFrame(numbers, columns=pd.Index(COLUMNS, dtype=object), dtype=object),
        runs=part.runs,
    )
