"""Distances between two sets of features, through statistics of each.

Features are (N, D) of any float type, and are summed in float64. Must not know images, extractors,
settings or names of metrics; trusts its input to be finite and of at least two rows.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class GaussianStatistics:
    """Mean and covariance of features, the covariance as a factor with as few rows as will do."""

    mean: np.ndarray
    """(D,) float64."""
    factor: np.ndarray
    """(R, D) float64 with factor.T @ factor the unbiased covariance and R = min(N, D)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelStatistics:
    """What the kernel's values within one set of N images amount to."""

    mean: float
    """Mean over pairs of different images."""
    row_sums: np.ndarray
    """(N,) sum over the other images."""
    interaction: float | None
    """Variance of the doubly centred kernel, unbiased; None below four images."""


def polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(a.b / D + 1)^3 of all pairs of (N, D) and (M, D) float64 rows, as (N, M)."""
    k = x @ y.T
    k /= x.shape[1]
    k += 1
    return k * k * k


def kernel_statistics(features: np.ndarray) -> KernelStatistics:
    """Statistics of the kernel within one set of (N, D) float64 features."""
    k = polynomial_kernel(features, features)
    np.fill_diagonal(k, 0)
    N = len(k)
    row_sums = k.sum(axis=1)
    total = row_sums.sum()
    interaction = None
    if N >= 4:
        # U-centring (Szekely and Rizzo, arXiv:1310.2926, definition 2 and proposition 1).
        k -= row_sums[:, None] / (N - 2)
        k -= row_sums / (N - 2)
        k += total / ((N - 1) * (N - 2))
        np.fill_diagonal(k, 0)
        interaction = float(np.vdot(k, k) / (N * (N - 3)))
    return KernelStatistics(
        mean=float(total / (N * (N - 1))), row_sums=row_sums, interaction=interaction
    )


def estimate_mmd2(generated: np.ndarray, reference: np.ndarray) -> tuple[float, float | None]:
    """Unbiased squared maximum mean discrepancy and the variance of that estimate.

    The estimate is the U-statistic of Gretton et al. (JMLR 13, 2012, equation 3). Its Hoeffding
    decomposition has the variance
        4 a_x / m + 4 a_y / n + 2 t_xx / (m (m - 1)) + 2 t_yy / (n (n - 1)) + 4 t_xy / (m n)
    with a_x the variance over x of E k(x, X) - E k(x, Y), and t the variances of the doubly
    centred kernels; each is replaced by its unbiased estimate, as Sutherland et al.
    (arXiv:1611.04488) do for m = n. Unlike a jackknife, which counts the t twice, this holds where
    both sets have one distribution as well; there the floor of the first-order part at zero makes
    the standard error up to 15% or so too large.

    Args:
        generated: (m, D) features.
        reference: (n, D) features.

    Returns:
        The estimate, and its variance (None where a set has fewer than four images).
    """
    x, y = generated.astype(np.float64), reference.astype(np.float64)
    m, n = len(x), len(y)
    xx, yy, k = kernel_statistics(x), kernel_statistics(y), polynomial_kernel(x, y)
    to_y, to_x, mean_xy = k.mean(axis=1), k.mean(axis=0), k.mean()
    estimate = float(xx.mean + yy.mean - 2 * mean_xy)
    if xx.interaction is None or yy.interaction is None:
        return estimate, None
    k -= to_y[:, None]
    k -= to_x
    k += mean_xy
    t_xx, t_yy, t_xy = xx.interaction, yy.interaction, np.vdot(k, k) / ((m - 1) * (n - 1))
    a_x = np.var(xx.row_sums / (m - 2) - to_y, ddof=1) - t_xx / (m - 2) - t_xy / n
    a_y = np.var(yy.row_sums / (n - 2) - to_x, ddof=1) - t_yy / (n - 2) - t_xy / m
    first = max(a_x / m + a_y / n, 0.0) * 4
    second = 2 * t_xx / (m * (m - 1)) + 2 * t_yy / (n * (n - 1)) + 4 * t_xy / (m * n)
    return estimate, float(max(first + second, 0.0))


def gaussian_statistics(features: np.ndarray) -> GaussianStatistics:
    """Mean and unbiased covariance of (N, D) features, in float64."""
    x = features.astype(np.float64)
    N, D = x.shape
    mean = x.mean(axis=0)
    factor = (x - mean) / np.sqrt(N - 1)
    if N > D:
        factor = np.asarray(np.linalg.qr(factor, mode="r"))
    return GaussianStatistics(mean=mean, factor=factor)


def frechet_distance(x: GaussianStatistics, y: GaussianStatistics) -> float:
    """|mean_x - mean_y|^2 + trace(C_x + C_y - 2 (C_x C_y)^(1/2)).

    With C = A.T A the eigenvalues of C_x C_y are the squared singular values of A_x A_y.T, a matrix
    no larger than the sets of images: exact for singular covariances, and no matrix square root.
    """
    shift = x.mean - y.mean
    spread = np.vdot(x.factor, x.factor) + np.vdot(y.factor, y.factor)
    overlap = np.linalg.svd(x.factor @ y.factor.T, compute_uv=False).sum()
    return float(shift @ shift + spread - 2 * overlap)
