"""The numbers of real images beside curves."""

import pandas as pd

from analysis.figures.drawing.lines import Real
from analysis.reading.columns import split_name
from analysis.reading.floors import floor_column

REAL = {
    "conditional_accuracy": "probe_accuracy",
    "gain_head": "gain_train_head",
    "gain_middle": "gain_train_middle",
    "gain_tail": "gain_train_tail",
}
"""Metric -> the same number of the real reference, if it is not named `<metric>_held_out`."""


def real_numbers(frame: pd.DataFrame, metric: str) -> Real | None:
    """Return the range of a metric of real images, or None if it was not recorded.

    These are the reference's `<metric>_held_out` or else training images, the metric's floor.
    """
    name, rest = split_name(metric)
    held_out = REAL.get(name, f"{name}_held_out") + rest
    for column in (held_out, floor_column(metric)):
        values = frame[column].dropna() if column in frame else pd.Series(dtype=float)
        if not values.empty:
            return Real(float(values.min()), float(values.max()))
    return None
