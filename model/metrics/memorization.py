"""Whether generated images are copies of training images, compared with held-out real images.

Distances are Euclidean, in feature space, to the nearest training images.
"""

import numpy as np

from model.config import MetricsConfig
from model.features.neighbours import nearest_two
from model.metrics.bootstrap import share
from model.metrics.comparison import Comparison
from model.metrics.standard_errors import average_error, subsets

CLOSEST_SHARE = 0.01
"""Quantile of the reference's distances below which an image is a near copy."""
DISTANCE_RATIO = 1 / 3


def compute_memorization(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """How near generated images lie to training images.

    d1 is the distance to the nearest training image, and d2 the distance to the second nearest
    distinct one (duplicates in the training set count once).

    Returns:
        memorized: Share of generated images with d1 < d2 / 3 (Yoon et al., "Diffusion probabilistic
            models generalize when they fail to memorize", 2023).
        memorized_held_out: The same share of the reference, which is the overlap within the data.
        near_copies: Share of generated images with d1 below the 1% quantile of the reference's M
            values, at rank (M + 1) / 100 with interpolation between ranks. Fresh images of the
            data's distribution give 0.01. For M below 99 the quantile is the smallest value, and
            fresh images give 1 / (M + 1). If 1% of the reference are copies themselves, nothing can
            be closer, and near_copies is 0.
        exact_copies: Share of generated images that equal a training image in every pixel; omitted
            if the comparison does not know.
        copying_z: Global data-copying test of Meehan et al. (arXiv:2004.05675, section 3.1): the
            Mann-Whitney U of generated against reference d1 as a z-score, with average ranks and
            corrected variance for ties. Below about -3 the generated images are nearer than fresh
            ones, because they are copies or because they vary less; nearest_z in
            model/metrics/copying.py tells the two apart.
        train_distance: Mean d1 of generated images divided by that of the reference; nan if all
            reference images are copies.

        With metrics.error_subsets or bootstrap the shares have `_se` over their images, with the
        training images held fixed. For near_copies, metrics.error_subsets draws the reference too,
        and metrics.bootstrap holds the quantile fixed. memorized and memorized_held_out are nan if
        all training images are equal.
    """
    assert comparison.real.train is not None
    num_seen = comparison.num_seen
    generated = nearest_two(comparison.generated, comparison.real.train[:num_seen])
    reference = comparison.real.train_distances(num_seen)
    nearest, nearest_held_out = generated[:, 0], reference[:, 0]
    shares = {
        "memorized": is_memorized(generated),
        "memorized_held_out": is_memorized(reference),
        "near_copies": is_near_copy(nearest, nearest_held_out),
    }
    if comparison.exact_copies is not None:
        shares["exact_copies"] = comparison.exact_copies
    values: dict[str, float] = {}
    for name, per_image in shares.items():
        values |= share(name, per_image, config)
    if config.error_subsets:
        strata, reference_strata = comparison.strata
        of_subsets = [
            is_near_copy(nearest, nearest_held_out[rows])
            for rows in subsets(reference_strata, config.error_subsets)
        ]
        values["near_copies_se"] = average_error(
            shares["near_copies"], strata, np.array(of_subsets)
        )
    usual = nearest_held_out.mean()
    return values | {
        "copying_z": rank_z(nearest, nearest_held_out),
        "train_distance": float(nearest.mean() / usual) if usual > 0 else float("nan"),
    }


def compute_nearest(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """The smallest distance of a generated image to a training image.

    A sweep keeps the images themselves too: the 8 samples nearest to a training image, 8 others,
    and the 3 training images nearest to each.

    Returns:
        closest_distance: 0 if a training image was reproduced exactly.
    """
    return {"closest_distance": float(comparison.closest.distances[0, 0])}


def is_memorized(distances: np.ndarray) -> np.ndarray:
    """(N,) bool from (N, 2) nearest and second nearest distances; nan if there is no second."""
    nearest, second = distances.T
    if np.isnan(second).any():
        return np.full(len(second), np.nan)
    return nearest < DISTANCE_RATIO * second


def is_near_copy(nearest: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """(N,) bool, whether distances are below the closest 1% of (M,) held-out images' distances."""
    return nearest < np.quantile(held_out, CLOSEST_SHARE, method="weibull")


def rank_z(sample: np.ndarray, other: np.ndarray) -> float:
    """Mann-Whitney U of (N,) against (M,) numbers as a z-score, negative if `sample` is smaller.

    There is no continuity correction. The score is 0 if all numbers are equal.
    """
    from scipy.stats import rankdata

    n, m = len(sample), len(other)
    both = np.concatenate([sample, other])
    excess = rankdata(both)[:n].sum() - n * (n + m + 1) / 2
    ties = np.unique(both, return_counts=True)[1].astype(np.float64)
    total = n + m
    variance = n * m / 12 * (total + 1 - (ties**3 - ties).sum() / (total * (total - 1)))
    return float(excess / np.sqrt(variance)) if variance > 0 else 0.0
