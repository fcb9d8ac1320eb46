"""Metrics of classes: which are made, which are lost, and how well each is made.

Classes of generated images are those asked of a conditional model, or a probe's predictions: then
the probe's accuracy on the reference, probe_accuracy, stands beside the numbers. Every array is
(C,), in the order of the comparison's class_names, nan where a class has no number. Must not know
images or extractors.
"""

import numpy as np

from model.config import MetricsConfig
from model.features.neighbours import find_neighbours, squared_radii
from model.features.probe import accuracy, check_labels, class_accuracy, fit_probe
from model.features.products import centre_features, pair_features
from model.metrics.bootstrap import average, bootstrap
from model.metrics.comparison import Comparison, Numbers
from model.metrics.distances import estimate_mmd2


def compute_classes(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """Which classes the generated images show, as the probe sees them.

    Total variation is half the sum of absolute differences of two histograms: the share of images
    that would have to be of another class.

    Returns:
        probe_accuracy: Of the probe, fitted to the training images, on the reference.
        class_tv: Total variation between the probe's histogram of the generated images and the
            shares of the reference's labels. It is above 0 for a finite sample of the right shares.
        class_tv_held_out: The same of the probe's histogram of the reference: what the probe's
            errors alone cause.
        class_tv_se: With metrics.bootstrap, over draws of the generated images; the reference, and
            with it the prior, and the probe are held fixed.
        class_entropy: Of the generated histogram, in nats.
        lost_classes: Number of classes of which the probe sees no generated image.
        class_share: (C,) the generated histogram.
        probe_recall: (C,) the probe's accuracy on the reference images of each class.
    """
    _, reference_labels = _check(comparison)
    real = comparison.real
    C, on_reference = len(real.class_names), real.probed_reference
    predicted = real.probe.predict(comparison.generated)
    share, held_out, prior = (_shares(x, C) for x in (predicted, on_reference, reference_labels))
    seen = share[share > 0]
    numbers: Numbers = {
        "probe_accuracy": accuracy(on_reference, reference_labels),
        "class_tv": _total_variation(share, prior),
        "class_tv_held_out": _total_variation(held_out, prior),
        "class_entropy": float(seen @ np.log(1 / seen)),
        "lost_classes": float(np.sum(share == 0)),
        "class_share": share,
        "probe_recall": class_accuracy(on_reference, reference_labels, num_classes=C),
    }
    if config.bootstrap > 0:
        numbers["class_tv_se"] = bootstrap(
            lambda drawn: _total_variation(_shares(drawn, C), prior),
            np.sort(predicted),
            num_resamples=config.bootstrap,
        )
    return numbers


def compute_class_kid(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """KID of the generated images of each class against the reference images of it.

    The generated images of a class are those that were asked to be of it (generated_labels), else
    those that the probe says are. Each number is the unbiased estimate on all images of the class
    (see kid), nan where either side has fewer than two. A class that is lost has no number, so that
    worst_class_kid can be low because the worst class is gone: read it beside num_classes_measured.
    The largest of several noisy estimates is biased upwards.

    Returns:
        class_kid (C,), worst_class_kid and mean_class_kid over the classes that have a number (nan
        where none has), num_classes_measured, and probe_accuracy where the probe is used.
    """
    del config
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

    The share of a class' reference images that lie in the k-nearest-neighbour balls of its
    generated images: those that were asked to be of it (generated_labels), else those that the
    probe says are. 0 where there are at most metrics.nearest_k of these, as there are no such balls
    then: a class that is lost, or nearly so, is not recalled. Balls grow where there are fewer
    images, so compare numbers of one number of images only.

    Returns:
        class_recall (C,), nan where the reference has no image of a class; worst_class_recall, the
        least of these; and probe_accuracy where the probe is used.
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
    """How often the generated images are, as the probe sees them, of the class asked for.

    Returns:
        conditional_accuracy; conditional_accuracy_se with metrics.bootstrap, over draws of the
        generated images (0 where all or none are right); class_accuracy (C,), nan where a class was
        not asked for; and probe_accuracy, which real images reach.
    """
    generated_labels, reference_labels = _check(comparison)
    assert generated_labels is not None
    real, C = comparison.real, len(comparison.real.class_names)
    predicted = real.probe.predict(comparison.generated)
    numbers: Numbers = {
        "probe_accuracy": accuracy(real.probed_reference, reference_labels),
        "class_accuracy": class_accuracy(predicted, generated_labels, num_classes=C),
    }
    right = predicted == generated_labels
    return numbers | _average("conditional_accuracy", right, config.bootstrap)


def compute_cas(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """Classification accuracy score (Ravuri and Vinyals, arXiv:1905.10887), of a linear probe.

    The accuracy on real held-out images of a classifier trained on generated images and the classes
    asked for. Theirs is a ResNet-50 trained on pixels; ours is the linear probe on features, so
    that the numbers compare among each other only. A class never asked for cannot be predicted: the
    accuracy on it is 0.

    Returns:
        cas; cas_se with metrics.bootstrap, over draws of the reference images (the probe, and with
        it the generated images, is held fixed); class_cas (C,), nan where the reference has no
        image of a class; and cas_real, the same of a probe trained on the real training images
        (however many there are), the ceiling, where another metric has these measured.
    """
    generated_labels, reference_labels = _check(comparison)
    assert generated_labels is not None
    real, C = comparison.real, len(comparison.real.class_names)
    asked, labels = np.unique(generated_labels, return_inverse=True)
    predicted = np.full(len(reference_labels), asked[0])  # all that images of one class can teach
    if len(asked) > 1:
        probe = fit_probe(comparison.generated, labels, num_classes=len(asked))
        predicted = asked[probe.predict(real.reference)]
    numbers = _average("cas", predicted == reference_labels, config.bootstrap)
    numbers["class_cas"] = class_accuracy(predicted, reference_labels, num_classes=C)
    if real.train is not None and real.train_labels is not None:
        numbers["cas_real"] = accuracy(real.probed_reference, reference_labels)
    return numbers


def _check(comparison: Comparison) -> tuple[np.ndarray | None, np.ndarray]:
    """Labels asked for, and the reference's; ValueError for labels that do not fit the images."""
    C = len(comparison.real.class_names)
    asked, real = comparison.generated_labels, comparison.real.reference_labels
    assert real is not None
    if asked is not None:
        N = len(comparison.generated)
        check_labels("generated_labels", asked, num_images=N, num_classes=C)
    M = len(comparison.real.reference)
    check_labels("reference_labels", real, num_images=M, num_classes=C)
    return asked, real


def _classify(comparison: Comparison) -> tuple[np.ndarray, np.ndarray, Numbers]:
    """Classes of generated and reference images, and the probe's accuracy where it says them."""
    asked, real = _check(comparison)
    if asked is not None:
        return asked, real, {}
    known = accuracy(comparison.real.probed_reference, real)
    return comparison.real.probe.predict(comparison.generated), real, {"probe_accuracy": known}


def _recall(generated: np.ndarray, reference: np.ndarray, nearest_k: int) -> float:
    """Share of (M, D) reference images in the neighbourhoods of more than k (N, D) generated ones.

    The reference's own neighbourhoods do not matter, and it may have fewer than k images.
    """
    pairs = pair_features(generated, centre_features(reference))
    radii = squared_radii(pairs.within_generated, nearest_k)
    nothing = np.zeros(len(reference))
    return float(find_neighbours(pairs, radii, reference_radii=nothing).recalled.mean())


def _shares(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(C,) shares of the classes among (N,) labels."""
    return np.bincount(labels, minlength=num_classes) / len(labels)


def _total_variation(shares: np.ndarray, prior: np.ndarray) -> float:
    """Total variation between two (C,) histograms."""
    return float(np.abs(shares - prior).sum() / 2)


def _average(name: str, right: np.ndarray, num_resamples: int) -> Numbers:
    """The mean of (N,) bool by its name, and its error; sorted, so that no order matters."""
    return {**average(name, np.sort(right), num_resamples=num_resamples)}
