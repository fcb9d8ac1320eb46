"""Facts about model.data.splits: largest remainders, stratification, and the official sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import DataConfig
from model.data.splits import apportion, share_of, split_images, take

FLOWERS = np.repeat(np.arange(3), (1020, 1020, 6149))


def test_apportion_gives_remainders_to_the_largest_then_the_first() -> None:
    """5 over (2, 3, 1): 10/6, 15/6, 5/6 -> floors 1, 2, 0 and remainders 4, 3, 5."""
    assert apportion(np.array([2, 3, 1]), 5).tolist() == [2, 2, 1]
    assert apportion(np.array([1, 1, 1]), 2).tolist() == [1, 1, 0]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.data())
def test_apportion_sums_to_the_total_within_one_of_the_proportion(
    weights: list[int], data: st.DataObject
) -> None:
    """And never gives a class more than it has."""
    whole = sum(weights)
    if whole == 0:
        weights, whole = [1], 1
    total = data.draw(st.integers(0, whole))
    shares = apportion(np.array(weights), total)
    assert shares.sum() == total
    assert (shares <= weights).all()
    assert (abs(shares * whole - np.array(weights) * total) < whole).all()


def test_shares_are_decimal_and_round_half_to_even() -> None:
    """0.145 * 100 is 14.5 (binary floats say 14.499...), 0.5 * 3 is 1.5, 0.2 * 1797 is 359.4."""
    assert (share_of(0.145, 100), share_of(0.155, 100)) == (14, 16)
    assert (share_of(0.5, 3), share_of(0.2, 1797)) == (2, 359)


def test_take_keeps_the_order_and_the_classes_shares() -> None:
    """Two of each four of class 0, one of two of class 1: the first of each in the order given."""
    labels = np.array([0, 0, 1, 0, 1, 0])
    taken, others = take(np.array([5, 4, 3, 2, 1, 0]), labels, 3)
    assert (taken.tolist(), others.tolist()) == ([5, 4, 3], [2, 1, 0])


@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        ("keras_80_20", (816 + 816 + 4919, 204 + 204 + 1230)),
        ("official_train", (1020, 1020)),
        ("official_trainval", (2040, 6149)),
        ("all", (8189, 0)),
        ("stratified", (8189 - 1638, 1638)),
    ],
)
@pytest.mark.parametrize("labelled", [True, False])
def test_flowers102_splits_have_their_published_sizes(
    split: str, sizes: tuple[int, int], labelled: bool
) -> None:
    """80/20 of each official split are 6551 and 1638 images, whatever the labels."""
    labels = np.random.default_rng(0).integers(0, 102, len(FLOWERS)) if labelled else None
    config = DataConfig(name="flowers102", split=split)  # ty: ignore
    splits = split_images(config, len(FLOWERS), labels=labels, parts=FLOWERS)
    assert (len(splits.train), len(splits.reference)) == sizes
    everything = np.concatenate([splits.train, splits.reference])
    assert len(np.unique(everything)) == len(everything)


def test_official_train_takes_the_official_validation_split_as_reference() -> None:
    """No test image is in either."""
    config = DataConfig(name="flowers102", split="official_train")
    splits = split_images(config, len(FLOWERS), labels=None, parts=FLOWERS)
    assert sorted(splits.train) == list(range(1020))
    assert sorted(splits.reference) == list(range(1020, 2040))


def test_keras_80_20_holds_out_a_fifth_of_each_class_of_each_official_split() -> None:
    """Ten images a class in the official train split, of which two are reference."""
    labels = np.concatenate([np.repeat(np.arange(102), 10)] * 2 + [np.arange(6149) % 102])
    config = DataConfig(name="flowers102", split="keras_80_20")
    splits = split_images(config, len(FLOWERS), labels=labels, parts=FLOWERS)
    held_out = splits.reference[FLOWERS[splits.reference] == 0]
    assert np.bincount(labels[held_out]).tolist() == [2] * 102


@given(
    st.lists(st.integers(0, 4), min_size=8, max_size=60),
    st.just(0.0) | st.floats(1e-30, 0.6),
    st.just(0.0) | st.floats(1e-30, 0.6),
    st.none() | st.integers(1, 40),
    st.integers(0, 3),
)
def test_splits_are_disjoint_and_of_the_sizes_asked_for(
    classes: list[int], reference: float, validation: float, limit: int | None, seed: int
) -> None:
    """Validation is taken out of the train pool, then the limit applies."""
    N = len(classes)
    config = DataConfig(
        reference_fraction=reference,
        validation_fraction=validation,
        train_limit=limit,
        split_seed=seed,
    )
    splits = split_images(config, N, labels=np.array(classes), parts=None)
    num_reference = share_of(reference, N)
    num_validation = share_of(validation, N - num_reference)
    left = N - num_reference - num_validation
    assert len(splits.reference) == num_reference
    assert len(splits.validation) == num_validation
    assert len(splits.train) == (left if limit is None else min(limit, left))
    everything = np.concatenate(splits)
    assert len(np.unique(everything)) == len(everything)
    assert all(part.dtype == np.int64 for part in splits)


def test_the_split_depends_on_its_seed_alone() -> None:
    """The same seed gives the same order, another seed another one."""
    first, again, other = (
        split_images(DataConfig(split_seed=seed), 50, labels=None, parts=None).train.tolist()
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_a_split_without_training_images_is_an_error() -> None:
    """One image, of which 90 % (rounded: all) are reference."""
    with pytest.raises(ValueError, match=r"leave at least 1 image to train on, got \(0.9, 0.0\)"):
        split_images(DataConfig(reference_fraction=0.9), 1, labels=None, parts=None)
