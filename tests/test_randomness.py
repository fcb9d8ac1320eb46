"""Facts of the random numbers: functions of fixed integers, one stream per image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.randomness import Purpose, generator, image_noise, integer_seed, sequence

SEED = (0, 1, 0)
integers = st.integers(0, 2**32 - 1)
inputs = st.tuples(
    st.lists(integers, max_size=4).map(tuple),
    st.sampled_from(Purpose),
    st.lists(integers, max_size=3).map(tuple),
)


def draw(indices: range, *, seed=SEED, purpose=Purpose.SAMPLE, label: int | None = None):
    return image_noise(seed, purpose, indices, (1, 4, 4), label=label)


def test_noise_of_an_image_does_not_depend_on_the_range():
    """Image 7 is the same alone, among the first ten, and in a block that starts at 5."""
    alone = draw(range(7, 8))[0]
    np.testing.assert_array_equal(draw(range(10))[7], alone)
    np.testing.assert_array_equal(draw(range(5, 105))[2], alone)


@given(st.integers(0, 2**40), st.integers(1, 3), st.integers(0, 3))
def test_noise_of_a_block_is_that_of_its_images(start, length, before):
    first = max(0, start - before)
    block = draw(range(first, start + length))
    np.testing.assert_array_equal(block[start - first :], draw(range(start, start + length)))


def test_noise_is_float32_of_the_images_shape():
    noise = draw(range(3))
    assert (noise.dtype, noise.shape) == (np.float32, (3, 1, 4, 4))


def test_empty_range_has_no_noise():
    assert draw(range(0)).shape == (0, 1, 4, 4)


def test_noise_is_standard_normal():
    """Mean and variance of 160,000 numbers lie within 4 standard errors, 1 and sqrt(2) over 400."""
    noise = draw(range(10_000))
    assert abs(noise.mean()) < 4 / 400
    assert abs(noise.var() - 1) < 4 * 2**0.5 / 400


def test_images_of_a_stream_are_uncorrelated():
    """The correlation of neighbours has a standard error of 1 / 400."""
    noise = draw(range(10_001)).reshape(10_001, -1)
    assert abs((noise[:-1] * noise[1:]).mean()) < 4 / 400


@pytest.mark.parametrize(
    "other",
    [
        {"seed": (1, 1, 0)},
        {"seed": (0, 2, 0)},
        {"seed": (0, 1, 1)},
        {"seed": (0, 1)},
        {"purpose": Purpose.PREVIEW},
        {"label": 0},
        {"label": 1},
    ],
)
def test_streams_differ_by_seed_generation_member_purpose_and_class(other):
    assert not (draw(range(2)) == draw(range(2), **other)).any()


def test_noise_is_what_it_always_was():
    """Part of every result: numpy promises that Philox and the seeds' mixing never change."""
    noise = image_noise((0, 1, 0), Purpose.SAMPLE, range(1), (2,))
    np.testing.assert_allclose(noise[0], [0.5708703, 1.2539706], rtol=1e-6)


def test_seed_is_what_it_always_was():
    assert integer_seed((0, 1, 0), Purpose.STEP, 5) == 3624590410803214505


def test_purposes_keep_their_numbers():
    """They are part of every result."""
    names = [purpose.name for purpose in sorted(Purpose)]
    assert " ".join(names) == (
        "INIT EMA_INIT SHUFFLE STEP SAMPLE PREVIEW VALIDATION SPLIT POOL MEASURE DATA"
    )
    assert sorted(Purpose) == list(range(1, 12))


@given(inputs, inputs)
def test_different_inputs_have_different_seeds(first, second):
    """Lengths are part of it, so that (1, 2) with (3,) is not (1,) with (2, 3)."""
    seeds = [integer_seed(seed, purpose, *extra) for seed, purpose, extra in (first, second)]
    assert (seeds[0] == seeds[1]) == (first == second)


def test_trailing_zeros_count():
    """SeedSequence pads with zeros, so that lengths have to be told apart."""
    assert integer_seed((0,), Purpose.STEP) != integer_seed((0,), Purpose.STEP, 0)
    assert integer_seed((0,), Purpose.STEP) != integer_seed((0, 0), Purpose.STEP)


@given(inputs)
def test_seed_fits_into_63_bits(arguments):
    seed, purpose, extra = arguments
    assert 0 <= integer_seed(seed, purpose, *extra) < 2**63


def test_negative_seed_is_an_error():
    with pytest.raises(ValueError, match="non-negative"):
        sequence((-1,), Purpose.INIT)


def test_generators_of_the_same_integers_agree():
    first, second = (generator(SEED, Purpose.SHUFFLE, 3).random(4) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_global_random_numbers_are_left_alone():
    before = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # is tested
    draw(range(3))
    generator(SEED, Purpose.SHUFFLE).random()
    after = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # is tested
    assert after == before


LARGE = (0, 1, 2, 5, 2**32 - 1, 2**32, 2**32 + 1, 2**32 + 5, 2**33, 2**62 + 1, 2**63 - 1)
"""Seeds whose parts of 32 bits are those of others, and their neighbours."""
USES = (
    *((Purpose.INIT, ()), (Purpose.EMA_INIT, ()), (Purpose.SHUFFLE, (0,)), (Purpose.SHUFFLE, (1,))),
    *((Purpose.STEP, (0,)), (Purpose.STEP, (1,)), (Purpose.SAMPLE, (0,)), (Purpose.SAMPLE, (3,))),
    *((Purpose.VALIDATION, (0,)), (Purpose.MEASURE, (0,))),
)
"""What the random numbers of a model are used for, with the number of an epoch, step or class."""


def test_no_seeds_of_any_size_share_random_numbers() -> None:
    """Numpy splits an integer into words of 32 bits, and 2**32 + 1 becomes two words."""
    models = [(s, n, k) for s in LARGE for n in range(1, 7) for k in range(3)]
    states = {
        tuple(sequence(seed, purpose, *extra).generate_state(4))
        for seed in models
        for purpose, extra in USES
    }
    assert len(states) == len(models) * len(USES)


def test_no_seeds_of_any_size_share_noise() -> None:
    """The counter-based generator takes its key from the same integers."""
    models = [(s, n, k) for s in LARGE for n in range(1, 4) for k in range(2)]
    drawn = {draw(range(2), seed=seed, label=c).tobytes() for seed in models for c in (None, 0, 9)}
    assert len(drawn) == 3 * len(models)


@pytest.mark.parametrize("purpose", [Purpose.SPLIT, Purpose.POOL, Purpose.PREVIEW])
def test_no_seeds_of_any_size_share_splits_pools_or_previews(purpose: Purpose) -> None:
    seeds = [(s,) for s in LARGE] + [(s, n) for s in LARGE for n in range(1, 12)]
    states = {
        tuple(sequence(seed, purpose, *extra).generate_state(4))
        for seed in seeds
        for extra in ((), (0,), (1,), (7,))
    }
    assert len(states) == 4 * len(seeds)
