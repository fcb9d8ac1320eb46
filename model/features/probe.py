"""A classifier on features, which says what class an image looks like.

Holds the fit, the predictions and their accuracies. Must not know comparisons, settings or
extractors: whoever uses a probe states its accuracy on held-out images beside its numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.errors import UsageError

CONSTANT = 1e-12
"""Deviation, as a share of the mean, of a feature that is taken for constant."""
NO_VARIANCE = 1e-20
"""Variance within classes, as a share of that of all images, that is taken for rounding error."""
WAY_OUT = "leave metrics of classes out of metrics.names"
"""What a metric's user can do where no probe can be fitted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A linear discriminant of standardised features."""

    mean: np.ndarray
    """(D,) float64 mean of the features it was fitted to."""
    scale: np.ndarray
    """(D,) float64 deviation of these features; 1 where a feature is constant."""
    weights: np.ndarray
    """(D, C) float64."""
    offsets: np.ndarray
    """(C,) float64."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(N,) int64 most probable classes of (N, D) features; the first where several are."""
        return self._scores(features).argmax(axis=1).astype(np.int64)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, C) float64 posterior probabilities of the classes of (N, D) features."""
        scores = self._scores(features)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def log_odds(self, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """(N,) logarithms of p / (1 - p), with p the probability of one class of each image.

        They rank images whose probabilities all round to 1.

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
        """(N, C) logarithms of the posterior probabilities but for a constant of each row."""
        standard = (features.astype(np.float64) - self.mean) / self.scale
        return standard @ self.weights + self.offsets


def fit_probe(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    class_names: Sequence[str] = (),
    way_out: str = WAY_OUT,
) -> Probe:
    """Fit a linear discriminant analysis with a shrunk covariance, in closed form.

    Deterministic, without a setting to tune: the classes have their own means and shares (the
    prior), and one covariance, that of all images about their class' mean, shrunk as Ledoit and
    Wolf (2004) do. (scikit-learn's LinearDiscriminantAnalysis shrinks each class' own covariance
    before it pools them: a class of ten images then says little, and a fit takes ten times as
    long.) Where no class varies (every class is one image, copied) every feature has a tiny
    variance instead: the nearest mean decides.

    Args:
        features: (N, D).
        labels: (N,) integer classes from 0.
        num_classes: C.
        class_names: What an error calls the classes; their numbers where empty.
        way_out: What an error advises.

    Raises:
        UsageError: For labels that do not fit the features, fewer than two classes, a class
            without an image, and no more images than classes.
    """
    from scipy.linalg import solve
    from sklearn.covariance import ledoit_wolf

    _check_fit(features, labels, num_classes, class_names, way_out)
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


def _check_fit(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    class_names: Sequence[str],
    way_out: str,
) -> None:
    """Raise UsageError, naming classes where it can, unless a probe can be fitted."""
    check_labels("labels", labels, num_images=len(features), num_classes=num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    check_counts(
        counts,
        num_images=len(features),
        num_classes=num_classes,
        names=class_names,
        way_out=way_out,
    )


def check_counts(
    counts: Sequence[int] | np.ndarray,
    *,
    num_images: int,
    num_classes: int,
    names: Sequence[str] = (),
    way_out: str = WAY_OUT,
) -> None:
    """Raise UsageError unless a probe can be fitted to so many images.

    Args:
        counts: (C,) images of each class; empty where they are not known.
        num_images: Images of all classes.
        num_classes: C.
        names: What an error calls the classes; their numbers where empty.
        way_out: What an error advises.
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
            f"{name} must be in [0, {num_classes}), the classes there are, got {labels[outside][0]}"
        )


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of (N,) predicted classes that are the (N,) labels."""
    return float(np.mean(predicted == labels))


def class_accuracy(predicted: np.ndarray, labels: np.ndarray, *, num_classes: int) -> np.ndarray:
    """(C,) share of the images of each class that are predicted as it, nan where it has none."""
    images = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    return np.divide(right, images, out=np.full(num_classes, np.nan), where=images > 0)
