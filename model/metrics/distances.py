"""Distances between two sets of features, computed from statistics of each set.

Features are (N, D) of any float type, summed in float64. They are assumed to be finite and to have
at least two rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model.features.products import (
    Centred,
    Pairs,
    Products,
    centre_features,
    pair_features,
    split_rows,
)

FAST_FID_ERROR = 1e-8
"""Largest error of the fast Frechet distance, as a share of the covariances' traces."""
CACHED_ELEMENTS = 2**16
"""The kernel is computed in pieces of this many numbers (512 KiB), which stay in a CPU's cache."""


@dataclass(frozen=True, kw_only=True)
class GaussianStatistics:
    """Mean and factored covariance of features."""

    mean: np.ndarray
    """(D,) float64."""
    factor: np.ndarray
    """(N, D) float64; factor.T @ factor is the unbiased covariance."""

    @cached_property
    def triangle(self) -> tuple[np.ndarray, float] | None:
        """(D, D) Cholesky factor of the covariance, and the covariance's Frobenius norm.

        None if the covariance is numerically singular.
        """
        covariance = self.factor.T @ self.factor
        try:
            return np.linalg.cholesky(covariance), float(np.linalg.norm(covariance))
        except np.linalg.LinAlgError:
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelStatistics:
    """Statistics of a kernel's values within one set of N images, minus its value at the centre.

    Subtracting this constant avoids cancellation and leaves the variances unchanged.
    """

    mean: float
    """Mean over pairs of different images."""
    row_sums: np.ndarray
    """(N,) sums over the other images."""
    interaction: float | None
    """Unbiased variance of the doubly centred kernel; None for fewer than four images."""


def kernel_blocks(products: Products, centre: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (rows, (R, M) values of the kernel in these rows) of (N, M) products.

    The values are k(a, b) - k(c, c) with k(a, b) = (a.b / D + 1)^3, from products of features
    minus the centre c, (D,).
    """
    at_centre = (centre @ centre / len(centre) + 1) ** 3
    # a.b = (a - c).(b - c) + (a - c).c + (b - c).c + c.c
    from_left = products.left @ centre + centre @ centre
    from_right = products.right @ centre
    for rows, block in products.blocks():
        k = np.empty_like(block)
        left = from_left[rows, None]
        for part in split_rows(*k.shape, elements=CACHED_ELEMENTS):
            piece = np.add(block[part], from_right, out=k[part])
            piece += left[part]
            piece /= len(centre)
            piece += 1
            piece *= piece * piece
            piece -= at_centre
        yield rows, k


def kernel_statistics(products: Products, centre: np.ndarray) -> KernelStatistics:
    """Statistics of the kernel from the products within one set of N images (kernel_blocks)."""
    N = len(products.left)
    row_sums, squares = np.empty(N), 0.0
    for rows, k in kernel_blocks(products, centre):
        k[np.arange(len(k)), np.arange(rows.start, rows.stop)] = 0
        row_sums[rows] = k.sum(axis=1)
        squares += float(np.vdot(k, k))
    total = row_sums.sum()
    interaction = None
    if N >= 4:
        # Sum of squares of the U-centred kernel (Szekely and Rizzo, arXiv:1310.2926, definition 2
        # and proposition 1).
        squares -= 2 / (N - 2) * (row_sums @ row_sums) - total**2 / ((N - 1) * (N - 2))
        interaction = float(squares / (N * (N - 3)))
    return KernelStatistics(
        mean=float(total / (N * (N - 1))), row_sums=row_sums, interaction=interaction
    )


def estimate_mmd2(generated: np.ndarray, reference: np.ndarray) -> tuple[float, float | None]:
    """Like estimate_paired_mmd2, from (m, D) and (n, D) features."""
    centred = centre_features(reference)
    pairs = pair_features(generated, centred)
    return estimate_paired_mmd2(pairs, reference_statistics(centred))


def reference_statistics(reference: Centred) -> KernelStatistics:
    """Statistics of the kernel within a reference, for estimate_paired_mmd2."""
    return kernel_statistics(reference.within, reference.centre)


def estimate_paired_mmd2(pairs: Pairs, yy: KernelStatistics) -> tuple[float, float | None]:
    """Unbiased squared maximum mean discrepancy and the variance of that estimate.

    The estimate is the U-statistic of Gretton et al. (JMLR 13, 2012, equation 3). Its Hoeffding
    decomposition has the variance
        4 a_x / m + 4 a_y / n + 2 t_xx / (m (m - 1)) + 2 t_yy / (n (n - 1)) + 4 t_xy / (m n)
    where a_x is the variance over x of E k(x, X) - E k(x, Y), and the t are the variances of the
    doubly centred kernels. Each is replaced by its unbiased estimate, as Sutherland et al.
    (arXiv:1611.04488) do for m = n. A jackknife would count each t twice; this estimate also holds
    if both sets have the same distribution. In that case the standard error is up to about 15% too
    large, because the first-order part is clipped at zero.

    Args:
        pairs: m generated and n reference images.
        yy: reference_statistics of these reference images.

    Returns:
        The estimate, and its variance (None if a set has fewer than four images).
    """
    m, n = len(pairs.generated), len(pairs.reference.features)
    centre = pairs.reference.centre
    xx = kernel_statistics(pairs.within_generated, centre)
    to_y, to_x, squares = np.empty(m), np.zeros(n), 0.0
    for rows, k in kernel_blocks(pairs.across, centre):
        to_y[rows] = k.mean(axis=1)
        to_x += k.sum(axis=0) / m
        squares += float(np.vdot(k, k))
    mean_xy = to_y.mean()
    estimate = float(xx.mean + yy.mean - 2 * mean_xy)
    if xx.interaction is None or yy.interaction is None:
        return estimate, None
    squares -= n * (to_y @ to_y) + m * (to_x @ to_x) - m * n * mean_xy**2
    t_xx, t_yy, t_xy = xx.interaction, yy.interaction, squares / ((m - 1) * (n - 1))
    a_x = np.var(xx.row_sums / (m - 2) - to_y, ddof=1) - t_xx / (m - 2) - t_xy / n
    a_y = np.var(yy.row_sums / (n - 2) - to_x, ddof=1) - t_yy / (n - 2) - t_xy / m
    first = max(a_x / m + a_y / n, 0.0) * 4
    second = 2 * t_xx / (m * (m - 1)) + 2 * t_yy / (n * (n - 1)) + 4 * t_xy / (m * n)
    return estimate, float(max(first + second, 0.0))


def gaussian_statistics(features: np.ndarray) -> GaussianStatistics:
    """Mean and unbiased covariance of (N, D) features, in float64."""
    mean = features.mean(axis=0, dtype=np.float64)
    factor = features - mean
    factor /= np.sqrt(len(features) - 1)
    return GaussianStatistics(mean=mean, factor=factor)


def frechet_distance(x: GaussianStatistics, y: GaussianStatistics) -> float:
    """|mean_x - mean_y|^2 + trace(C_x + C_y - 2 (C_x C_y)^(1/2)), at least 0."""
    shift = x.mean - y.mean
    spread = float(np.vdot(x.factor, x.factor) + np.vdot(y.factor, y.factor))
    overlap = trace_of_root(x, y, tolerance=FAST_FID_ERROR * spread)
    if overlap is None:
        overlap = exact_trace_of_root(x.factor, y.factor)
    return max(float(shift @ shift + spread - 2 * overlap), 0.0)


def trace_of_root(
    x: GaussianStatistics, y: GaussianStatistics, *, tolerance: float
) -> float | None:
    """trace((A C)^(1/2)) of two covariances A and C, by Cholesky factors and eigenvalues.

    With A = L L.T and C = M M.T, the eigenvalues of A C are those of P P.T with P = L.T M. By
    Weyl's inequality the error of each is at most the rounding error of |A| |C|, which bounds the
    error of the roots.

    Args:
        x: Its covariance is A.
        y: Its covariance is C.
        tolerance: Largest error of twice the trace.

    Returns:
        None if a covariance is numerically singular or the error may exceed the tolerance.
    """
    if min(len(x.factor), len(y.factor)) <= x.factor.shape[1]:
        return None
    if x.triangle is None or y.triangle is None:
        return None
    (first, first_norm), (second, second_norm) = x.triangle, y.triangle
    rounding = np.finfo(np.float64).eps * first_norm * second_norm
    product = first.T @ second
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(product @ product.T), rounding))
    # To first order a root has error `rounding / root / 2`; it counts twice in the distance.
    return float(roots.sum()) if (rounding / roots).sum() <= tolerance else None


def exact_trace_of_root(a: np.ndarray, b: np.ndarray) -> float:
    """Like trace_of_root, also for singular covariances: the sum of singular values of a @ b.T.

    Args:
        a: (N, D) float64, replaced by its triangular factor if N > D.
        b: (M, D) float64.
    """
    a, b = (np.asarray(np.linalg.qr(x, mode="r")) if len(x) > x.shape[1] else x for x in (a, b))
    return float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
