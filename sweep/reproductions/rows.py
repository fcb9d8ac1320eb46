"""The rows of a reproduction: an expected number, ours, and their difference in standard errors."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

FALSE_ALARMS = 0.01
"""Largest probability that any row fails although all expected numbers are true."""

Source = Literal["paper", "records", "derived"]
"""Where an expected number is from: a statement of the paper, records of the authors' runs, or our
own derivation, which is no result of the paper."""
Verdict = Literal["pass", "fail", "not comparable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An expected number and ours."""

    what: str
    source: Source
    expected: float | None = None
    """None if there is no number to compare with."""
    expected_error: float = 0.0
    """Standard error of the expected number; 0 for a formula."""
    ours: float | None = None
    ours_error: float = 0.0
    """Standard error of ours."""
    z: float | None = None
    """Ours minus the expected number, as a standard normal number; None if not comparable."""
    is_bound: bool = False
    """Whether the expected number is a lower bound, which only a negative z contradicts."""
    reason: str = ""
    """Why the row is not comparable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """The rows of one capsule."""

    rows: tuple[Row, ...]

    @property
    def limit(self) -> float:
        """Largest size of z that passes: the Bonferroni limit of the rows at FALSE_ALARMS."""
        from scipy import stats

        compared = sum(row.z is not None for row in self.rows)
        return float(stats.norm.isf(FALSE_ALARMS / 2 / max(compared, 1)))

    def verdict_of(self, row: Row) -> Verdict:
        """The verdict of one row; a z that is not a number fails."""
        if row.z is None:
            return "not comparable"
        return "pass" if (-row.z if row.is_bound else abs(row.z)) <= self.limit else "fail"

    @property
    def verdict(self) -> Verdict:
        """Fail if any row fails, otherwise pass if a row passes whose number was published."""
        if any(self.verdict_of(row) == "fail" for row in self.rows):
            return "fail"
        published = [row for row in self.rows if row.source != "derived"]
        passed = any(self.verdict_of(row) == "pass" for row in published)
        return "pass" if passed else "not comparable"


def against_number(what: str, values: np.ndarray, expected: float, *, source: Source) -> Row:
    """Compare the mean of independent values with a number, by Student's t."""
    mean, error = mean_and_error(values)
    z = normal(divided(mean - expected, error), len(values) - 1)
    return Row(what=what, source=source, expected=expected, ours=mean, ours_error=error, z=z)


def against_bound(what: str, values: np.ndarray, bound: float) -> Row:
    """Compare the mean of independent values with a lower bound of the paper, by Student's t."""
    mean, error = mean_and_error(values)
    return Row(
        what=what,
        source="paper",
        expected=bound,
        ours=mean,
        ours_error=error,
        z=normal(divided(mean - bound, error), len(values) - 1),
        is_bound=True,
    )


def against_efficiency(what: str, inflations: np.ndarray, bound: float) -> Row:
    """Compare 1 / (mean of independent values) with a lower bound of the paper."""
    mean, error = mean_and_error(inflations)
    return Row(
        what=what,
        source="paper",
        expected=bound,
        ours=1 / mean,
        ours_error=error / mean**2,
        z=normal(divided(1 / bound - mean, error), len(inflations) - 1),
        is_bound=True,
    )


def against_records(
    what: str, values: np.ndarray, expected: float, *, expected_error: float, count: int
) -> Row:
    """Compare the mean of independent values with that of published records, by Welch's t.

    Args:
        what: Name of the row.
        values: Our values.
        expected: The mean of the records.
        expected_error: Its standard error.
        count: Number of records.
    """
    mean, error = mean_and_error(values)
    both = error**2 + expected_error**2
    freedom = both**2 / (error**4 / (len(values) - 1) + expected_error**4 / (count - 1))
    return Row(
        what=what,
        source="records",
        expected=expected,
        expected_error=expected_error,
        ours=mean,
        ours_error=error,
        z=normal(divided(mean - expected, math.sqrt(both)), freedom),
    )


def against_share(what: str, chosen: int, trials: int, expected: float, *, source: Source) -> Row:
    """Compare the share of independent trials with a probability, by the binomial error."""
    error = math.sqrt(expected * (1 - expected) / trials)
    ours = chosen / trials
    z = divided(ours - expected, error)
    return Row(what=what, source=source, expected=expected, ours=ours, ours_error=error, z=z)


def not_comparable(what: str, reason: str) -> Row:
    """A result of the paper without a number to compare with."""
    return Row(what=what, source="paper", reason=reason)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean of independent values, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def divided(difference: float, error: float) -> float:
    """A difference in standard errors; not a number if all values were the same."""
    return difference / error if error > 0 else math.nan


def normal(t: float, freedom: float) -> float:
    """The standard normal number that is as improbable as a number from Student's t."""
    from scipy import stats

    tail = stats.t.sf(abs(t), freedom)
    return math.copysign(float(stats.norm.isf(tail)) if tail > 0 else abs(t), t)
