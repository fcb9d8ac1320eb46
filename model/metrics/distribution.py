"""KID, FID and Vendi score: metrics of a whole set of images that are not averages over images.

With metrics.error_subsets, FID and Vendi score have a standard error from halves of the images; the
standard error of KID is analytic.
"""

from collections.abc import Callable, Sequence

import numpy as np

from model.config import MetricsConfig
from model.errors import UsageError
from model.metrics.bootstrap import with_error
from model.metrics.comparison import Comparison, Numbers
from model.metrics.distances import (
    estimate_mmd2,
    estimate_paired_mmd2,
    frechet_distance,
    gaussian_statistics,
)
from model.metrics.standard_errors import smooth_error, values_of_halves

KID_SUBSET_PURPOSE = 0x6B6964
"""Seed of the KID subsets (`kid` in ASCII), fixed so that every evaluation draws the same ones."""


def compute_kid(comparison: Comparison, config: MetricsConfig) -> Numbers:
    """Kernel Inception distance (Binkowski et al., arXiv:1801.01401), not multiplied by 1000.

    Returns:
        kid and kid_se. Without metrics.kid_subset_size, kid is the estimate on all images, and
        kid_se its standard error over draws of both sets of images (omitted for fewer than four
        images). With it, kid is the mean over random subsets, and kid_se the standard error of
        that mean over draws of subsets only, which does not account for sampling of the images.

    Raises:
        UsageError: The subsets are larger than a set of images.
    """
    generated, reference = comparison.generated, comparison.real.reference
    if config.kid_subset_size is not None:
        return compute_subset_kid(
            generated, reference, size=config.kid_subset_size, num_subsets=config.kid_num_subsets
        )
    estimate, variance = estimate_paired_mmd2(comparison.pairs, comparison.real.kernel_statistics)
    values: Numbers = {"kid": estimate}
    if variance is not None:
        values["kid_se"] = float(np.sqrt(variance))
    return values


def compute_subset_kid(
    generated: np.ndarray, reference: np.ndarray, *, size: int, num_subsets: int
) -> Numbers:
    """Mean KID over `num_subsets` fixed random subsets of `size` images of each set."""
    smaller = min(len(generated), len(reference))
    if size > smaller:
        raise UsageError(
            f"metrics.kid_subset_size must be at most the number of images ({smaller}), "
            f"got {size}; set it to None for one estimate on all images"
        )
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(KID_SUBSET_PURPOSE)))
    estimates = []
    for _ in range(num_subsets):
        x = generated[rng.choice(len(generated), size, replace=False)]
        y = reference[rng.choice(len(reference), size, replace=False)]
        estimates.append(estimate_mmd2(x, y)[0])
    deviation = np.std(estimates, ddof=1)
    return {"kid": float(np.mean(estimates)), "kid_se": float(deviation / np.sqrt(num_subsets))}


def compute_fid(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """Frechet distance of Gaussians fitted to the features (Heusel et al., arXiv:1706.08500).

    Returns:
        fid and, with metrics.error_subsets, fid_se over draws of both sets. With metrics.bootstrap,
        fid_se is the deviation over resamples of both sets.
    """

    def distance(x: np.ndarray, y: np.ndarray) -> float:
        of_y = real.gaussian_statistics if y is real.reference else gaussian_statistics(y)
        return frechet_distance(gaussian_statistics(x), of_y)

    real = comparison.real
    samples = comparison.generated, real.reference
    return of_moments("fid", distance, samples, comparison.strata, config)


def compute_vendi(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """Effective number of distinct generated images (see vendi_score), without a reference.

    Returns:
        vendi and, with metrics.error_subsets or bootstrap, vendi_se. vendi grows with the number
        of images, so compare only equal numbers of images.
    """
    strata = comparison.strata[:1]
    return of_moments("vendi", vendi_score, (comparison.generated,), strata, config)


def of_moments(
    name: str,
    statistic: Callable[..., float],
    samples: Sequence[np.ndarray],
    strata: Sequence[np.ndarray],
    config: MetricsConfig,
) -> dict[str, float]:
    """A statistic of samples, and its standard error if the settings ask for one."""
    values = with_error(name, statistic, *samples, num_resamples=config.bootstrap)
    if config.error_subsets and min(map(len, samples)) >= 4:
        halves = values_of_halves(statistic, samples, strata, config.error_subsets)
        values[f"{name}_se"] = smooth_error(halves)
    return values


def vendi_score(features: np.ndarray) -> float:
    """Effective number of distinct images (Friedman and Dieng, arXiv:2210.02410, equation 2).

    The exponential of the entropy of the eigenvalues of K / N, where K holds the cosine
    similarities of all pairs: 1 for N images of one direction, N for N orthogonal ones. The order
    is q = 1. K and the matrix of second moments have the same nonzero eigenvalues; those of the
    smaller matrix are computed.

    Args:
        features: (N, D) of any float type. Rows of zeros have no direction: they count as equal to
            each other and orthogonal to all other rows.
    """
    x = features.astype(np.float64)
    # Scale by the largest number first, so that no square overflows or underflows.
    largest = np.abs(x).max(axis=1, keepdims=True)
    zero = largest == 0
    x /= np.where(zero, 1, largest)
    x /= np.where(zero, 1, np.linalg.norm(x, axis=1, keepdims=True))
    x = np.concatenate([x, zero], axis=1)
    kernel = x @ x.T if len(x) <= x.shape[1] else x.T @ x
    shares = np.linalg.eigvalsh(kernel / len(x))
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
