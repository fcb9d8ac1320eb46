"""Facts of the metric gain: variances along principal directions against closed forms."""

import numpy as np
import pytest

from model.config import DataConfig, MetricsConfig
from model.data.datasets import load_dataset
from model.features.principal import Directions, principal_directions
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.pixels import compute_gain
from model.metrics.table import RealImages, evaluate_images

CONFIG = MetricsConfig(names=("gain",), extractor="pixels")
BANDS = ("head", "middle", "tail")


def as_images(pixels: np.ndarray) -> np.ndarray:
    """(N, 1, 1, D) images."""
    return pixels[:, None, None, :]


def directions_of(train: np.ndarray, reference: np.ndarray) -> Directions:
    return principal_directions(as_images(train), as_images(reference))


def gains(generated: np.ndarray, directions: Directions) -> dict:
    """The numbers of compute_gain; the features are not used."""
    comparison = Comparison(
        generated=generated,
        real=RealFeatures(reference=directions.reference),
        pixels=generated,
        directions=directions,
    )
    return dict(compute_gain(comparison, CONFIG))


def uncorrelated(rng: np.random.Generator, variances: list[float], count: int) -> np.ndarray:
    """Images whose sample covariance is exactly diagonal, with these variances."""
    noise = rng.standard_normal((count, len(variances)))
    columns = np.linalg.qr(noise - noise.mean(axis=0))[0]
    return columns * np.sqrt((count - 1) * np.array(variances))


def test_samples_scaled_by_c_along_a_direction_have_a_gain_of_c_squared_there() -> None:
    """And of exactly 1 in all other directions."""
    rng = np.random.default_rng(0)
    spread = np.sqrt([9.0, 5.0, 3.0, 2.0, 1.0])
    train, reference = rng.standard_normal((2, 300, 5)) * spread
    directions = directions_of(train, reference)
    u = directions.basis[:, 1]
    along = (reference - reference.mean(axis=0)) @ u
    scaled = reference + (0.7 - 1) * np.outer(along, u)
    np.testing.assert_allclose(gains(scaled, directions)["gain"], [1, 0.49, 1, 1, 1], rtol=1e-12)


def test_bands_are_cut_by_explained_variance_and_divide_summed_variances() -> None:
    """Shares of .5, .3, .1, .06, .04 and 0 are a head of 1, a middle of 2 and a tail of 3."""
    rng = np.random.default_rng(1)
    real = uncorrelated(rng, [5.0, 3.0, 1.0, 0.6, 0.4, 0.0], 40)
    directions = directions_of(real, real)
    assert (directions.num_head, directions.num_middle) == (1, 2)
    samples = uncorrelated(rng, [4.0, 1.0, 1.0, 0.5, 1.0, 0.5], 90)
    found = gains(samples, directions)
    assert [found[f"gain_{band}"] for band in BANDS] == pytest.approx([4 / 5, 2 / 4, 2 / 1])
    np.testing.assert_allclose(found["gain"], [4 / 5, 1 / 3, 1, 5 / 6, 5 / 2])
    np.testing.assert_allclose(found["variance_share"], [0.5, 0.3, 0.1, 0.06, 0.04])
    np.testing.assert_allclose(found["gain_train"], np.ones(5))


def test_directions_stop_before_the_first_one_without_real_variance() -> None:
    """A direction in which the reference does not vary, though the training images do."""
    rng = np.random.default_rng(2)
    train = uncorrelated(rng, [4.0, 3.0, 2.0, 1.0], 30)
    reference = uncorrelated(rng, [4.0, 3.0, 0.0, 1.0], 30)
    found = gains(train, directions_of(train, reference))
    np.testing.assert_allclose(found["gain"], [1.0, 1.0])


def test_a_model_that_draws_one_image_has_a_gain_of_0() -> None:
    """Without an error of its own, and without divisions by zero."""
    real = np.random.default_rng(8).standard_normal((30, 4))
    found = gains(np.ones((20, 4)), directions_of(real, real))
    np.testing.assert_array_equal(found["gain"], np.zeros(4))
    np.testing.assert_array_equal(found["gain_se"], np.zeros(4))
    assert found["gain_head"] == found["gain_head_se"] == 0


def test_images_without_any_variance_have_no_gain() -> None:
    same = np.ones((5, 4))
    assert gains(same, directions_of(same, same)) == {}


def test_more_dimensions_than_images_have_the_directions_of_the_covariance() -> None:
    """The matrix of inner products gives the eigenvectors of the larger covariance."""
    train = np.random.default_rng(3).standard_normal((12, 30)) * np.geomspace(3, 0.1, 30)
    directions = directions_of(train, train)
    values, vectors = np.linalg.eigh(np.cov(train.T))
    count = directions.basis.shape[1]
    assert count == 11  # as many as 12 images can have
    np.testing.assert_allclose(directions.variances, values[::-1][:count])
    cosines = np.abs(np.sum(directions.basis * vectors[:, ::-1][:, :count], axis=0))
    np.testing.assert_allclose(cosines, np.ones(count))
    assert directions.total == pytest.approx(np.trace(np.cov(train.T)))


def test_fresh_real_images_have_a_gain_of_1_and_the_printed_errors() -> None:
    """For M Gaussian reference images the expected gain is (M - 1) / (M - 3), as of an F variable.

    The directions come from other images. Over 400 draws, the mean gain of each of 6 directions is
    within 4 of its errors, and the errors are those over draws within 12% (a deviation of 400
    numbers has an error of 4%, and a delta method of M = 150 is about 3% off).
    """
    rng = np.random.default_rng(4)
    spread, M, draws = np.sqrt([8.0, 5.0, 3.0, 2.0, 1.5, 1.0]), 150, 400
    found = []
    for _ in range(draws):
        train, reference, fresh = (rng.standard_normal((n, 6)) * spread for n in (90, M, 200))
        found.append(gains(fresh, directions_of(train, reference)))
    gain = np.array([each["gain"] for each in found])
    excess = gain.mean(axis=0) - (M - 1) / (M - 3)
    assert np.abs(excess / (gain.std(axis=0) / np.sqrt(draws))).max() < 4
    printed = np.sqrt(np.mean([each["gain_se"] ** 2 for each in found], axis=0))
    np.testing.assert_allclose(gain.std(axis=0) / printed, np.ones(6), atol=0.12)
    for band in BANDS:
        values = np.array([[each[f"gain_{band}"], each[f"gain_{band}_se"]] for each in found])
        assert values[:, 0].std() / np.sqrt(np.mean(values[:, 1] ** 2)) == pytest.approx(
            1, abs=0.12
        )
        assert values[:, 0].mean() == pytest.approx(1, abs=0.025)


def test_training_images_have_more_variance_along_their_own_head() -> None:
    """By 1 + (2 / K) sum_j l_j / (l_1 - l_j) in the first direction: here 1 + 2 / 200 * 7 / 3.

    `of_train` over the true variance along the direction, with l = (4, 1, ..., 1) in 8 dimensions.
    The mean of 2,000 draws has an error of .0023; terms of K^-2 are below .002.
    """
    rng = np.random.default_rng(5)
    spread, ratios = np.sqrt([4.0, *[1.0] * 7]), []
    for _ in range(2000):
        train = rng.standard_normal((200, 8)) * spread
        directions = directions_of(train, train[:2])
        true = np.sum((directions.basis[:, 0] * spread) ** 2)
        ratios.append(directions.variances[0] / true)
    assert np.mean(ratios) == pytest.approx(1 + 2 / 200 * 7 / 3, abs=0.009)


def test_classes_that_are_requested_do_not_add_to_the_error() -> None:
    """Two classes at +-10 along an axis, with a deviation of .1 and fixed numbers of images.

    The squares 100 +- 20 z have a deviation of 2 within classes, 2% of the variance of 100, and so
    each set of 200 images a relative error of .02 / sqrt(200).
    """
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1], 100)
    pixels = rng.standard_normal((200, 3)) * 0.1
    pixels[:, 0] += 20 * labels
    directions = directions_of(pixels, pixels)
    comparison = Comparison(
        generated=pixels,
        real=RealFeatures(reference=pixels, reference_labels=labels),
        generated_labels=labels,
        pixels=pixels,
        directions=directions,
    )
    with_classes = compute_gain(comparison, CONFIG)["gain_head_se"]
    assert with_classes < 0.01
    assert with_classes == pytest.approx(np.sqrt(2) * 0.02 / np.sqrt(200), rel=0.15)


def test_gain_is_of_pixels_whatever_the_extractor() -> None:
    """Its names have no extractor, and 8-bit images and floats have the same gains."""
    rng = np.random.default_rng(7)
    train, reference, images = rng.integers(0, 256, (3, 40, 1, 8, 8), dtype=np.uint8)
    real = RealImages(reference=reference, train=train)
    found = evaluate_images(images, real, CONFIG)
    other = MetricsConfig(names=("gain",), extractor="random-conv")
    assert evaluate_images(images, real, other).values == found.values
    assert {"gain_head", "gain_head_se", "gain_train_tail"} <= found.values.keys()
    assert found.num_train == 40
    assert len(found.directions["gain"]) == len(found.directions["gain_se"]) == 39
    floats = RealImages(
        reference=reference.astype(np.float32) / 255, train=train.astype(np.float32) / 255
    )
    scaled = evaluate_images(images.astype(np.float32) / 255, floats, CONFIG)
    np.testing.assert_allclose(scaled.directions["gain"], found.directions["gain"], rtol=1e-5)


def test_a_third_of_real_digits_has_a_gain_of_1_against_another_third() -> None:
    """With directions from the last third: errors of 51 directions that are about standard normal.

    Along their own directions, the training images have too little variance in the tail.
    """
    images = load_dataset(DataConfig(name="digits")).images
    order = np.random.default_rng(0).permutation(len(images))
    train, reference, fresh = (
        images[rows].reshape(len(rows), -1) for rows in np.array_split(order, 3)
    )
    found = gains(fresh, directions_of(train, reference))
    z = (found["gain"] - 1) / found["gain_se"]
    assert len(z) == 51
    assert abs(z.mean()) < 0.4
    assert z.std() == pytest.approx(1, abs=0.3)
    assert max(abs(found[f"gain_{b}"] - 1) / found[f"gain_{b}_se"] for b in BANDS) < 2
    assert found["gain_train_tail"] < 1 - 2 * found["gain_tail_se"]
