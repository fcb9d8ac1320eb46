"""Standard errors over images, by resampling them: kept for results that have them.

They hold neighbourhoods fixed, and are wrong for many metrics (docs/metrics.md);
model/metrics/halves.py has better ones.

The generators have a fixed seed, so that every evaluation draws the same resamples.
"""

from collections.abc import Callable

import numpy as np

from model.config import MetricsConfig
from model.metrics.standard_errors import average_error

BOOTSTRAP_PURPOSE = 0x626F6F74
"""Seed of the resamples (`boot` in ASCII)."""


def bootstrap(statistic: Callable[..., float], *samples: np.ndarray, num_resamples: int) -> float:
    """Standard deviation of a statistic over resamples of rows (Efron, Ann. Stat. 7, 1979).

    Args:
        statistic: A function of as many arrays as there are samples.
        samples: Arrays of one row per image, each resampled independently with replacement.
        num_resamples: At least 2.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(BOOTSTRAP_PURPOSE)))
    values = [
        statistic(*(x[rng.integers(len(x), size=len(x))] for x in samples))
        for _ in range(num_resamples)
    ]
    return float(np.std(values, ddof=1))


def with_error(
    name: str, statistic: Callable[..., float], *samples: np.ndarray, num_resamples: int
) -> dict[str, float]:
    """A statistic of samples and, with resamples, its standard error `<name>_se` (bootstrap).

    Args:
        name: Name of the statistic.
        statistic: A function of as many arrays as there are samples.
        samples: Arrays of one row per image.
        num_resamples: 0 for no standard error.
    """
    values = {name: float(statistic(*samples))}
    if num_resamples:
        values[f"{name}_se"] = bootstrap(statistic, *samples, num_resamples=num_resamples)
    return values


def average(name: str, per_image: np.ndarray, *, num_resamples: int) -> dict[str, float]:
    """The mean of one number (or bool) per image, (N,), as with_error returns it."""
    return with_error(name, np.mean, per_image.astype(np.float64), num_resamples=num_resamples)


def share(name: str, members: np.ndarray, config: MetricsConfig) -> dict[str, float]:
    """The share of images, (N,) bool, and its error `<name>_se` if the settings ask for one.

    The images are independent, given what decides whether each one counts.
    """
    values = average(name, members, num_resamples=config.bootstrap)
    if config.error_subsets:
        one_stratum = np.zeros(len(members), np.int64)
        values[f"{name}_se"] = average_error(members, one_stratum)
    return values
