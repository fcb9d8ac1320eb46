"""Paths of one metric against another: which pairs have them, and their points."""

from collections.abc import Sequence

import pandas as pd

from analysis.reading.columns import split_name
from analysis.statistics.intervals import Source, summarize_curves

METRICS = ("recall", "precision")
"""Metrics of the x axis and of the y axis, unless two others are asked for."""


def path_pairs(asked: Sequence[str], columns: Sequence[str]) -> list[list[str]]:
    """The columns of the x axis and of the y axis of each path, which have one extractor.

    Args:
        asked: Columns that a user names; the pairs are of METRICS unless they are of two metrics.
        columns: All columns of metrics.
    """
    named = _by_name(asked)
    if len(named) != 2:
        found = _by_name(columns)
        named = {metric: found.get(metric, []) for metric in METRICS}
    first, second = named.values()
    if len(first) == len(second) == 1:
        return [[*first, *second]]
    return [[x, y] for x in first for y in second if len(extractors_of([x, y])) < 2]


def extractors_of(names: Sequence[str]) -> list[str]:
    """What follows the names of metrics in their columns, once each."""
    return list(dict.fromkeys(rest.lstrip("/") for n in names if (rest := split_name(n)[1])))


def summarize_path(
    frame: pd.DataFrame, pair: Sequence[str], *, by: Sequence[str], confidence: float
) -> tuple[pd.DataFrame, Source]:
    """Summarise two columns over seeds: a row for each setting and generation.

    Returns:
        The columns of `by`, generation, x, y, half_x and half_y; and the source of all intervals,
        NONE if the two columns have different ones.
    """
    x, y = (summarize_curves(frame, n, by=by, confidence=confidence) for n in pair)
    both = x[0].assign(x=x[0]["mean"], y=y[0]["mean"], half_x=x[0]["half_width"])
    both = both.assign(half_y=y[0]["half_width"])
    both = both[[*by, "generation", "x", "y", "half_x", "half_y"]]
    return both, x[1] if x[1] == y[1] else Source.NONE


def _by_name(columns: Sequence[str]) -> dict[str, list[str]]:
    """The columns of each metric, by its name without the extractor."""
    found: dict[str, list[str]] = {}
    for column in columns:
        found.setdefault(split_name(column)[0], []).append(column)
    return found
