"""Numbers behind the page's interactive curves: a metric by generation, for each setting."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.reading.columns import (
    AT,
    describe_sizes,
    group_positions,
    is_missing,
    measured_sizes,
    metric_columns,
    resolve_metrics,
    unit_columns,
)
from analysis.reading.floors import ERROR, floor_range
from analysis.reading.labels import direction, name_extractor, name_metric, short_names
from analysis.reading.settings import BASE
from analysis.reading.trees import Units, name_unit, rows_of_units
from analysis.statistics.intervals import error_column
from analysis.statistics.paths import path_pairs
from analysis.tables.build import Part, describe_floor
from model.errors import UsageError, printable

DEVIATION = "pixel_std"
NODE_METRICS = ("final_loss", "real_share", "num_images")
"""Columns about a model rather than its samples that also have curves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """What can be drawn, as JSON."""

    data: dict[str, Any]
    notes: list[str]
    """Sentences about metrics that cannot be drawn."""


def curves(part: Part, metrics: Sequence[str]) -> Curves:
    """Collect means with intervals, and the numbers of each seed, of every setting.

    Args:
        part: The whole table, by the settings that vary.
        metrics: Columns of numbers; the first one is shown first.
    """
    notes, shown, units_of = [], [], rows_of_units(part.frame, part.by, part.labels)
    for metric in metrics:
        try:
            measured_sizes(part.frame, metric)
            shown.append(_metric(part, metric, units_of))
        except UsageError as error:
            notes.append(f"{metric} has no curves: {error}")
    settings = [values for values, _ in group_positions(part.frame, part.by)]
    names = short_names(part.by)
    named = [name_setting(part, values) for values in settings]
    shown_values = {axis: values_of(part, axis) for axis in part.by}
    data = {
        "axes": [
            {"name": printable(names[axis]), "values": _printable(shown_values[axis])}
            for axis in part.by
        ],
        "settings": [
            {
                "name": printable(name),
                "values": [
                    shown_values[axis].index(part.labels.name(axis, values[axis]))
                    for axis in part.by
                ],
            }
            for name, values in zip(named, settings, strict=True)
        ],
        "base": named.index(BASE) if part.usual and BASE in named else 0,
        "units": _printable(_units(part)),
        "confidence": part.confidence,
        "metrics": shown,
        "path": _first_path(part.frame, metrics, [each["column"] for each in shown]),
    }
    return Curves(data=data, notes=notes)


def choose_metrics(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The columns with curves: those that a user names, or else all metrics, kid before others.

    Raises:
        UsageError: No column has a name.
    """
    first = resolve_metrics(frame, names)
    if names:
        return first
    others = [column for column in metric_columns(frame) if not _is_error(column)]
    others += [column for column in NODE_METRICS if frame[column].notna().any()]
    return list(dict.fromkeys([*first, *others]))


def name_setting(part: Part, values: dict[str, Any]) -> str:
    """Name a setting with the short names of its axes."""
    if part.usual is not None:
        return part.usual.title(values) or BASE
    return part.labels.describe_setting(values) or "all lineages"


def title_of(metric: str) -> str:
    """The name of a metric with its extractor and number of images."""
    extractor, _, count = (name_extractor(metric) or ""), *metric.partition(AT)[1:]
    words = [extractor, f"{count} images" if count else ""]
    suffix = ", ".join(filter(None, words))
    return name_metric(metric) + (f" ({suffix})" if suffix else "")


def _first_path(
    frame: pd.DataFrame, metrics: Sequence[str], shown: Sequence[str]
) -> tuple[int, int]:
    """Positions of the metrics of the x axis and of the y axis that are shown first as a path.

    These are the figure's, or else the pixels' deviation (or the second metric) and the first one.
    """
    for x, y in path_pairs(metrics, metric_columns(frame)):
        if x in shown and y in shown:
            return shown.index(x), shown.index(y)
    return (shown.index(DEVIATION) if DEVIATION in shown[1:] else 1), 0


def _metric(part: Part, metric: str, units_of: Sequence[Units]) -> dict[str, Any]:
    summary = part.summarize(metric)
    columns = {name: summary[name].tolist() for name in ("generation", "n", "num_diverged")}
    mean, half = numbers(summary["mean"]), numbers(summary["half_width"])
    seeds = _by_unit(part.frame, metric, units_of)
    lines = [
        {
            "generations": [columns["generation"][i] for i in positions],
            "mean": [mean[i] for i in positions],
            "half": [half[i] for i in positions],
            "n": [columns["n"][i] for i in positions],
            "diverged": [columns["num_diverged"][i] for i in positions],
            "seeds": own,
        }
        for (_, positions), own in zip(group_positions(summary, part.by), seeds, strict=True)
    ]
    return {
        "column": printable(metric),
        "name": printable(title_of(metric)),
        "worse": direction(metric),
        "images": describe_sizes(part.frame, metric),
        "floor": printable(describe_floor(part, metric)),
        "floors": floor_range(part.frame, metric),
        "lines": lines,
    }


def _by_unit(
    frame: pd.DataFrame, metric: str, units_of: Sequence[Units]
) -> Iterator[dict[str, Any]]:
    """Numbers of each seed by generation, with their standard errors over images if known."""
    generations, values = frame["generation"].tolist(), numbers(frame[metric])
    error = error_column(metric)
    errors = numbers(frame[error]) if error in frame else []
    for rows in units_of:
        found: dict[str, Any] = {}
        for name, positions in rows.items():
            line = {
                "generations": [generations[i] for i in positions],
                "values": [values[i] for i in positions],
            }
            if errors and any(errors[i] is not None for i in positions):
                line["errors"] = [errors[i] for i in positions]
            found[name] = line
        yield found


def _is_error(column: str) -> bool:
    return column.partition("/")[0].endswith(ERROR)


def _units(part: Part) -> list[str]:
    frame = part.frame
    units = group_positions(frame, unit_columns(frame))
    return [name_unit(part.labels, frame, unit) for unit, _ in units]


def values_of(part: Part, axis: str) -> list[str]:
    """Names of the values of a column, in order."""
    groups = group_positions(part.frame, [axis])
    return part.labels.names(axis, (values[axis] for values, _ in groups))


def _printable(texts: Sequence[str]) -> list[str]:
    return [printable(text) for text in texts]


def numbers(column: pd.Series) -> list[float | None]:
    """Six significant digits; None where there is no number, as JSON knows no nan."""
    return [None if is_missing(x) else float(f"{x:.6g}") for x in column.tolist()]
