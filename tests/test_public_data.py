"""Facts about model.data.public: digits and flower crops."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

from model.config import DataConfig
from model.data.datasets import describe, load_dataset
from model.data.public import DIGITS_CLASS_COUNTS

CROPS = DataConfig(name="flower-crops", num_images=18, image_size=8, split="all")


def test_digits_are_sklearns_in_eight_bits() -> None:
    """Level 16 becomes 255, level 8 (127.5) rounds to the even 128."""
    levels, labels = sklearn_datasets.load_digits(return_X_y=True)
    dataset = load_dataset(DataConfig())
    table = np.rint(np.arange(17) * 255 / 16).astype(np.uint8)
    assert (table[8], table[16]) == (128, 255)
    np.testing.assert_array_equal(dataset.images.reshape(1797, 64), table[levels.astype(int)])
    np.testing.assert_array_equal(dataset.labels, labels)


def test_digits_class_counts_are_sklearns() -> None:
    """The constants that a plan uses."""
    _, labels = sklearn_datasets.load_digits(return_X_y=True)
    assert tuple(np.bincount(labels)) == DIGITS_CLASS_COUNTS


def test_float_digits_are_the_bytes_over_255() -> None:
    """At their own size no pixel is rounded anew."""
    floats = load_dataset(DataConfig(dtype="float32")).images
    np.testing.assert_array_equal(
        floats, load_dataset(DataConfig()).images.astype(np.float32) / np.float32(255)
    )


def test_a_larger_set_of_crops_begins_with_the_smaller() -> None:
    """Crop j of a photograph depends on the seed and j alone."""
    small, large = load_dataset(CROPS), load_dataset(replace(CROPS, num_images=30))
    np.testing.assert_array_equal(large.images[:18], small.images)


def test_crops_are_all_different_and_follow_the_seed() -> None:
    """No two of a seed are equal; another seed gives others."""
    first, other = load_dataset(CROPS), load_dataset(replace(CROPS, split_seed=1))
    assert len({image.tobytes() for image in first.images}) == 18
    assert not (first.images == other.images).all(axis=(1, 2, 3)).any()


def test_crops_are_spread_evenly_over_the_photographs() -> None:
    """18 crops are two of each of flowers1 ... flowers9."""
    dataset = load_dataset(CROPS)
    assert dataset.class_names == tuple(f"flowers{i}" for i in range(1, 10))
    assert dataset.class_counts(dataset.train) == (2,) * 9


def test_fewer_crops_than_photographs_are_an_error() -> None:
    """A class without images would be left."""
    with pytest.raises(ValueError, match=r"data.num_images must be at least 9, .*, got 8"):
        describe(replace(CROPS, num_images=8))
