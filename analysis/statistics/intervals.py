"""Intervals of curves, over seeds or from images."""

from collections.abc import Callable, Sequence
from enum import StrEnum

import pandas as pd
from scipy import special

from analysis.reading.columns import split_name
from analysis.reading.floors import ERROR
from analysis.statistics.seeds import summarize_seeds


class Source(StrEnum):
    """What the intervals of a figure come from; one figure never mixes two of them."""

    SEEDS = "t interval over"
    IMAGES = "interval from the images (not over seeds),"
    NONE = ""


def summarize_curves(
    frame: pd.DataFrame,
    metric: str,
    *,
    by: Sequence[str],
    confidence: float,
    has_image_errors: Callable[[], bool] = lambda: True,
) -> tuple[pd.DataFrame, Source]:
    """Summarise a column as summarize_seeds does, with intervals from images for a single seed.

    Args:
        frame: The rows of one figure.
        metric: The column.
        by: The settings of a line.
        confidence: Coverage of the intervals, in (0, 1).
        has_image_errors: Whether `<metric>_se` is the standard error over images.

    Returns:
        The summary, and the source of all its intervals. Several seeds in any of its rows make it
        SEEDS: rows of one seed then have no interval.
    """
    summary = summarize_seeds(frame, metric, by=by, confidence=confidence)
    if (summary["n"] > 1).any():
        return summary, Source.SEEDS
    column = error_column(metric)
    if column not in frame or frame[column].dropna().empty or not has_image_errors():
        return summary, Source.NONE
    errors = summarize_seeds(frame, column, by=by, confidence=confidence)["mean"]
    quantile = float(special.ndtri((1 + confidence) / 2))
    return summary.assign(half_width=quantile * errors), Source.IMAGES


def error_column(metric: str) -> str:
    """Name of the column of a metric's standard error over images."""
    name, rest = split_name(metric)
    return name + ERROR + rest
