"""Standard errors over images, from random subsets of the images.

A bootstrap resample contains the same image several times, which is then its own nearest neighbour;
a subset does not. Images with classes are divided class by class, because splits, conditional
models and pools fix the number of images of each class.

The generators have a fixed seed, so that every evaluation draws the same subsets.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

SUBSETS_PURPOSE = 0x73756273
"""Seed of the subsets (`subs` in ASCII)."""
LEFT_OUT = 4
"""One of so many images is left out of a subset. With fewer images left out, the statistic of a
subset is more like that of all images; with more, its variance is."""
NORMAL_95 = 1.959963984540054
"""Half-width of a 95% interval in standard errors."""


def orders(strata: np.ndarray, num_orders: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the rows of (N,) strata in random order within each stratum, and a random number."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(SUBSETS_PURPOSE)))
    for _ in range(num_orders):
        yield np.lexsort((rng.random(len(strata)), strata)), int(rng.integers(2 * LEFT_OUT))


def subsets(strata: np.ndarray, num_subsets: int) -> Iterator[np.ndarray]:
    """Yield the rows of random subsets, which leave out one of LEFT_OUT rows of each stratum."""
    for order, start in orders(strata, num_subsets):
        yield np.delete(order, np.s_[start % LEFT_OUT :: LEFT_OUT])


def draw_members(strata: np.ndarray, num_subsets: int) -> np.ndarray:
    """(num_subsets, N) bool, which rows each of the `subsets` contains."""
    members = np.zeros((num_subsets, len(strata)), bool)
    for each, rows in zip(members, subsets(strata, num_subsets), strict=True):
        each[rows] = True
    return members


def halves(strata: np.ndarray, num_divisions: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield random divisions of all rows into two halves."""
    for order, start in orders(strata, num_divisions):
        yield order[start % 2 :: 2], order[1 - start % 2 :: 2]


def average_error(
    per_image: np.ndarray, strata: np.ndarray, of_subsets: np.ndarray | None = None
) -> float:
    """Standard error of an average over images whose summands may depend on a second set of images.

    The variance is the sum of two. Given the second set, the summands are independent, and the
    variance is that of a mean, within strata. For a share (bool) it is widened as in Wilson's
    interval (J. Am. Stat. Assoc. 22, 1927), so that it is positive for shares of 0 and 1 too. The
    other part is the variance of the expected mean over draws of the second set, which subsets of
    it estimate: the average of a subset that has a share f of the images varies by (1 - f) / f of
    that variance. Products of summands of different images estimate it, because squares would
    contain the first part again.

    Args:
        per_image: (N,) summands; bool for a share.
        strata: (N,) classes of the images.
        of_subsets: (S, N) summands with subsets of the second set; None if it is held fixed.
    """
    N = len(per_image)
    sizes = np.bincount(strata)
    means = np.bincount(strata, per_image) / np.maximum(sizes, 1)
    squares = np.bincount(strata, (per_image - means[strata]) ** 2)
    variance = np.sum(squares * sizes / np.maximum(sizes - 1, 1)) / N**2
    if per_image.dtype == bool:
        square = NORMAL_95**2 / N
        variance = (variance + square / (4 * N)) / (1 + square) ** 2
    if of_subsets is not None:
        changes = of_subsets - of_subsets.mean(axis=0)
        products = N**2 * np.sum(changes.mean(axis=1) ** 2) - np.sum(changes**2)
        second = products / (N * (N - 1) * (len(of_subsets) - 1)) * (LEFT_OUT - 1)
        variance += max(second, 0.0)
    return float(np.sqrt(variance))


def values_of_halves(
    statistic: Callable[..., float],
    samples: Sequence[np.ndarray],
    strata: Sequence[np.ndarray],
    num_divisions: int,
) -> np.ndarray:
    """(num_divisions, 2) values of a statistic of one half of each sample, and of the other halves.

    Args:
        statistic: A function of as many arrays as there are samples.
        samples: Arrays of one row per image, divided independently.
        strata: Classes of each sample's images.
        num_divisions: Number of divisions.
    """
    divisions = zip(*(halves(each, num_divisions) for each in strata), strict=True)
    return np.array(
        [
            [
                statistic(*(x[division[half]] for x, division in zip(samples, each, strict=True)))
                for half in (0, 1)
            ]
            for each in divisions
        ]
    )


def difference_error(values: np.ndarray) -> float:
    """Standard error from the differences of halves; a quarter of their mean square is its square.

    Args:
        values: (n, 2) from values_of_halves.
    """
    return float(np.sqrt(np.mean((values[:, 0] - values[:, 1]) ** 2) / 4))


def smooth_error(values: np.ndarray) -> float:
    """Standard error of a smooth function of moments, from its values of halves.

    Let V_k be the variance of the part of the statistic that depends on k images together (its
    Hoeffding decomposition), which shrinks as N^-k. Over random divisions, difference_error^2 is
    the sum of 2^(k - 1) V_k, and the variance of the mean of both halves that of (2^(k - 1) - 1)
    V_k. So the variance of the statistic, the sum of the V_k, is the difference of both. With k up
    to 2 it is between one half of difference_error^2 and all of it, to which it is clipped. V_2
    dominates if both sets have nearly the same distribution.

    Args:
        values: (n, 2) from values_of_halves.
    """
    difference = difference_error(values) ** 2
    variance = difference - np.var(values.mean(axis=1), ddof=1)
    return float(np.sqrt(np.clip(variance, difference / 2, difference)))
