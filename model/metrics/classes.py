"""Metrics of classes: which classes are generated, which are lost, and how good each one is.

The classes of generated images are those requested from a conditional model, or else predicted by a
probe; then probe_accuracy, the probe's accuracy on the reference, is reported too. Every array is
(C,), in the order of the comparison's class_names, and nan for a class without a number.
"""

import numpy as np

from model.config import MetricsConfig
from model.features.neighbours import find_neighbours, squared_radii
from model.features.probe import accuracy, check_labels, class_accuracy, fit_probe
from model.features.products import centre_features, pair_features
from model.metrics.bootstrap import average, share, with_error
from model.metrics.comparison import Comparison, Numbers
from model.metrics.distances import estimate_mmd2
from model.metrics.standard_errors import average_error, difference_error, subsets, values_of_halves


def compute_classes(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """The distribution of the generated images over classes, as predicted by the probe.

    Total variation is half the sum of absolute differences of two histograms: the share of images
    that would have to change their class.

    Returns:
        probe_accuracy: Accuracy on the reference of the probe, which is fitted to the training
            images.
        class_tv: Total variation between the probe's histogram of the generated images and the
            shares of the reference's labels. It is above 0 even for a finite sample from the right
            distribution.
        class_tv_held_out: The same for the probe's histogram of the reference, which is due to
            errors of the probe only.
        class_tv_se: With metrics.error_subsets or bootstrap, the standard error over draws of the
            generated images; the reference (and so the prior) and the probe are held fixed.
        class_entropy: Entropy of the generated histogram, in nats.
        lost_classes: Number of classes that the probe predicts for no generated image.
        class_share: (C,) histogram of the generated images.
        probe_recall: (C,) accuracy of the probe on the reference images of each class.
    """
    _, reference_labels = _check(comparison)
    real = comparison.real
    C, on_reference = len(real.class_names), real.probed_reference
    predicted = real.probe.predict(comparison.generated)
    shares, held_out, prior = (_shares(x, C) for x in (predicted, on_reference, reference_labels))
    seen = shares[shares > 0]

    def variation(drawn: np.ndarray) -> float:
        return _total_variation(_shares(drawn, C), prior)

    numbers: Numbers = {
        "probe_accuracy": accuracy(on_reference, reference_labels),
        **with_error("class_tv", variation, np.sort(predicted), num_resamples=config.bootstrap),
        "class_tv_held_out": _total_variation(held_out, prior),
        "class_entropy": float(seen @ np.log(1 / seen)),
        "lost_classes": float(np.sum(shares == 0)),
        "class_share": shares,
        "probe_recall": class_accuracy(on_reference, reference_labels, num_classes=C),
    }
    if config.error_subsets and comparison.generated_labels is None:
        strata = comparison.strata[:1]
        halves = values_of_halves(variation, (predicted,), strata, config.error_subsets)
        numbers["class_tv_se"] = difference_error(halves)
    return numbers


def compute_class_kid(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """KID of the generated images of each class against the reference images of that class.

    The generated images of a class are those for which it was requested (generated_labels), or else
    predicted by the probe. Each number is the unbiased estimate on all images of the class (see
    compute_kid), nan if either side has fewer than two. A lost class has no number, so
    worst_class_kid can be low because the worst class is lost: read it together with
    num_classes_measured. The largest of several noisy estimates is biased upwards.

    Returns:
        class_kid (C,), worst_class_kid and mean_class_kid over the classes that have a number (nan
        if none has), num_classes_measured, and probe_accuracy if the probe is used.
    """
    C = len(comparison.real.class_names)
    labels, reference_labels, numbers = _classify(comparison)
    by_class = np.full(C, np.nan)
    for c in range(C):
        x, y = comparison.generated[labels == c], comparison.real.reference[reference_labels == c]
        if min(len(x), len(y)) >= 2:
            by_class[c] = estimate_mmd2(x, y)[0]
    measured = by_class[~np.isnan(by_class)]
    return numbers | {
        "class_kid": by_class,
        "worst_class_kid": float(measured.max()) if len(measured) else np.nan,
        "mean_class_kid": float(measured.mean()) if len(measured) else np.nan,
        "num_classes_measured": float(len(measured)),
    }


def compute_class_recall(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """Recall (Kynkaanniemi et al., arXiv:1904.06991) within each class.

    The share of a class's reference images that lie in the k-nearest-neighbour balls of its
    generated images: those for which it was requested (generated_labels), or else predicted by the
    probe. It is 0 if there are at most metrics.nearest_k of them, because the balls are then
    undefined: a class that is lost, or nearly lost, is not recalled. Balls grow if there are fewer
    images, so compare only results of equal numbers of images.

    Returns:
        class_recall (C,), nan if the reference has no image of a class; worst_class_recall, the
        lowest of these; and probe_accuracy if the probe is used.
    """
    C, nearest_k = len(comparison.real.class_names), config.nearest_k
    labels, reference_labels, numbers = _classify(comparison)
    by_class = np.full(C, np.nan)
    for c in np.unique(reference_labels):
        x, y = comparison.generated[labels == c], comparison.real.reference[reference_labels == c]
        by_class[c] = _recall(x, y, nearest_k) if len(x) > nearest_k else 0.0
    return numbers | {
        "class_recall": by_class,
        "worst_class_recall": float(np.nanmin(by_class)),
    }


def compute_conditional_accuracy(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """How often the probe predicts the requested class for a generated image.

    Returns:
        conditional_accuracy; with metrics.error_subsets or bootstrap, conditional_accuracy_se over
        draws of the generated images (the probe is held fixed); class_accuracy (C,), nan for a
        class that was not requested; and probe_accuracy, the same for real images.
    """
    generated_labels, reference_labels = _check(comparison)
    assert generated_labels is not None
    real, C = comparison.real, len(comparison.real.class_names)
    predicted = real.probe.predict(comparison.generated)
    right = np.sort(predicted == generated_labels)  # so that the order of images has no effect
    return {
        "probe_accuracy": accuracy(real.probed_reference, reference_labels),
        "class_accuracy": class_accuracy(predicted, generated_labels, num_classes=C),
        **share("conditional_accuracy", right, config),
    }


def compute_cas(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """Classification accuracy score (Ravuri and Vinyals, arXiv:1905.10887) of a linear probe.

    The accuracy on held-out real images of a classifier trained on generated images and their
    requested classes. Ravuri and Vinyals train a ResNet-50 on pixels; this is a linear probe on
    features, so the numbers do not compare with published ones. A class that was never requested
    cannot be predicted, so the accuracy on it is 0.

    Returns:
        cas; with metrics.error_subsets, cas_se over draws of both sets of images; with
        metrics.bootstrap, cas_se over draws of the reference images only; class_cas (C,), nan if
        the reference has no image of a class; and, if another metric measures the real training
        images, cas_real: the score of a probe trained on all of them, which is the ceiling.
    """
    generated_labels, reference_labels = _check(comparison)
    assert generated_labels is not None
    real, C = comparison.real, len(comparison.real.class_names)
    predicted = _predict_from(comparison.generated, generated_labels, real.reference)
    right = np.sort(predicted == reference_labels)  # so that the order of images has no effect
    numbers: Numbers = {
        **average("cas", right, num_resamples=config.bootstrap),
        "class_cas": class_accuracy(predicted, reference_labels, num_classes=C),
    }
    if config.error_subsets:
        strata, reference_strata = comparison.strata
        of_subsets = [
            _predict_from(comparison.generated[rows], generated_labels[rows], real.reference)
            == reference_labels
            for rows in subsets(strata, config.error_subsets)
        ]
        numbers["cas_se"] = average_error(
            predicted == reference_labels, reference_strata, np.array(of_subsets)
        )
    if real.train is not None and real.train_labels is not None:
        numbers["cas_real"] = accuracy(real.probed_reference, reference_labels)
    return numbers


def _predict_from(generated: np.ndarray, labels: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(M,) classes of (M, D) images, by a probe trained on (N, D) generated images and classes."""
    requested, numbers = np.unique(labels, return_inverse=True)
    # A single requested class is all that the probe could predict.
    if len(requested) == 1:
        return np.full(len(images), requested[0])
    probe = fit_probe(generated, numbers, num_classes=len(requested))
    return requested[probe.predict(images)]


def _check(comparison: Comparison) -> tuple[np.ndarray | None, np.ndarray]:
    """Requested and reference labels; raises UsageError if they do not match the images."""
    C = len(comparison.real.class_names)
    requested, real = comparison.generated_labels, comparison.real.reference_labels
    assert real is not None
    if requested is not None:
        N = len(comparison.generated)
        check_labels("generated_labels", requested, num_images=N, num_classes=C)
    M = len(comparison.real.reference)
    check_labels("reference_labels", real, num_images=M, num_classes=C)
    return requested, real


def _classify(comparison: Comparison) -> tuple[np.ndarray, np.ndarray, Numbers]:
    """Classes of generated and reference images, and the accuracy of the probe if it is used."""
    requested, real = _check(comparison)
    if requested is not None:
        return requested, real, {}
    known = accuracy(comparison.real.probed_reference, real)
    return comparison.real.probe.predict(comparison.generated), real, {"probe_accuracy": known}


def _recall(generated: np.ndarray, reference: np.ndarray, nearest_k: int) -> float:
    """Share of (M, D) reference images in the neighbourhoods of more than k (N, D) generated ones.

    The reference's neighbourhoods are not used, so it may have fewer than k images.
    """
    pairs = pair_features(generated, centre_features(reference))
    radii = squared_radii(pairs.within_generated, nearest_k)
    nothing = np.zeros(len(reference))
    return float(find_neighbours(pairs, radii, reference_radii=nothing).recalled.mean())


def _shares(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(C,) share of each class among (N,) labels."""
    return np.bincount(labels, minlength=num_classes) / len(labels)


def _total_variation(shares: np.ndarray, prior: np.ndarray) -> float:
    """Total variation between two (C,) histograms."""
    return float(np.abs(shares - prior).sum() / 2)
