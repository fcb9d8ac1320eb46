"""Whether generated images are copies of training images, beside what held-out images show.

Distances are Euclidean, in feature space, to the nearest training images. Must not know images or
extractors.
"""

import numpy as np

from model.config import MetricsConfig
from model.features.neighbours import nearest_two
from model.metrics.bootstrap import average
from model.metrics.comparison import Comparison

CLOSEST_SHARE = 0.01
"""Share of the reference that sets the distance of a near copy."""
DISTANCE_RATIO = 1 / 3


def compute_memorization(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """How near generated images lie to training images.

    With d1 the distance to the nearest training image and d2 that to the nearest one which differs
    from it (an image that is twice in the training set counts once):

    Returns:
        memorized: Share of generated images with d1 < d2 / 3 (Yoon et al., "Diffusion probabilistic
            models generalize when they fail to memorize", 2023).
        memorized_held_out: The same share of the reference: the overlap that the data have.
        near_copies: Share of generated images with d1 below the closest hundredth of the
            reference, which is the quantile at rank (M + 1) / 100 of its M values, between ranks by
            interpolation: fresh images of the data's own distribution give 0.01. Below 99 reference
            images it is the smallest value, and fresh images give 1 / (M + 1). Where a hundredth of
            the reference are copies themselves, nothing can be closer, and it is 0.
        exact_copies: Share of generated images that equal a training image in every pixel; only
            where the comparison knows.
        copying_z: Global data-copying test of Meehan et al. (arXiv:2004.05675, section 3.1): the
            Mann-Whitney U of generated against reference d1 as a z-score, average ranks and
            corrected variance for ties; below -3 or so the generated images are too near.
        train_distance: Mean d1 of generated images divided by that of the reference; nan where
            all of the reference are copies.

        With metrics.bootstrap the shares have `_se` over their images; the quantile is held fixed.
        memorized and memorized_held_out are nan where all training images are equal.
    """
    assert comparison.real.train is not None
    num_resamples = config.bootstrap
    num_seen = comparison.num_seen
    generated = nearest_two(comparison.generated, comparison.real.train[:num_seen])
    reference = comparison.real.train_distances(num_seen)
    nearest, nearest_held_out = generated[:, 0], reference[:, 0]
    closest = np.quantile(nearest_held_out, CLOSEST_SHARE, method="weibull")
    shares = {
        "memorized": is_memorized(generated),
        "memorized_held_out": is_memorized(reference),
        "near_copies": nearest < closest,
    }
    if comparison.exact_copies is not None:
        shares["exact_copies"] = comparison.exact_copies
    values: dict[str, float] = {}
    for name, per_image in shares.items():
        values |= average(name, per_image, num_resamples=num_resamples)
    usual = nearest_held_out.mean()
    return values | {
        "copying_z": rank_z(nearest, nearest_held_out),
        "train_distance": float(nearest.mean() / usual) if usual > 0 else float("nan"),
    }


def is_memorized(distances: np.ndarray) -> np.ndarray:
    """(N,) bool of (N, 2) nearest and second nearest distances; nan where there is no second."""
    nearest, second = distances.T
    return np.where(np.isnan(second), np.nan, nearest < DISTANCE_RATIO * second)


def rank_z(sample: np.ndarray, other: np.ndarray) -> float:
    """Mann-Whitney U of (N,) against (M,) numbers as a z-score, negative where `sample` is smaller.

    Without continuity correction; 0 where all numbers are equal.
    """
    from scipy.stats import rankdata

    n, m = len(sample), len(other)
    both = np.concatenate([sample, other])
    excess = rankdata(both)[:n].sum() - n * (n + m + 1) / 2
    ties = np.unique(both, return_counts=True)[1].astype(np.float64)
    total = n + m
    variance = n * m / 12 * (total + 1 - (ties**3 - ties).sum() / (total * (total - 1)))
    return float(excess / np.sqrt(variance)) if variance > 0 else 0.0
