"""Statistics over seeds: t intervals, and summaries of a column of the results table.

Intervals over seeds are t intervals, because with 3 to 5 seeds the coverage of a percentile
bootstrap is far below its nominal value.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from analysis.reading.columns import grouped
from model.errors import UsageError

SUMMARY_COLUMNS = ("generation", "mean", "half_width", "n", "num_diverged", "num_lineages")
"""Columns of a summary, after those of the settings."""


def t_interval(values: Sequence[float], confidence: float) -> tuple[float, float, int]:
    """Return mean, half-width and size of Student's t interval for the mean of independent values.

    Args:
        values: Finite numbers, one per seed.
        confidence: Coverage in (0, 1), such as 0.95.

    Returns:
        (mean, half_width, n); the half-width is nan for n = 1, and the mean is also nan for n = 0.

    Raises:
        UsageError: The confidence is not in (0, 1).
    """
    check_confidence(confidence)
    n = len(values)
    if n == 0:
        return math.nan, math.nan, 0
    mean = float(np.mean(values))
    if n == 1:
        return mean, math.nan, 1
    quantile = float(stats.t.ppf((1 + confidence) / 2, df=n - 1))
    return mean, quantile * float(np.std(values, ddof=1)) / math.sqrt(n), n


def check_confidence(confidence: float) -> None:
    """Raise UsageError unless a confidence is in (0, 1)."""
    if not 0 < confidence < 1:
        raise UsageError(f"--confidence must be in (0, 1), got {confidence!r}; 0.95 is common")


def summarize_seeds(
    frame: pd.DataFrame, column: str, *, by: Sequence[str], confidence: float
) -> pd.DataFrame:
    """Summarise a column over seeds, for each setting and generation.

    Diverged lineages are counted and left out of the mean.

    Args:
        frame: A table of analysis.reading.results.load_results.
        column: A column of numbers.
        by: The settings of a row; every other setting must be constant.
        confidence: Coverage of the intervals, in (0, 1).

    Returns:
        One row per setting and generation: the columns of `by`, then generation, mean, half_width,
        n (seeds averaged), num_diverged and num_lineages.

    Raises:
        UsageError: One seed has two different nodes for the same setting and generation.
    """
    rows = []
    for values, part in grouped(frame, [*by, "generation"]):
        _check_one_node_per_seed(part, values, by)
        numbers = part.loc[part["status"] != "diverged", column].dropna()
        mean, half_width, n = t_interval([float(x) for x in numbers], confidence)
        num_diverged = int((part["status"] == "diverged").sum())
        rows.append((*values.values(), mean, half_width, n, num_diverged, len(part)))
    return pd.DataFrame(rows, columns=pd.Index([*by, *SUMMARY_COLUMNS]))


def _check_one_node_per_seed(part: pd.DataFrame, values: dict, by: Sequence[str]) -> None:
    twice = part[part.duplicated(["seed"], keep=False)]
    if len(twice):
        runs = ", ".join(sorted(set(twice["run"])))
        setting = ", ".join(f"{name}={values[name]}" for name in by) or "these settings"
        raise UsageError(
            f"{setting} must have one V{values['generation']} for each seed, got two nodes of seed "
            f"{twice['seed'].iloc[0]} ({runs}); they differ in more than settings, e.g. in the "
            "data or the version of the code; show the runs separately"
        )
