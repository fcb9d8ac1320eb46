"""Facts of a training's length: steps, images seen, what is left of the average's first value."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import ModelConfig, TrainConfig
from model.training.batches import batch_indices
from model.training.length import (
    check_last_batch,
    count_images,
    ema_decay_at,
    ema_init_left,
    steps_per_epoch,
    training_length,
    training_steps,
)


def count_steps(num_images: int, train: TrainConfig) -> int:
    """Of a lineage's first generation."""
    return training_steps(num_images, train, first_pool=num_images)


@pytest.mark.parametrize(
    ("num_images", "repetitions", "steps"),
    [
        (6551, 5, 511),  # the Keras example: 6551 x 5 // 64
        (6551, 10, 1023),  # clear-diffusion-keras: 6551 x 10 // 64
        (6551, 1, 102),
        (1020, 1, 15),
        (1020, 5, 79),
        (1020, 10, 159),
    ],
)
def test_epoch_of_the_flowers_has_its_known_steps(num_images, repetitions, steps):
    assert steps_per_epoch(num_images, TrainConfig(repetitions=repetitions)) == steps


def test_paper_trains_40920_steps():
    """40 epochs of 6551 images, 10 times each: 40 x 1023."""
    assert count_steps(6551, TrainConfig(epochs=40, repetitions=10)) == 40_920


def test_1020_images_for_40_epochs_are_600_steps_without_the_last_batches():
    assert count_steps(1020, TrainConfig(epochs=40)) == 600


def test_1020_images_for_40_epochs_are_640_steps_with_the_last_batches():
    assert count_steps(1020, TrainConfig(epochs=40, drop_last=False)) == 640


def test_kept_last_batches_are_counted_as_they_are():
    """640 steps see each of the 1020 images 40 times, not 640 x 64 images."""
    assert count_images(1020, TrainConfig(drop_last=False), 640) == 40 * 1020


def test_dropped_last_batches_are_not_seen():
    assert count_images(1020, TrainConfig(), 600) == 600 * 64


def test_longer_pool_trains_longer_by_default():
    """With fixed epochs, as in the paper, a doubled pool doubles the steps."""
    assert training_steps(256, TrainConfig(epochs=2), first_pool=128) == 2 * 256 // 64


def test_scaling_by_steps_keeps_the_first_pools_steps():
    train = TrainConfig(epochs=2, scaling="steps")
    assert training_steps(256, train, first_pool=128) == 2 * 128 // 64


def test_scaling_by_images_keeps_the_first_pools_images_seen():
    """2 epochs of 128 are 256 images: one epoch of a pool of 256."""
    train = TrainConfig(epochs=2, scaling="images")
    assert training_steps(128, train, first_pool=128) == 2 * 128 // 64
    assert training_steps(256, train, first_pool=128) == 256 // 64


def test_scaling_by_images_counts_short_batches_as_they_are():
    """3 epochs of 100 in batches of 64 and 36 see 300; of 150 (64, 64, 22) these are 2 epochs."""
    train = TrainConfig(epochs=3, drop_last=False, scaling="images")
    assert training_steps(100, train, first_pool=100) == 6
    assert training_steps(150, train, first_pool=100) == 6
    assert count_images(150, train, 6) == 300


@given(
    st.integers(64, 500),
    st.integers(64, 2000),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
)
def test_scaling_by_images_sees_as_many_or_up_to_a_batch_more(
    first_pool, num_images, epochs, repetitions, drop_last
):
    """Whatever the pool's size."""
    train = TrainConfig(
        epochs=epochs, repetitions=repetitions, drop_last=drop_last, scaling="images"
    )
    steps = training_steps(first_pool, train, first_pool=first_pool)
    expected = count_images(first_pool, train, steps)
    found = count_images(
        num_images, train, training_steps(num_images, train, first_pool=first_pool)
    )
    assert expected <= found < expected + train.batch_size


def test_given_steps_hold_for_every_pool():
    assert count_steps(10, TrainConfig(epochs=None, steps=7)) == 7


def test_given_images_are_seen():
    assert count_steps(1020, TrainConfig(epochs=None, images=640)) == 10


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 500), st.booleans())
def test_given_images_are_seen_and_less_than_a_batch_more(num_images, batch, images, drop_last):
    """Also where an epoch's last batch is smaller."""
    train = TrainConfig(epochs=None, images=images, batch_size=batch, drop_last=drop_last)
    seen = count_images(num_images, train, count_steps(num_images, train))
    assert images <= seen < images + batch


def test_pool_smaller_than_a_batch_is_an_error_naming_the_ways_out():
    with pytest.raises(ValueError, match=r"train\.batch_size must be at most .* got 64; make it"):
        count_steps(63, TrainConfig())


@given(
    num_images=st.integers(1, 40),
    batch_size=st.integers(1, 20),
    repetitions=st.integers(1, 3),
    drop_last=st.booleans(),
    num_steps=st.integers(0, 60),
)
def test_counted_images_are_the_batches_sizes(
    num_images, batch_size, repetitions, drop_last, num_steps
):
    """Whatever the pool and the batch: the arithmetic agrees with the loop it is about."""
    train = TrainConfig(batch_size=batch_size, repetitions=repetitions, drop_last=drop_last)
    batches = itertools.islice(batch_indices(num_images, train, (0, 1, 0), 0), num_steps)
    assert count_images(num_images, train, num_steps) == sum(len(batch) for batch in batches)


# Average


@pytest.mark.parametrize(
    ("num_steps", "left"), [(511, 0.600), (1022, 0.360), (2555, 0.078), (600, 0.549)]
)
def test_average_keeps_its_initial_value_for_long(num_steps, left):
    """.999 ^ steps: after an epoch of the Keras example 60% of the average is its random start."""
    assert ema_init_left(num_steps, TrainConfig(ema_init="independent")) == pytest.approx(
        left, abs=5e-4
    )


def test_warm_up_is_a_mean_that_becomes_the_decay():
    """(1 + s) / (10 + s): .1, 2/11, 3/12 ..., and .999 from s = 8990 on."""
    train = TrainConfig(ema_init="warmup")
    steps = (0, 1, 2, 8989, 8990, 100_000)
    expected = (0.1, 2 / 11, 3 / 12, 8990 / 8999, 0.999, 0.999)
    assert [ema_decay_at(step, train) for step in steps] == pytest.approx(expected, rel=1e-12)


def test_warm_up_forgets_its_initial_value_at_once():
    """The product of (1 + s) / (10 + s) over 10 steps is 9! 10! / 19!."""
    left = ema_init_left(10, TrainConfig(ema_init="warmup"))
    assert left == pytest.approx(1 / math.comb(19, 9), rel=1e-9)


def test_without_warm_up_the_decay_is_constant():
    assert {ema_decay_at(step, TrainConfig(ema_init="copy")) for step in (0, 10**6)} == {0.999}


def test_one_image_of_one_pixel_is_refused_to_batchnorm():
    """8x8 images reach one pixel after three halvings; 41 images in batches of 8 leave one."""
    kept = TrainConfig(batch_size=8, drop_last=False)
    with pytest.raises(ValueError, match=r"train.drop_last must leave no batch of one image"):
        check_last_batch(41, kept, widths=(4, 4, 4, 8), image_size=8)
    check_last_batch(42, kept, widths=(4, 4, 4, 8), image_size=8)
    check_last_batch(41, kept, widths=(4, 8), image_size=8)
    check_last_batch(41, TrainConfig(batch_size=8), widths=(4, 4, 4, 8), image_size=8)


@pytest.mark.parametrize(
    ("family", "expected"), [("ddim", (40 * 15, 38_400)), ("gaussian", (0, 1020))]
)
def test_a_family_without_steps_sees_each_image_once(family, expected):
    """40 epochs of 1020 images in whole batches of 64; the null model has one look at each."""
    model = ModelConfig(family=family)
    found = training_length(1020, model, TrainConfig(), first_pool=1020, image_size=8)
    assert found == expected
