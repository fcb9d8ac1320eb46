"""Standard errors over images, by resampling them.

The generators have a fixed seed, so that every evaluation draws the same resamples.
"""

from collections.abc import Callable

import numpy as np

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


def average(name: str, per_image: np.ndarray, *, num_resamples: int) -> dict[str, float]:
    """The mean of one number per image and, with resamples, its standard error `<name>_se`.

    Args:
        name: Name of the mean.
        per_image: (N,) numbers or bool.
        num_resamples: 0 for no standard error.
    """
    per_image = per_image.astype(np.float64)
    values = {name: float(per_image.mean())}
    if num_resamples:
        values[f"{name}_se"] = bootstrap(np.mean, per_image, num_resamples=num_resamples)
    return values
