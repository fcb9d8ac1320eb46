"""Intervals of curves, over seeds or from images, and the numbers of real images."""

from collections.abc import Callable, Sequence
from enum import StrEnum

import pandas as pd
from scipy import special

from analysis.figures.drawing.lines import Real
from analysis.reading.columns import split_name
from analysis.reading.floors import floor_column
from analysis.statistics.seeds import summarize_seeds


class Source(StrEnum):
    """What the intervals of a figure come from; one figure never mixes two of them."""

    SEEDS = "t interval over"
    IMAGES = "interval from the images (not over seeds),"
    NONE = ""


REAL = {
    "conditional_accuracy": "probe_accuracy",
    "gain_head": "gain_train_head",
    "gain_middle": "gain_train_middle",
    "gain_tail": "gain_train_tail",
}
"""Metric -> the same number of the real reference, if it is not named `<metric>_held_out`."""


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
    column = _renamed(metric, lambda name: f"{name}_se")
    if column not in frame or frame[column].dropna().empty or not has_image_errors():
        return summary, Source.NONE
    errors = summarize_seeds(frame, column, by=by, confidence=confidence)["mean"]
    quantile = float(special.ndtri((1 + confidence) / 2))
    return summary.assign(half_width=quantile * errors), Source.IMAGES


def real_numbers(frame: pd.DataFrame, metric: str) -> Real | None:
    """Return the range of a metric of real images, or None if it was not recorded.

    These are the reference's `<metric>_held_out` or else training images, the metric's floor.
    """
    held_out = _renamed(metric, lambda name: REAL.get(name, f"{name}_held_out"))
    for column in (held_out, floor_column(metric)):
        values = frame[column].dropna() if column in frame else pd.Series(dtype=float)
        if not values.empty:
            return Real(float(values.min()), float(values.max()))
    return None


def _renamed(metric: str, rename: Callable[[str], str]) -> str:
    """Change the name of a metric, and keep its extractor."""
    name, rest = split_name(metric)
    return rename(name) + rest
