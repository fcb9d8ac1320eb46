"""Splits of a data set into training, reference and validation images, as indices.

The images are permuted with data.split_seed and then divided class by class. The splits depend on
the settings, the labels and the official splits, but not on pixels.
"""

from collections.abc import Collection
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from model.config import DataConfig
from model.errors import UsageError
from model.randomness import Purpose, sequence

TRAIN, VALIDATION, TEST = range(3)
"""The official splits that a data set may come with."""

SPLIT_NAMES = {
    "train": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
}
"""Names that the user's own data may give to the official splits."""


def split_choices(parts: Collection[int]) -> tuple[str, ...]:
    """Allowed values of data.split for a data set that comes with these official splits."""
    choices = ("stratified", "all")
    if TRAIN in parts and len(parts) > 1:
        choices += ("keras_80_20", "official_train")
    if {TRAIN, VALIDATION, TEST} <= set(parts):
        choices += ("official_trainval",)
    return choices


def check_split(config: DataConfig, parts: Collection[int]) -> None:
    """Raise UsageError if data.split needs official splits that the data do not have."""
    choices = split_choices(parts)
    if config.split not in choices:
        allowed = " or ".join(choices) if len(choices) == 2 else f"one of {', '.join(choices)}"
        raise UsageError(
            f"data.split must be {allowed} for data.name={config.name}, got {config.split!r}; "
            f"add --data.split {choices[0]}"
        )


class Splits(NamedTuple):
    """Disjoint int64 indices into a data set's images, in permuted order (see split_images)."""

    train: np.ndarray
    reference: np.ndarray
    validation: np.ndarray


def apportion(weights: np.ndarray, total: int) -> np.ndarray:
    """Divide `total` in proportion to integer weights, by the largest remainder method.

    Ties go to the lower index. If `total` is at most the sum of the weights, no share exceeds its
    weight.

    Args:
        weights: (K,) non-negative integers with a positive sum.
        total: Sum of the shares.

    Returns:
        (K,) int64.
    """
    products = np.asarray(weights, np.int64) * total
    shares, remainders = np.divmod(products, int(np.sum(weights)))
    unassigned = total - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[:unassigned]] += 1
    return shares


def share_of(fraction: float, count: int) -> int:
    """`fraction` x `count`, exact for the decimal that the user wrote, rounded half to even."""
    return round(Decimal(str(fraction)) * count)


def take(order: np.ndarray, labels: np.ndarray | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Take the first images of each class, in proportion to the sizes of the classes.

    Args:
        order: (M,) indices of images.
        labels: (N,) class of every image, or None for one class.
        count: Number of images to take, at most M.

    Returns:
        The taken and the remaining indices, both in the given order.
    """
    if count == 0:
        return order[:0], order
    groups = np.zeros(len(order), np.int64) if labels is None else labels[order]
    sizes = np.bincount(groups)
    ranks = np.empty(len(order), np.int64)
    ranks[np.argsort(groups, kind="stable")] = np.concatenate([np.arange(size) for size in sizes])
    chosen = ranks < apportion(sizes, count)[groups]
    return order[chosen], order[~chosen]


def split_images(
    config: DataConfig, num_images: int, *, labels: np.ndarray | None, parts: np.ndarray | None
) -> Splits:
    """Split a data set by data.split, then take out validation images and apply train_limit.

    all has no reference images. stratified holds out reference_fraction of the images as the
    reference. official_train trains on the official train split; the reference is the
    validation split, or the test split if there is no validation split. official_trainval trains on
    the train split followed by the validation split; the reference is the test split. keras_80_20
    trains on 80% of each official split, one split after the other as in the Keras example; the
    reference is the rest. Within an official split the order is that of the permutation. The sizes
    of the results do not depend on labels.

    Args:
        config: The data settings.
        num_images: N.
        labels: (N,) int64, or None.
        parts: (N,) official split of each image (TRAIN, VALIDATION or TEST); "all" and "stratified"
            do not use it.

    Raises:
        UsageError: No image remains to train on.
    """
    random = np.random.Philox(sequence((config.split_seed,), Purpose.SPLIT)).random_raw(num_images)
    order = np.argsort(random, kind="stable")
    if config.split == "all":
        reference, train = order[:0], order
    elif config.split == "stratified":
        reference, train = take(order, labels, share_of(config.reference_fraction, num_images))
    else:
        assert parts is not None
        official = [order[parts[order] == part] for part in range(3)]
        if config.split == "official_train":
            train, reference = official[TRAIN], official[VALIDATION]
            if not len(reference):
                reference = official[TEST]
        elif config.split == "official_trainval":
            train, reference = np.concatenate(official[:TEST]), official[TEST]
        else:
            divided = [take(part, labels, share_of(0.8, len(part))) for part in official]
            train, reference = (np.concatenate(pieces) for pieces in zip(*divided, strict=True))
    validation, train = take(train, labels, share_of(config.validation_fraction, len(train)))
    if config.train_limit is not None:
        train, _ = take(train, labels, min(config.train_limit, len(train)))
    if len(train) == 0:
        fractions = (config.reference_fraction, config.validation_fraction)
        raise UsageError(
            "data.reference_fraction and data.validation_fraction must leave at least 1 image to "
            f"train on, got {fractions}; the data set has {num_images} images"
        )
    return Splits(train, reference, validation)
