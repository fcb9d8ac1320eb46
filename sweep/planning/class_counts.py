"""How many images of each class are asked for: shares, and whole numbers that follow them.

The new images' shares are q = c x focal + (1 - c) x p, with c = pool.concentration, focal uniform
on the focal classes, and p the shares of the pool. Counts grow with the number of images and never
shrink (no Alabama paradox), so that a smaller alpha takes a subset of a larger one's images. Plain
arithmetic: must not know pools or files.
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np

from model.randomness import Purpose, Seed, generator

LABELS = 1
"""Keeps the draws of classes apart from those of filters, which may have the same seed."""


def class_weights(
    counts: Sequence[int], *, concentration: float, focal: Sequence[int]
) -> list[int]:
    """The shares q as whole numbers, exactly in proportion.

    Args:
        counts: (C,) images of the pool of each class, of which some exist.
        concentration: c, as the decimal number that was written.
        focal: Different classes; empty only where c is 0.
    """
    total = sum(counts)
    c = Fraction(Decimal(str(concentration)))
    return whole_weights(
        [
            (c / len(focal) if k in focal else Fraction(0)) + (1 - c) * Fraction(count, total)
            for k, count in enumerate(counts)
        ]
    )


def whole_weights(shares: Sequence[Fraction]) -> list[int]:
    """The least whole numbers in proportion to shares of which one is positive."""
    denominator = math.lcm(*(share.denominator for share in shares))
    whole = [int(share * denominator) for share in shares]
    common = math.gcd(*whole)
    return [number // common for number in whole]


def quota(weights: Sequence[int], total: int) -> np.ndarray:
    """Share out `total` images by the method of Webster (Sainte-Lague, highest averages).

    Image j of a class (0 the first) has the rank (2 j + 1) / weight; the lowest ranks win, ties go
    to the lower class, all in exact arithmetic. Counts never fall as `total` grows, unlike those of
    largest remainders. A count is within one of its exact share with up to three classes, and but
    for rare cases with more.

    Args:
        weights: (C,) whole numbers of which one is positive.
        total: What the counts sum to.

    Returns:
        (C,) int64.
    """
    whole, num_classes = sum(weights), len(weights)
    # Images of rank below (2 total - C) / whole are at most `total`, so that all of them win.
    limit = 2 * total - num_classes
    counts = [max(0, -((whole - weight * limit) // (2 * whole))) for weight in weights]
    ranks = [
        (Fraction(2 * count + 1, weight), k)
        for k, (count, weight) in enumerate(zip(counts, weights, strict=True))
        if weight > 0
    ]
    heapq.heapify(ranks)
    for _ in range(total - sum(counts)):
        _, k = ranks[0]
        counts[k] += 1
        heapq.heapreplace(ranks, (Fraction(2 * counts[k] + 1, weights[k]), k))
    return np.array(counts, np.int64)


def multinomial(weights: Sequence[int], total: int, seed: Seed) -> np.ndarray:
    """Draw the class of each image independently; image i's draw depends on (seed, i) alone.

    Args:
        weights: (C,) whole numbers of which one is positive.
        total: How many images.
        seed: (lineage seed, generation, member).

    Returns:
        (C,) int64 counts that sum to `total`.
    """
    draws = generator(seed, Purpose.POOL, LABELS).random(total)
    whole = sum(weights)
    edges = np.array([below / whole for below in itertools.accumulate(weights)])
    classes = np.searchsorted(edges, draws, side="right")
    return np.bincount(classes, minlength=len(weights))
