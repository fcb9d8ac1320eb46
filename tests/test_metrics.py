"""Facts of the metrics, against brute force, closed forms, simulation and clean-fid."""

import inspect

import numpy as np
import pytest
import scipy.linalg

from model.config import MetricsConfig
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.distances import estimate_mmd2
from model.metrics.distribution import compute_fid, compute_kid
from model.metrics.table import (
    METRICS,
    RealImages,
    evaluate_images,
    measure,
    validate_metrics,
)

CONFIG = MetricsConfig(extractor="pixels")


def draw_features(num_images: int, *, dimensions: int = 8, shift: float = 0, seed: int = 0):
    """(N, D) float64 normal features whose deviations differ by dimension."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_images, dimensions)) * np.linspace(0.5, 2, dimensions) + shift


def draw_images(num_images: int, *, size: int = 2, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num_images, 1, size, size), dtype=np.uint8)


def read_global_state() -> list[int]:
    return np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # is tested


def pair(x: np.ndarray, y: np.ndarray) -> Comparison:
    return Comparison(generated=x, real=RealFeatures(reference=y))


def kid(x: np.ndarray, y: np.ndarray) -> float:
    return float(compute_kid(pair(x, y), CONFIG)["kid"])


def fid(x: np.ndarray, y: np.ndarray) -> float:
    return float(compute_fid(pair(x, y), CONFIG)["fid"])


def evaluate(generated: np.ndarray, reference: np.ndarray, config: MetricsConfig = CONFIG):
    return evaluate_images(generated, RealImages(reference=reference), config)


# KID


def test_kid_is_its_definition():
    """Off-diagonal means within each set and the full mean across them, pair by pair."""
    x, y = draw_features(5), draw_features(7, shift=1, seed=1)

    def kernel(a, b):
        return (sum(a * b) / len(a) + 1) ** 3

    within_x = np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within_y = np.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    across = np.mean([kernel(a, b) for a in x for b in y])
    np.testing.assert_allclose(kid(x, y), within_x + within_y - 2 * across, rtol=1e-12)


def test_kid_is_clean_fids():
    """One subset of all the images there is the estimate on all of them."""
    cleanfid = pytest.importorskip("cleanfid.fid")
    x, y = draw_features(60), draw_features(60, shift=0.3, seed=1)
    expected = cleanfid.kernel_distance(x, y, num_subsets=1, max_subset_size=60)
    np.testing.assert_allclose(kid(x, y), expected, rtol=1e-10)


def test_kid_is_zero_on_average_for_one_distribution():
    """Unbiased: the mean of 300 estimates lies within 3 standard errors of zero."""
    estimates = [
        kid(draw_features(12, seed=2 * i), draw_features(9, seed=2 * i + 1)) for i in range(300)
    ]
    assert abs(np.mean(estimates)) < 3 * np.std(estimates, ddof=1) / np.sqrt(300)


@pytest.mark.parametrize(
    ("num_generated", "num_reference", "shift"),
    [(40, 40, 0), (40, 80, 0), (80, 40, 0.1), (40, 80, 0.3), (60, 60, 1)],
)
def test_the_standard_error_of_kid_is_honest(num_generated, num_reference, shift):
    """Root mean variance within 20% of the deviation of 600 estimates (itself known to 5% or so).

    At the null (shift 0) it is some 15% too large, see estimate_mmd2; a jackknife is by 40%.
    """
    rng = np.random.default_rng(0)
    pairs = [
        (rng.normal(size=(num_generated, 16)) + shift, rng.normal(size=(num_reference, 16)))
        for _ in range(600)
    ]
    estimates, variances = np.array([estimate_mmd2(x, y) for x, y in pairs]).T
    np.testing.assert_allclose(np.sqrt(variances.mean()), estimates.std(ddof=1), rtol=0.2)


def test_float32_features_are_summed_in_float64():
    x, y = draw_features(50).astype(np.float32), draw_features(50, seed=1).astype(np.float32)
    assert kid(x, y) == kid(x.astype(np.float64), y.astype(np.float64))


def test_kid_without_subsets_leaves_out_a_standard_error_it_cannot_know():
    assert set(compute_kid(pair(draw_features(3), draw_features(9)), CONFIG)) == {"kid"}


def test_subsets_of_all_images_have_the_estimate_on_all_images():
    x, y = draw_features(20), draw_features(20, shift=1, seed=1)
    config = MetricsConfig(kid_subset_size=20, kid_num_subsets=3)
    values = compute_kid(pair(x, y), config)
    np.testing.assert_allclose(values["kid"], kid(x, y), rtol=1e-12)
    assert values["kid_se"] < 1e-12


def test_many_subsets_average_to_the_estimate_on_all_images():
    """A U-statistic is the mean of its subsets' estimates: within 3 of its standard errors."""
    x, y = draw_features(60), draw_features(50, shift=0.3, seed=1)
    values = compute_kid(pair(x, y), MetricsConfig(kid_subset_size=16, kid_num_subsets=400))
    assert abs(float(values["kid"]) - kid(x, y)) < 3 * values["kid_se"]


def test_subsets_are_the_same_every_time():
    x, y = draw_features(30), draw_features(30, seed=1)
    config = MetricsConfig(kid_subset_size=8, kid_num_subsets=5)
    assert compute_kid(pair(x, y), config) == compute_kid(pair(x, y), config)


def test_subsets_leave_the_global_random_state_alone():
    config = MetricsConfig(kid_subset_size=8, kid_num_subsets=5)
    before = read_global_state()
    compute_kid(pair(draw_features(30), draw_features(30, seed=1)), config)
    assert before == read_global_state()


def test_a_subset_larger_than_the_images_is_refused():
    with pytest.raises(ValueError, match=r"kid_subset_size must be at most .* \(9\), got 10; set"):
        compute_kid(pair(draw_features(9), draw_features(20)), MetricsConfig(kid_subset_size=10))


# FID


def sqrtm_distance(x: np.ndarray, y: np.ndarray) -> float:
    """The textbook formula, with scipy's matrix square root."""
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(cov_x @ cov_y).real
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(cov_x + cov_y - 2 * root))


@pytest.mark.parametrize("num_images", [30, 200])
def test_fid_is_the_matrix_square_roots(num_images):
    x = draw_features(num_images, dimensions=12)
    y = draw_features(num_images + 20, dimensions=12, shift=0.5, seed=1)
    np.testing.assert_allclose(fid(x, y), sqrtm_distance(x, y), rtol=1e-9)


# clean-fid 0.1.35 passes sqrtm the `disp` that SciPy 1.17 warns of and 1.18 removes.
@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
@pytest.mark.skipif(
    "disp" not in inspect.signature(scipy.linalg.sqrtm).parameters,
    reason="clean-fid 0.1.35 needs SciPy < 1.18",
)
def test_fid_is_clean_fids():
    cleanfid = pytest.importorskip("cleanfid.fid")
    x, y = draw_features(90), draw_features(70, shift=0.5, seed=1)
    expected = cleanfid.frechet_distance(
        x.mean(axis=0), np.cov(x, rowvar=False), y.mean(axis=0), np.cov(y, rowvar=False)
    )
    np.testing.assert_allclose(fid(x, y), expected, rtol=1e-6)


@pytest.mark.parametrize(("num_generated", "num_reference"), [(7, 9), (7, 90), (90, 7)])
def test_fid_is_exact_with_fewer_images_than_dimensions(num_generated, num_reference):
    """The D x D form: the trace of the root is the sum of square roots of C_x C_y's eigenvalues."""
    x = draw_features(num_generated, dimensions=30)
    y = draw_features(num_reference, dimensions=30, shift=0.5, seed=1)
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root_y = np.linalg.eigh(cov_y)
    half = root_y.eigenvectors * np.sqrt(np.maximum(root_y.eigenvalues, 0))
    eigenvalues = np.linalg.eigvalsh(half.T @ cov_x @ half)
    eigenvalues = np.sort(eigenvalues)[-min(num_generated - 1, num_reference - 1) :]
    shift = x.mean(axis=0) - y.mean(axis=0)
    expected = shift @ shift + np.trace(cov_x + cov_y) - 2 * np.sqrt(eigenvalues).sum()
    np.testing.assert_allclose(fid(x, y), expected, rtol=1e-6)


@pytest.mark.parametrize("num_images", [5, 50])
def test_fid_of_a_shifted_copy_is_the_squared_shift(num_images):
    """Equal covariances cancel: |(3, 0, ..., 4)|^2 = 25."""
    x = draw_features(num_images)
    shift = np.array([3, 0, 0, 0, 0, 0, 0, 4])
    np.testing.assert_allclose(fid(x + shift, x), 25, rtol=1e-12)


def test_fid_of_a_scaled_copy_is_the_spread_of_the_difference():
    """C_x = 4 C_y: trace(4 C + C - 2 * 2 C) = trace C."""
    x = draw_features(40)
    x -= x.mean(axis=0)
    np.testing.assert_allclose(fid(2 * x, x), np.trace(np.cov(x, rowvar=False)), rtol=1e-12)


@pytest.mark.parametrize("num_images", [5, 50])
def test_fid_of_identical_sets_is_zero_to_rounding(num_images):
    x = draw_features(num_images)
    assert abs(fid(x, x)) < 1e-12


def test_fid_is_symmetric():
    x, y = draw_features(9), draw_features(50, seed=1)
    np.testing.assert_allclose(fid(x, y), fid(y, x), rtol=1e-12)


# what every metric refuses


def complete(generated: np.ndarray, reference: np.ndarray) -> Comparison:
    """A comparison with all that any metric needs, of two classes."""
    real = RealFeatures(
        reference=reference,
        train=draw_features(12, seed=5),
        reference_labels=np.arange(len(reference)) % 2,
        train_labels=np.arange(12) % 2,
        class_names=("even", "odd"),
    )
    asked = np.arange(len(generated)) % 2
    return Comparison(generated=generated, real=real, generated_labels=asked)


def settings(name: str) -> MetricsConfig:
    return MetricsConfig(names=(name,), extractor="pixels")


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(name, bad):
    x = draw_features(5)
    x[2, 3] = bad
    with pytest.raises(
        ValueError, match="generated features must be finite, got 1 nan or inf of 40"
    ):
        measure(complete(x, draw_features(5)), settings(name))


@pytest.mark.parametrize("name", METRICS)
def test_a_single_image_is_refused(name):
    with pytest.raises(ValueError, match=r"reference features .* N at least 2, got \(1, 8\)"):
        measure(complete(draw_features(5), draw_features(1)), settings(name))


@pytest.mark.parametrize("name", METRICS)
def test_features_of_two_extractors_are_refused(name):
    with pytest.raises(ValueError, match="must have the reference's 9 dimensions, got 8"):
        measure(complete(draw_features(5), draw_features(5, dimensions=9)), settings(name))


# evaluation


def test_an_evaluation_names_the_extractor_in_every_feature_metric():
    evaluation = evaluate(draw_images(9), draw_images(8, seed=1))
    names = {"kid/pixels", "kid_se/pixels", "fid/pixels", "pixel_mean", "pixel_std"}
    assert set(evaluation.values) == names
    assert (evaluation.num_images, evaluation.num_reference) == (9, 8)


def test_an_evaluation_with_the_network_has_its_label():
    config = MetricsConfig(names=("kid",), resolution=32)
    evaluation = evaluate(draw_images(5), draw_images(5, seed=1), config)
    names = {"kid/efficientnet-lite0-32", "kid_se/efficientnet-lite0-32"}
    assert set(evaluation.values) == names | {"pixel_mean", "pixel_std"}


def test_an_evaluation_is_made_of_plain_floats():
    values = evaluate(draw_images(9), draw_images(8, seed=1)).values
    assert {type(value) for value in values.values()} == {float}


def test_fid_with_no_more_images_than_dimensions_warns():
    (warning,) = evaluate(draw_images(9), draw_images(4, seed=1)).warnings
    assert warning.startswith("fid/pixels should have more images than its 4 feature dimensions")


def test_fid_with_more_images_than_dimensions_does_not_warn():
    assert evaluate(draw_images(9), draw_images(5, seed=1)).warnings == []


def test_kid_alone_does_not_warn_of_few_images():
    config = MetricsConfig(names=("kid",), extractor="pixels")
    assert evaluate(draw_images(4), draw_images(4, seed=1), config).warnings == []


def test_a_missing_standard_error_is_a_warning():
    config = MetricsConfig(names=("kid",), extractor="pixels")
    evaluation = evaluate(draw_images(3), draw_images(9, seed=1), config)
    assert evaluation.warnings == ["kid_se/pixels needs at least 4 images, got 3: left out"]


def test_one_generated_image_is_refused():
    with pytest.raises(ValueError, match="generated images must be at least 2, got 1"):
        evaluate(draw_images(1), draw_images(8))


def test_images_unlike_the_reference_are_refused():
    with pytest.raises(ValueError, match=r"must be uint8 of shape \(1, 3, 3\) .*, got uint8 of"):
        evaluate(draw_images(4), draw_images(4, size=3))


def test_a_diverged_float_image_is_refused():
    images = draw_images(4).astype(np.float32)
    diverged = images.copy()
    diverged[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="generated features must be finite"):
        evaluate(diverged, images)


def test_a_number_that_overflows_is_left_out_with_a_warning():
    """Pixels of 1e30: the kernel is 1e180, and its square beyond float64."""
    reference = draw_images(5).astype(np.float32)
    config = MetricsConfig(names=("kid",), extractor="pixels")
    evaluation = evaluate(reference * np.float32(1e28), reference, config)
    assert set(evaluation.values) == {"kid/pixels", "pixel_mean", "pixel_std"}
    assert evaluation.warnings == ["kid_se/pixels must be finite, got nan: left out"]


# settings


def test_an_unknown_metric_is_refused_with_a_suggestion():
    with pytest.raises(
        ValueError, match=r"must be one of kid, fid, .*, got 'kidd'; did you mean 'kid'"
    ):
        validate_metrics(MetricsConfig(names=("fid", "kidd")))


def test_an_unknown_extractor_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match=r"^metrics.extractor must be .* 'efficientnet-lite0'\?$"):
        validate_metrics(MetricsConfig(extractor="efficientnet"))


def test_the_default_settings_are_valid():
    validate_metrics(MetricsConfig())
