"""Statistics over seeds: t intervals, and summaries of a column of the results table.

Intervals over seeds are t intervals, because with 3 to 5 seeds the coverage of a percentile
bootstrap is far below its nominal value.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from analysis.reading.columns import SPLIT, SUMMARY_COLUMNS, group_positions, unit_columns
from model.errors import UsageError


class Estimate(NamedTuple):
    """The mean of some values, with its uncertainty as a random draw of them."""

    mean: float
    error: float
    """Standard error; nan for a single value."""
    freedom: float
    """Degrees of freedom of Student's t distribution."""
    n: int

    def half_width(self, confidence: float) -> float:
        """Half-width of the t interval; nan for a single value."""
        return _quantile(self.freedom, confidence) * self.error if self.n > 1 else math.nan

    def p_value(self) -> float:
        """Two-sided p-value of a mean of 0; nan if the values do not vary, or for a single one."""
        if not self.error > 0:
            return math.nan
        return 2 * float(special.stdtr(self.freedom, -abs(self.mean) / self.error))

    def equivalence_p(self, margin: float) -> float:
        """p-value of the claim that the absolute mean is below a margin (two one-sided tests)."""
        if not self.error > 0:
            return math.nan
        return float(special.stdtr(self.freedom, (abs(self.mean) - margin) / self.error))


def estimate_mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean of independent values; with none, it is nan."""
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, 0, 0)
    error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(float(np.mean(values)), error, n - 1, n)


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
    estimate = estimate_mean(values)
    return estimate.mean, estimate.half_width(confidence), estimate.n


@functools.cache
def _quantile(freedom: float, confidence: float) -> float:
    """The half-width of an interval in standard errors; most cells have one of a few sizes."""
    return float(special.stdtrit(freedom, (1 + confidence) / 2))


def check_confidence(confidence: float) -> None:
    """Raise UsageError unless a confidence is in (0, 1)."""
    if not 0 < confidence < 1:
        raise UsageError(f"--confidence must be in (0, 1), got {confidence!r}; 0.95 is common")


def crossed_interval(
    values: Sequence[float], rows: Sequence[Any], columns: Sequence[Any], confidence: float
) -> tuple[float, float, int]:
    """Return mean, half-width and number of values with two crossed sources of randomness.

    The values of one seed on several splits of the data are not independent, nor are those of
    several seeds on one split. In the model mean + row effect + column effect + rest, all three
    random, the variance of the mean is estimated by R + C - E (at least R and at least C): R from
    the deviations of each row summed up, C likewise, E from single deviations (Cameron, Gelbach and
    Miller, 2011). The t quantile has Satterthwaite's degrees of freedom. Unequal numbers of values
    count as fewer rows or columns, (sum n)^2 / sum n^2. With values in one column, or with each row
    and column once, this is `t_interval`. docs/guide.md gives the simulated coverage.

    Args:
        values: Finite numbers, at most one per row and column.
        rows: Row (seed) of each value.
        columns: Column (split of the data) of each value.
        confidence: Coverage in (0, 1), such as 0.95.

    Returns:
        (mean, half_width, n), as `t_interval`.

    Raises:
        UsageError: The confidence is not in (0, 1).
    """
    check_confidence(confidence)
    estimate = estimate_crossed(values, rows, columns)
    return estimate.mean, estimate.half_width(confidence), estimate.n


def estimate_crossed(
    values: Sequence[float], rows: Sequence[Any], columns: Sequence[Any]
) -> Estimate:
    """Estimate the mean of values with two crossed sources of randomness, as crossed_interval."""
    n = len(values)
    if n < 2:
        return estimate_mean(values)
    mean = float(np.mean(values))
    deviations = np.asarray(values) - mean
    by_row, row_freedom = _mean_variance(deviations, rows)
    by_column, column_freedom = _mean_variance(deviations, columns)
    single, _ = _mean_variance(deviations, range(n))
    variance = max(by_row + by_column - single, by_row, by_column)
    if variance == 0:
        return Estimate(mean, 0.0, n - 1, n)
    parts = [(by_row, row_freedom), (by_column, column_freedom)]
    # Squares of shares, as squares of small variances would underflow.
    shares = [(v / (by_row + by_column)) ** 2 / freedom for v, freedom in parts if v]
    return Estimate(mean, math.sqrt(variance), min(1 / sum(shares), n - 1), n)


def _mean_variance(deviations: np.ndarray, groups: Sequence[Any]) -> tuple[float, float]:
    """Return the variance of a mean that groups of deviations explain, and degrees of freedom."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    members = np.array([numbers[group] for group in groups])
    total, n = len(deviations), np.bincount(members)
    num_groups = total**2 / float((n**2).sum())
    if len(n) == 1:
        return 0.0, 0.0
    squares = float((np.bincount(members, deviations) ** 2).sum())
    return squares / total**2 * num_groups / (num_groups - 1), num_groups - 1


def summarize_seeds(
    frame: pd.DataFrame, column: str, *, by: Sequence[str], confidence: float
) -> pd.DataFrame:
    """Summarise a column over seeds and splits of the data, for each setting and generation.

    Diverged lineages are counted and left out of the mean.

    Args:
        frame: A table of analysis.reading.results.load_results.
        column: A column of numbers.
        by: The settings of a row; every other setting must be constant.
        confidence: Coverage of the intervals, in (0, 1).

    Returns:
        One row per setting and generation: the columns of `by`, then generation, mean, half_width,
        n (values averaged), num_seeds and num_splits (of these values), num_diverged and
        num_lineages.

    Raises:
        UsageError: One seed has two different nodes for the same setting, split and generation.
    """
    rows = []
    units = [frame[name].tolist() for name in unit_columns(frame)]
    splits = frame[SPLIT].tolist() if SPLIT in frame else [None] * len(frame)
    numbers, seeds = frame[column].astype(float).tolist(), units[0]
    has_diverged = (frame["status"] == "diverged").tolist()
    is_used = ((frame["status"] != "diverged") & frame[column].notna()).tolist()
    for values, positions in group_positions(frame, [*by, "generation"]):
        if len({tuple(unit[i] for unit in units) for i in positions}) < len(positions):
            _check_one_node_per_unit(frame.iloc[positions], values, by)
        used = [i for i in positions if is_used[i]]
        of_seeds, of_splits = [seeds[i] for i in used], [splits[i] for i in used]
        measured = [numbers[i] for i in used]
        if len(set(of_splits)) > 1:
            interval = crossed_interval(measured, of_seeds, of_splits, confidence)
        else:
            interval = t_interval(measured, confidence)
        num_diverged = sum(has_diverged[i] for i in positions)
        counts = (len(set(of_seeds)), len(set(of_splits)), num_diverged, len(positions))
        rows.append((*values.values(), *interval, *counts))
    summary = pd.DataFrame(
        rows, columns=pd.Index([*by, *SUMMARY_COLUMNS], dtype=object), dtype=object
    )
    types = dict.fromkeys(SUMMARY_COLUMNS, int) | {"mean": float, "half_width": float}
    return summary.astype({name: kind for name, kind in types.items() if name not in by})


def _check_one_node_per_unit(part: pd.DataFrame, values: dict, by: Sequence[str]) -> None:
    twice = part[part.duplicated(unit_columns(part), keep=False)]
    if len(twice):
        runs = ", ".join(sorted(set(twice["run"])))
        setting = ", ".join(f"{name}={values[name]}" for name in by) or "these settings"
        raise UsageError(
            f"{setting} must have one V{values['generation']} for each seed, got two nodes of seed "
            f"{twice['seed'].iloc[0]} ({runs}); they differ in more than settings, e.g. in the "
            "data or the version of the code; show the runs separately"
        )
