"""Facts of the probe, against closed forms and scikit-learn."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from model.config import DataConfig, MetricsConfig
from model.data.datasets import load_dataset
from model.features.extractors import extract_features
from model.features.probe import accuracy, class_accuracy, fit_probe


def draw_classes(
    counts: list[int], *, distance: float = 20, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Unit normal clouds around the corners of a simplex: (N, C) float64 features, (N,) labels."""
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).normal(size=(len(labels), len(counts)))
    return noise + distance * np.eye(len(counts))[labels], labels


# Predictions


def test_separate_classes_are_told_apart():
    """Twenty deviations apart, every fresh image is predicted as its class."""
    probe = fit_probe(*draw_classes([20, 30, 40]), num_classes=3)
    features, labels = draw_classes([50, 50, 50], seed=1)
    np.testing.assert_array_equal(probe.predict(features), labels)


def test_predictions_are_int64():
    features, labels = draw_classes([5, 5])
    predicted = fit_probe(features, labels, num_classes=2).predict(features[:3])
    assert (predicted.shape, predicted.dtype) == ((3,), np.int64)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_probabilities_are_bayes_rule_with_one_shrunk_covariance(num_classes):
    """Of normal densities about the classes' means, times the classes' shares."""
    features, labels = draw_classes([15, 25, 20, 30][:num_classes], distance=1.5)
    standard = StandardScaler().fit_transform(features)
    means = np.stack([standard[labels == c].mean(axis=0) for c in range(num_classes)])
    covariance = LedoitWolf(assume_centered=True).fit(standard - means[labels]).covariance_
    odds = np.stack(
        [multivariate_normal(mean, covariance).pdf(standard) for mean in means], axis=1
    ) * np.bincount(labels)
    probe = fit_probe(features, labels, num_classes=num_classes)
    np.testing.assert_allclose(
        probe.probabilities(features), odds / odds.sum(axis=1, keepdims=True), rtol=1e-9
    )


def test_the_most_probable_class_is_predicted():
    features, labels = draw_classes([15, 25, 20], distance=1)
    probe = fit_probe(features, labels, num_classes=3)
    np.testing.assert_array_equal(
        probe.probabilities(features).argmax(axis=1), probe.predict(features)
    )


def test_images_between_two_classes_are_split_by_the_prior():
    """At the middle of two means with one covariance the odds are the classes' shares, 3 to 1."""
    cloud = np.random.default_rng(0).normal(size=(40, 3))
    cloud = (cloud - cloud.mean(axis=0)) / cloud.std(axis=0)
    features = np.concatenate([np.tile(cloud, (3, 1)), cloud + 1])
    probe = fit_probe(features, np.repeat([0, 1], [120, 40]), num_classes=2)
    np.testing.assert_allclose(probe.probabilities(np.full((1, 3), 0.5)), [[0.75, 0.25]], rtol=1e-9)


def test_probabilities_far_away_are_zero_and_one():
    """No overflow: scores are shifted before they are exponentiated."""
    features, labels = draw_classes([5, 5])
    far = np.array([[1e9, 0], [0, 1e9]])
    probabilities = fit_probe(features, labels, num_classes=2).probabilities(far)
    np.testing.assert_array_equal(probabilities, np.eye(2))


def test_a_probe_does_not_depend_on_the_scale_of_its_features():
    """Standardised: a feature in thousandths beside one in thousands counts as much."""
    features, labels = draw_classes([15, 25, 20], distance=2)
    scale, shift = np.array([1e-3, 1, 1e3]), np.array([5, -7, 100])
    first = fit_probe(features, labels, num_classes=3)
    second = fit_probe(features * scale + shift, labels, num_classes=3)
    np.testing.assert_allclose(
        second.probabilities(features * scale + shift), first.probabilities(features), rtol=1e-7
    )


def test_constant_features_count_for_nothing():
    """Whatever value a new image has there; float32 0.1 has a mean with rounding errors."""
    features, labels = draw_classes([15, 25, 20], distance=2)
    constant = np.full((60, 2), 0.1, dtype=np.float32)
    plain = fit_probe(features, labels, num_classes=3)
    probe = fit_probe(np.concatenate([features, constant], axis=1), labels, num_classes=3)
    moved = probe.predict(np.concatenate([features, constant + 3], axis=1))
    np.testing.assert_array_equal(moved, plain.predict(features))


def test_a_probe_of_constant_features_says_the_prior():
    """There is nothing else to know: shares 1/4 and 3/4."""
    probe = fit_probe(np.ones((8, 3)), np.repeat([0, 1], [2, 6]), num_classes=2)
    np.testing.assert_allclose(probe.probabilities(np.ones((1, 3))), [[0.25, 0.75]], rtol=1e-12)


def test_classes_of_copies_of_one_image_are_told_apart():
    """Without any variance within classes, the nearest mean decides."""
    points = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    labels = np.repeat(np.arange(4), [3, 3, 3, 30])
    probe = fit_probe(points[labels], labels, num_classes=4)
    np.testing.assert_array_equal(probe.predict(points), np.arange(4))


def test_a_class_of_one_image_is_fitted():
    """No warning, and the image's neighbourhood is its class'."""
    features, labels = draw_classes([10, 1, 10])
    probe = fit_probe(features, labels, num_classes=3)
    np.testing.assert_array_equal(probe.predict(20 * np.eye(3)), np.arange(3))


def test_float32_features_are_computed_in_float64():
    features, labels = draw_classes([15, 25, 20], distance=2)
    single = features.astype(np.float32)
    double = single.astype(np.float64)
    np.testing.assert_array_equal(
        fit_probe(single, labels, num_classes=3).probabilities(single),
        fit_probe(double, labels, num_classes=3).probabilities(double),
    )


def test_a_fit_is_the_same_bits_every_time():
    features, labels = draw_classes([15, 25, 20], distance=1)
    first, second = (fit_probe(features, labels, num_classes=3) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    np.testing.assert_array_equal(first.offsets, second.offsets)


def test_a_fit_does_not_depend_on_the_order_of_the_images():
    """But for the rounding of sums."""
    features, labels = draw_classes([15, 25, 20], distance=1)
    order = np.random.default_rng(0).permutation(60)
    first = fit_probe(features, labels, num_classes=3)
    second = fit_probe(features[order], labels[order], num_classes=3)
    np.testing.assert_allclose(
        second.probabilities(features), first.probabilities(features), rtol=1e-9
    )


def test_renaming_classes_renames_the_predictions():
    features, labels = draw_classes([15, 25, 20], distance=1)
    renamed = np.array([2, 0, 1])
    first = fit_probe(features, labels, num_classes=3).predict(features)
    second = fit_probe(features, renamed[labels], num_classes=3).predict(features)
    np.testing.assert_array_equal(second, renamed[first])


def test_the_input_is_left_alone():
    features, labels = draw_classes([15, 25])
    before = features.copy()
    fit_probe(features, labels, num_classes=2).predict(features)
    np.testing.assert_array_equal(features, before)


# Errors


def test_absent_classes_are_named():
    features, labels = draw_classes([5, 5])
    with pytest.raises(ValueError, match=r"must include every class, got none of tulip, rose;"):
        fit_probe(
            features,
            np.where(labels == 0, 0, 2),
            num_classes=4,
            class_names=("daisy", "tulip", "iris", "rose"),
        )


def test_absent_classes_without_names_are_numbered():
    features, labels = draw_classes([5, 5])
    with pytest.raises(ValueError, match="got none of 2; give more images"):
        fit_probe(features, labels, num_classes=3)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="classes must be at least 2, got 1; leave"):
        fit_probe(np.ones((4, 2)), np.zeros(4, dtype=np.int64), num_classes=1)


def test_one_image_of_each_class_is_refused():
    with pytest.raises(ValueError, match="must be more than its 3 classes, got 3"):
        fit_probe(np.eye(3), np.arange(3), num_classes=3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 1]), r"labels must be one per image, \(4,\), got \(3,\)"),
        (np.array([0, 1, 1, 2]), r"labels must be in \[0, 2\), .* got 2"),
        (np.array([0, 1, 1, -1]), r"labels must be in \[0, 2\), .* got -1"),
        (np.array([0.0, 1, 1, 0]), "labels must be integers, got float64"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        fit_probe(np.random.default_rng(0).normal(size=(4, 2)), labels, num_classes=2)


# Accuracies


def test_accuracy_is_the_share_of_right_predictions():
    assert accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == 0.75


def test_accuracy_by_class_counts_the_images_of_a_class():
    """One of two, both of two, and nan for a class without an image."""
    predicted, labels = np.array([0, 2, 1, 1]), np.array([0, 0, 1, 1])
    np.testing.assert_array_equal(
        class_accuracy(predicted, labels, num_classes=3), [0.5, 1, np.nan]
    )


# Many dimensions


def test_shuffled_labels_are_not_recognised():
    """Nor does it matter that 300 features separate 200 images in any way: chance, 1 in 4.

    Within 4 binomial errors of 1000 fresh images.
    """
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), 50))
    probe = fit_probe(rng.normal(size=(200, 300)), labels, num_classes=4)
    fresh = accuracy(probe.predict(rng.normal(size=(1000, 300))), np.repeat(np.arange(4), 250))
    assert abs(fresh - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 1000)


def test_digits_are_recognised():
    """Of features of efficientnet-lite0 200 digits teach most, where chance is one of ten.

    At resolution 64, 1438 of them have an accuracy of 0.95 on the reference's 359.
    """
    dataset = load_dataset(DataConfig(name="digits"))
    assert dataset.labels is not None
    chosen = dataset.train[:300]
    features = extract_features(dataset.images[chosen], MetricsConfig(resolution=32), device="cpu")
    probe = fit_probe(features[:200], dataset.labels[chosen[:200]], num_classes=10)
    held_out = accuracy(probe.predict(features[200:]), dataset.labels[chosen[200:]])
    assert 0.5 < held_out < 1
