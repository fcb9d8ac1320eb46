"""Facts of the memorisation metrics: fresh images pass, copies do not."""

import numpy as np
import pytest
import scipy.stats

from model.config import MetricsConfig
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.memorization import rank_z
from model.metrics.table import measure


def draw(num_images: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_images, 8))


TRAIN, REFERENCE, FRESH = draw(400, seed=0), draw(300, seed=1), draw(500, seed=2)
NOISE = 0.01 * draw(500, seed=3)


def evaluate(generated, *, reference=REFERENCE, train=TRAIN, bootstrap=0, exact_copies=None):
    config = MetricsConfig(names=("memorization",), extractor="pixels", bootstrap=bootstrap)
    real = RealFeatures(reference=reference, train=train)
    comparison = Comparison(generated=generated, real=real, exact_copies=exact_copies)
    return measure(comparison, config)


def numbers(generated, **parts) -> dict[str, float]:
    values = evaluate(generated, **parts).values
    return {key.removesuffix("/pixels"): value for key, value in values.items()}


def test_fresh_images_are_not_memorized():
    """In 8 dimensions a third of the second distance holds (1/3)^8 of a ball: 1 in 6561."""
    assert numbers(FRESH)["memorized"] <= 1 / 500


def test_fresh_images_are_near_copies_as_often_as_expected():
    """One in a hundred of 20,000, within four deviations of what 999 references can tell.

    The quantile's own share of the distribution is Beta(10, 990): mean .01, deviation .0031.
    """
    found = numbers(draw(20_000, seed=7), reference=draw(999, seed=8))
    assert abs(found["near_copies"] - 0.01) < 4 * 0.0032


def test_fresh_images_pass_the_copying_test():
    assert abs(numbers(FRESH)["copying_z"]) < 3


def test_fresh_images_are_as_far_from_training_images_as_the_reference():
    """A mean of 300 distances of deviation 0.2 or so is known to 1%."""
    assert numbers(FRESH)["train_distance"] == pytest.approx(1, abs=0.05)


def test_copies_with_noise_are_memorized():
    found = numbers(TRAIN + NOISE[:400])
    assert (found["memorized"], found["near_copies"]) == (1, 1)


def test_copies_with_noise_fail_the_copying_test():
    """All 400 nearer than all 300: U = 0, z = -nm/2 / sqrt(nm (n + m + 1) / 12)."""
    expected = -400 * 300 / 2 / np.sqrt(400 * 300 * 701 / 12)
    assert numbers(TRAIN + NOISE[:400])["copying_z"] == pytest.approx(expected, rel=1e-12)


def test_copies_are_at_no_distance():
    assert numbers(TRAIN)["train_distance"] == 0


def test_a_share_of_copies_is_that_share():
    generated = np.concatenate([TRAIN[:100] + NOISE[:100], FRESH[:300] + 50])
    assert numbers(generated)["memorized"] == 0.25


def test_copies_of_a_repeated_training_image_are_memorized():
    """It counts once; else both distances were zero, and 0 < 0 / 3 does not hold."""
    assert numbers(TRAIN[:50], train=np.concatenate([TRAIN, TRAIN]))["memorized"] == 1


def test_the_overlap_of_the_data_is_told():
    """A fifth of the reference are training images themselves."""
    reference = np.concatenate([REFERENCE[:80] + 50, TRAIN[:20]])
    assert numbers(FRESH, reference=reference)["memorized_held_out"] == 0.2


def test_exact_copies_are_those_of_the_pixels():
    found = numbers(FRESH, exact_copies=np.arange(500) < 50)
    assert found["exact_copies"] == 0.1


def test_exact_copies_are_left_out_where_pixels_are_unknown():
    assert "exact_copies" not in numbers(FRESH)


def test_training_images_that_are_all_equal_leave_a_number_out():
    evaluation = evaluate(FRESH, train=np.ones((5, 8)))
    assert "memorized/pixels" not in evaluation.values
    assert "memorized/pixels must be finite, got nan: left out" in evaluation.warnings


def test_a_reference_of_copies_leaves_the_distance_out():
    evaluation = evaluate(FRESH, reference=TRAIN[:200])
    assert "train_distance/pixels" not in evaluation.values


def test_a_small_reference_cannot_tell_a_hundredth():
    (warning,) = evaluate(FRESH, reference=REFERENCE[:98]).warnings
    assert warning == (
        "near_copies/pixels should have at least 99 reference images, got 98: "
        "fresh images give 0.0101, not 0.01"
    )


def test_99_reference_images_can_tell_a_hundredth():
    assert evaluate(FRESH, reference=REFERENCE[:99]).warnings == []


def test_shares_have_standard_errors():
    """The binomial's, within what 200 resamples leave."""
    generated = np.concatenate([TRAIN[:100] + NOISE[:100], FRESH[:300] + 50])
    found = numbers(generated, bootstrap=200, exact_copies=np.arange(400) < 40)
    np.testing.assert_allclose(found["memorized_se"], np.sqrt(0.25 * 0.75 / 400), rtol=0.15)
    np.testing.assert_allclose(found["exact_copies_se"], np.sqrt(0.1 * 0.9 / 400), rtol=0.15)


def test_training_images_are_needed():
    config = MetricsConfig(names=("memorization",), extractor="pixels")
    with pytest.raises(ValueError, match="must not have 'memorization' without real training"):
        measure(Comparison(generated=FRESH, real=RealFeatures(reference=REFERENCE)), config)


def test_the_order_of_images_does_not_matter():
    expected = numbers(FRESH)
    assert numbers(FRESH[::-1], reference=REFERENCE[::-1], train=TRAIN[::-1]) == pytest.approx(
        expected, rel=1e-12
    )


def test_ranks_are_scipys_with_ties():
    """The asymptotic two-sided p-value of scipy is that of our z."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 40), rng.integers(1, 7, 30)
    expected = scipy.stats.mannwhitneyu(x, y, use_continuity=False, method="asymptotic").pvalue
    z = rank_z(x, y)
    assert z < 0
    np.testing.assert_allclose(2 * scipy.stats.norm.sf(-z), expected, rtol=1e-10)


def test_numbers_that_are_all_equal_have_no_direction():
    assert rank_z(np.ones(5), np.ones(7)) == 0
