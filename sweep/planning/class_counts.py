"""How many new images of each class are needed: shares, and whole numbers that follow them.

The shares of the new images are q = c x focal + (1 - c) x p, with c = pool.concentration, focal
uniform over the focal classes, and p the shares of the pool. No count shrinks when the total grows
(no Alabama paradox), so a smaller alpha uses a subset of the images of a larger one.
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np

from model.errors import UsageError
from model.randomness import Purpose, Seed, generator
from sweep.config import LineageConfig
from sweep.records import DatasetCard

LABELS = 1
"""Separates the random draws of classes from those of filters, which may have the same seed."""


def class_number(name: str, field: str, card: DatasetCard) -> int:
    """The number of a class that is given by name or by number.

    Raises:
        UsageError: There is no such class.
    """
    if name in card.class_names:
        return card.class_names.index(name)
    num_classes = card.num_classes
    if name.isdecimal() and int(name) < num_classes:
        return int(name)
    has = ", ".join(card.class_names[:12]) if card.class_names else f"{num_classes or 'no'} classes"
    more = ", ..." if len(card.class_names) > 12 else ""
    raise UsageError(f"{field} must name classes of {card.name}, got {name!r}; it has {has}{more}")


def focal_numbers(config: LineageConfig, card: DatasetCard) -> list[int]:
    """The numbers of pool.focal_classes; raises UsageError if one is missing or repeated."""
    names = config.pool.focal_classes
    numbers = [class_number(name, "pool.focal_classes", card) for name in names]
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"pool.focal_classes must name each class once, got {names}")
    return numbers


def class_weights(
    counts: Sequence[int], *, concentration: float, focal: Sequence[int]
) -> list[int]:
    """The shares q as whole numbers in exact proportion.

    Args:
        counts: (C,) pool images of each class; at least one is positive.
        concentration: c, taken as the decimal number the user wrote.
        focal: Distinct classes; empty only if c is 0.
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
    """The smallest whole numbers in proportion to the shares, at least one of them positive."""
    denominator = math.lcm(*(share.denominator for share in shares))
    whole = [int(share * denominator) for share in shares]
    common = math.gcd(*whole)
    return [number // common for number in whole]


def quota(weights: Sequence[int], total: int) -> np.ndarray:
    """Apportion `total` images by Webster's method (Sainte-Lague, highest averages).

    Image j of a class, counted from 0, has the rank (2 j + 1) / weight. The lowest ranks win and
    ties go to the lower class, in exact arithmetic. Unlike with largest remainders, no count falls
    as `total` grows. With up to three classes each count is within one of its exact share; with
    more, exceptions are rare.

    Args:
        weights: (C,) whole numbers, at least one of them positive.
        total: The sum of the counts.

    Returns:
        (C,) int64.
    """
    whole, num_classes = sum(weights), len(weights)
    # At most `total` images rank below (2 total - C) / whole, so all of those win.
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


def stratified(weights: Sequence[int], total: int, *, focal: Sequence[int]) -> np.ndarray:
    """Apportion `total` images to the focal classes and the rest, then within each of the two.

    Each step is Webster's method (quota). With two parties it rounds, so the number of focal images
    is within half an image of its exact share for any number of classes. If `total` grows by one,
    one of the two numbers grows by one, and with it the count of one class; so no count falls.
    Rounding each focal class by itself would not have this property, because several of them can
    round up at the same total and take images from the rest.

    Args:
        weights: (C,) whole numbers, at least one of them positive.
        total: The sum of the counts.
        focal: Classes that are rounded together; without any, this is quota.

    Returns:
        (C,) int64.
    """
    inside = np.isin(np.arange(len(weights)), focal)
    strata = [
        [weight if chosen else 0 for weight, chosen in zip(weights, mask, strict=True)]
        for mask in (inside, ~inside)
    ]
    sizes = quota([sum(stratum) for stratum in strata], total).tolist()
    counts = np.zeros(len(weights), np.int64)
    for stratum, size in zip(strata, sizes, strict=True):
        if size:
            counts += quota(stratum, size)
    return counts


def multinomial(
    weights: Sequence[int], total: int, seed: Seed, *, purpose: Purpose = Purpose.POOL
) -> np.ndarray:
    """Draw the class of each image independently; image i's depends only on seed, purpose and i.

    Args:
        weights: (C,) whole numbers, at least one of them positive.
        total: Number of images.
        seed: (lineage seed, generation, member).
        purpose: MEASURE for images that are measured but do not enter a pool.

    Returns:
        (C,) int64 counts that sum to `total`.
    """
    draws = generator(seed, purpose, LABELS).random(total)
    whole = sum(weights)
    edges = np.array([below / whole for below in itertools.accumulate(weights)])
    classes = np.searchsorted(edges, draws, side="right")
    return np.bincount(classes, minlength=len(weights))
