"""A linear probe: a classifier on features that predicts the class of an image.

Callers report the probe's accuracy on held-out images together with the numbers they derive from
its predictions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from model.errors import UsageError, later_version

CONSTANT = 1e-12
"""A feature is constant if its standard deviation is below this share of its mean."""
NO_VARIANCE = 1e-20
"""Variance within classes, as a share of the total variance, that counts as rounding error."""
WAY_OUT = "leave metrics of classes out of metrics.names"
"""What a user of a metric can do if no probe can be fitted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A linear discriminant on standardised features."""

    version: ClassVar[int] = 1
    """Part of the keys of what a probe selects or measures, if above 1. Raise it whenever the same
    features and classes give another probe."""
    mean: np.ndarray
    """(D,) float64 mean of the features it was fitted to."""
    scale: np.ndarray
    """(D,) float64 standard deviation of these features; 1 for constant features."""
    weights: np.ndarray
    """(D, C) float64."""
    offsets: np.ndarray
    """(C,) float64."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(N,) int64 most probable class of each row of (N, D) features; ties go to the first."""
        return self._scores(features).argmax(axis=1).astype(np.int64)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, C) float64 posterior probabilities of the classes of (N, D) features."""
        scores = self._scores(features)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def log_odds(self, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """(N,) log(p / (1 - p)), with p the probability of the given class of each image.

        Unlike p itself, they also rank images whose probabilities all round to 1.

        Args:
            features: (N, D).
            classes: (N,) int64.
        """
        scores = self._scores(features)
        row = np.arange(len(scores))
        own = scores[row, classes]
        scores[row, classes] = -np.inf
        largest = scores.max(axis=1)
        return own - largest - np.log(np.exp(scores - largest[:, None]).sum(axis=1))

    def _scores(self, features: np.ndarray) -> np.ndarray:
        """(N, C) log posterior probabilities, up to an additive constant per row."""
        standard = (features.astype(np.float64) - self.mean) / self.scale
        return standard @ self.weights + self.offsets


def probe_version() -> dict[str, int | str]:
    """The version of the probe, for keys; empty at the first."""
    return later_version("probe", "linear", Probe, key="probe")


def fit_probe(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    class_names: Sequence[str] = (),
    way_out: str = WAY_OUT,
) -> Probe:
    """Fit a linear discriminant analysis with a shrunk covariance, in closed form.

    The fit is deterministic and has no hyperparameters. Each class has its mean and its share of
    the images (the prior); all classes share one covariance, that of the images about the mean of
    their class, shrunk as Ledoit and Wolf (2004) do. scikit-learn's LinearDiscriminantAnalysis
    instead shrinks the covariance of each class before pooling them, so that a class of ten images
    contributes little, and takes ten times as long. If no class varies (each class is copies of one
    image), every feature gets a tiny variance instead, and the nearest mean decides.

    Args:
        features: (N, D).
        labels: (N,) integer classes from 0.
        num_classes: C.
        class_names: Names of the classes in errors; if empty, errors use their numbers.
        way_out: Advice in errors.

    Raises:
        UsageError: The labels do not match the features, there are fewer than two classes, a class
            has no image, or there are no more images than classes.
    """
    from scipy.linalg import solve
    from sklearn.covariance import ledoit_wolf

    num_images = len(features)
    check_labels("labels", labels, num_images=num_images, num_classes=num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    check_counts(
        counts, num_images=num_images, num_classes=num_classes, names=class_names, way_out=way_out
    )
    x = features.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    varies = scale > CONSTANT * np.abs(mean)
    scale[~varies] = 1
    x = ((x - mean) / scale)[:, varies]
    member = np.eye(num_classes)[labels]
    means = member.T @ x / member.sum(axis=0)[:, None]
    weights = np.zeros((len(mean), num_classes))
    if varies.any():
        covariance, _ = ledoit_wolf(x - means[labels], assume_centered=True)
        if covariance.trace() <= NO_VARIANCE * len(covariance):
            covariance = NO_VARIANCE * np.eye(len(covariance))
        weights[varies] = solve(covariance, means.T, assume_a="pos")
    offsets = np.log(member.mean(axis=0)) - (means.T * weights[varies]).sum(axis=0) / 2
    return Probe(mean=mean, scale=scale, weights=weights, offsets=offsets)


def check_counts(
    counts: Sequence[int] | np.ndarray,
    *,
    num_images: int,
    num_classes: int,
    names: Sequence[str] = (),
    way_out: str = WAY_OUT,
) -> None:
    """Raise UsageError unless a probe can be fitted to these numbers of images.

    Args:
        counts: (C,) images of each class; empty if they are not known.
        num_images: Images of all classes.
        num_classes: C.
        names: Names of the classes in errors; if empty, errors use their numbers.
        way_out: Advice in errors.
    """
    if num_classes < 2:
        raise UsageError(f"a probe's classes must be at least 2, got {num_classes}; {way_out}")
    absent = [names[c] if names else str(c) for c, count in enumerate(counts) if count == 0]
    if absent:
        raise UsageError(
            f"a probe's images must include every class, got none of {', '.join(absent)}; "
            f"give more images, or {way_out}"
        )
    if num_images <= num_classes:
        raise UsageError(
            f"a probe's images must be more than its {num_classes} classes, got {num_images}; "
            f"give more images, or {way_out}"
        )


def check_labels(name: str, labels: np.ndarray, *, num_images: int, num_classes: int) -> None:
    """Raise UsageError unless `labels` are (num_images,) integers in [0, num_classes)."""
    if labels.shape != (num_images,):
        raise UsageError(f"{name} must be one per image, ({num_images},), got {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(f"{name} must be integers, got {labels.dtype}")
    outside = (labels < 0) | (labels >= num_classes)
    if outside.any():
        raise UsageError(
            f"{name} must be in [0, {num_classes}), the number of classes, got {labels[outside][0]}"
        )


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of (N,) predicted classes that equal the (N,) labels."""
    return float(np.mean(predicted == labels))


def class_accuracy(predicted: np.ndarray, labels: np.ndarray, *, num_classes: int) -> np.ndarray:
    """(C,) share of correct predictions among the images of each class; nan for an empty class."""
    images = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    return np.divide(right, images, out=np.full(num_classes, np.nan), where=images > 0)
