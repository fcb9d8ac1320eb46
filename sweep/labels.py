"""How many images of each class are asked for: shares, and whole numbers that follow them.

The new images' shares are q = c x focal + (1 - c) x p, with c = pool.concentration, focal uniform
on the focal classes, and p the shares of the pool. Counts grow with the number of images and never
shrink (no Alabama paradox), so that a smaller alpha takes a subset of a larger one's images. Plain
arithmetic: must not know pools or files.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np

from model.randomness import Purpose, Seed, generator


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
    shares = [
        (c / len(focal) if k in focal else 0) + (1 - c) * Fraction(count, total)
        for k, count in enumerate(counts)
    ]
    whole = int(np.lcm.reduce([share.denominator for share in shares], dtype=object))
    return [int(share * whole) for share in shares]


def quota(weights: Sequence[int], total: int) -> np.ndarray:
    """Share out `total` images by the method of Webster (Sainte-Lague, highest averages).

    Image j of a class (0 the first) has the rank (2 j + 1) / weight; the lowest ranks win, ties go
    to the lower class. A count is within one of its exact share but for rare cases of many
    classes, and never falls as `total` grows, unlike largest remainders.

    Args:
        weights: (C,) whole numbers of which one is positive.
        total: What the counts sum to.

    Returns:
        (C,) int64.
    """
    counts = np.zeros(len(weights), np.int64)
    if total == 0:
        return counts
    whole = sum(weights)
    margin = 2
    while True:
        most = [-(-w * total // whole) + margin if w > 0 else 0 for w in weights]
        classes = np.repeat(np.arange(len(weights)), most)
        numbers = np.concatenate([np.arange(m) for m in most])
        scale = np.array([w / whole for w in weights])
        ranks = (2 * numbers + 1) / scale[classes]
        winners = classes[np.lexsort((classes, ranks))[:total]]
        counts = np.bincount(winners, minlength=len(weights))
        if (counts < np.array(most)).all(where=np.array(most) > 0):
            return counts
        margin *= 2


def multinomial(weights: Sequence[int], total: int, seed: Seed) -> np.ndarray:
    """Draw the class of each image independently; image i's draw depends on (seed, i) alone.

    Returns:
        (C,) int64 counts that sum to `total`.
    """
    if total == 0:
        return np.zeros(len(weights), np.int64)
    draws = generator(seed, Purpose.POOL).random(total)
    edges = np.cumsum([w / sum(weights) for w in weights])
    edges[-1] = np.inf  # rounding must not leave a draw without a class
    classes = np.searchsorted(edges, draws, side="right")
    last = max(k for k, w in enumerate(weights) if w > 0)
    return np.bincount(np.minimum(classes, last), minlength=len(weights))
