"""Paired comparisons over shared seeds: tests, their correction, and the seeds they would need.

Two lineages of one seed share their first random numbers, so the difference of their metrics within
a seed varies less than the metrics do.
"""

import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from analysis.statistics.seeds import Estimate, estimate_crossed, estimate_mean

POWER = 0.8
"""Power for which `seeds_needed` asks."""
MOST_SEEDS = 1_000
"""Largest answer of `seeds_needed`."""
EXACT = 13
"""Number of differences up to which all 2^n assignments of signs are counted if some tie."""

Unit = tuple[Hashable, ...]
"""A seed, or a seed and a split of the data."""


class Comparison(NamedTuple):
    """What paired differences say about their mean."""

    estimate: Estimate
    """The mean difference and its uncertainty."""
    p: float
    """Two-sided p-value of Student's t test; nan if the differences do not vary."""
    rank_p: float
    """Two-sided p-value of Wilcoxon's signed-rank test; nan if all differences are zero."""
    least_rank_p: float
    """The smallest p-value that the signed-rank test can have with as many pairs."""
    equivalence_p: float
    """p-value of two one-sided t tests against a difference of at least the margin; else nan."""
    num_needed: int | None
    """Seeds needed to find a difference like this; None if unknown, or above MOST_SEEDS."""


def compare(
    differences: Mapping[Unit, float], *, confidence: float, margin: float | None = None
) -> Comparison:
    """Compare paired differences with zero; with several splits, ranks are of the seeds' means.

    Args:
        differences: At least one finite number, by seed or by seed and split.
        confidence: 1 - confidence is the level for which `num_needed` holds.
        margin: Smallest absolute difference that matters; None without an equivalence test.
    """
    values = list(differences.values())
    seeds = [unit[0] for unit in differences]
    splits = [unit[1:] for unit in differences]
    crossed = len(set(splits)) > 1
    estimate = estimate_difference(differences)
    units = _means(seeds if len(set(seeds)) > 1 else splits, values) if crossed else values
    return Comparison(
        estimate=estimate,
        p=estimate.p_value(),
        rank_p=signed_rank_p(units),
        least_rank_p=min(1.0, 2.0 ** (1 - len(units))),
        equivalence_p=math.nan if margin is None else estimate.equivalence_p(margin),
        num_needed=None if crossed else seeds_needed(values, level=1 - confidence),
    )


def estimate_difference(differences: Mapping[Unit, float]) -> Estimate:
    """Estimate the mean of paired differences.

    With several splits of the data there are two crossed sources of randomness
    (analysis.statistics.seeds.crossed_interval).
    """
    values = list(differences.values())
    splits = [unit[1:] for unit in differences]
    if len(set(splits)) == 1:
        return estimate_mean(values)
    return estimate_crossed(values, [unit[0] for unit in differences], splits)


def _means(groups: Sequence[Hashable], values: Sequence[float]) -> list[float]:
    """The mean of the values of each group."""
    of_group: dict[Hashable, list[float]] = {}
    for group, value in zip(groups, values, strict=True):
        of_group.setdefault(group, []).append(value)
    return [float(np.mean(each)) for each in of_group.values()]


def signed_rank_p(values: Sequence[float]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test.

    It is exact for up to 50 values of different size, and for up to EXACT values of which some are
    equally large; otherwise it is the normal approximation. Zeros are left out.

    Returns:
        The p-value; nan if no value differs from zero.
    """
    from scipy import stats  # takes as long as the rest of a command

    nonzero = [value for value in values if value]
    if not nonzero:
        return math.nan
    method: Any = "auto"
    if len({abs(value) for value in nonzero}) < len(nonzero):
        all_signs = stats.PermutationMethod(n_resamples=2**EXACT)
        method = all_signs if len(nonzero) <= EXACT else "approx"
    return float(stats.wilcoxon(nonzero, method=method).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, which bound the chance of any false finding; nan stays nan.

    S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    tested = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    adjusted, least = [math.nan] * len(p_values), 0.0
    for rank, i in enumerate(sorted(tested, key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(tested) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def seeds_needed(differences: Sequence[float], *, level: float) -> int | None:
    """Seeds with which a paired t test would find a difference like the observed one.

    Args:
        differences: Paired differences; their mean and standard deviation are taken for the true
            ones, so the answer is a rough one.
        level: Two-sided significance level.

    Returns:
        The smallest number with a power of at least POWER; None if it is above MOST_SEEDS, or if
        the differences do not vary.
    """
    if len(set(differences)) < 2:
        return None
    spread = float(np.std(differences, ddof=1))
    if spread == 0:  # squares of tiny differences underflow
        return None
    effect = abs(float(np.mean(differences))) / spread
    low, high = 2, MOST_SEEDS
    if power(effect, high, level) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, level) >= POWER else (middle + 1, high)
    return low


@functools.cache
def power(effect: float, n: int, level: float) -> float:
    """Power of a two-sided paired t test.

    Args:
        effect: Mean difference in standard deviations of the differences.
        n: Number of pairs, at least 2.
        level: Significance level.
    """
    bound = float(special.stdtrit(n - 1, 1 - level / 2))
    shift = effect * math.sqrt(n)
    below, above = (float(special.nctdtr(n - 1, shift, t)) for t in (-bound, bound))
    # nctdtr underflows to nan far from the centre, where the distribution has no mass.
    return 1.0 if math.isnan(above) else 1 - above + (0.0 if math.isnan(below) else below)


def slope(values: Mapping[int, float]) -> float:
    """Least-squares slope of a metric per generation; nan with fewer than two generations."""
    if len(values) < 2:
        return math.nan
    return float(np.polynomial.polynomial.polyfit(list(values), list(values.values()), 1)[1])


def verdict(estimate: Estimate, expected: str, margin: float, confidence: float) -> str:
    """Say whether the mean is where it is expected to be.

    The expected means are those above `margin` (greater), below -margin (smaller) or between the
    two (equal). With an interval that covers the mean in a share `confidence` of all cases, at most
    1 - confidence of all verdicts are wrong, wherever the mean is.

    Returns:
        supported if the whole interval is where the mean is expected, refuted if no part of it is,
        else undecided.
    """
    low, high = REGIONS[expected](margin)
    half = estimate.half_width(confidence)
    least, most = estimate.mean - half, estimate.mean + half
    if low < least and most < high:
        return "supported"
    return "refuted" if most < low or least > high else "undecided"


def seeds_to_decide(
    values: Sequence[float], expected: str, margin: float, confidence: float
) -> int:
    """Seeds with which `verdict` would decide, if values kept their mean and deviation.

    Returns:
        The smallest number; MOST_SEEDS + 1 if none up to MOST_SEEDS would.
    """
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    bounds = [bound for bound in REGIONS[expected](margin) if math.isfinite(bound)]
    distance = min(abs(mean - bound) for bound in bounds)
    for n in range(2, MOST_SEEDS + 1):
        if Estimate(mean, deviation / math.sqrt(n), n - 1, n).half_width(confidence) < distance:
            return n
    return MOST_SEEDS + 1


REGIONS: dict[str, Callable[[float], tuple[float, float]]] = {
    "greater": lambda margin: (margin, math.inf),
    "smaller": lambda margin: (-math.inf, -margin),
    "equal": lambda margin: (-margin, margin),
}
"""Expectation -> the open interval of means that it allows."""
