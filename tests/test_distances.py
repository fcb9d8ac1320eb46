"""Facts of the distances: closed forms, and two ways to one number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.features import products
from model.metrics import distances
from model.metrics.distances import (
    GaussianStatistics,
    estimate_mmd2,
    exact_trace_of_root,
    frechet_distance,
    gaussian_statistics,
    trace_of_root,
)


def mmd2(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(2,) the estimate and its variance."""
    return np.array(estimate_mmd2(x, y), dtype=float)


def with_moments(num_images: int, mean: np.ndarray, root: np.ndarray, *, seed: int) -> np.ndarray:
    """(N, D) features whose mean and unbiased covariance are exactly `mean` and root.T @ root."""
    z = np.random.default_rng(seed).normal(size=(num_images, len(mean)))
    z -= z.mean(axis=0)
    white = np.linalg.qr(z)[0] * np.sqrt(num_images - 1)
    return white @ root + mean


def draw(num_images: int, dimensions: int, *, seed: int, shift: float = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_images, dimensions)) + shift


def fid(x: np.ndarray, y: np.ndarray) -> float:
    return frechet_distance(gaussian_statistics(x), gaussian_statistics(y))


def test_fid_of_known_moments_is_the_shift_and_the_difference_of_deviations():
    """Diagonal covariances commute: |mu|^2 + sum (s - t)^2 = 25 + (1 + 0 + 4 + 1)."""
    x = with_moments(50, np.array([3.0, 0, 0, 4]), np.diag([1.0, 2, 3, 4]), seed=0)
    y = with_moments(60, np.zeros(4), np.diag([2.0, 2, 5, 3]), seed=1)
    np.testing.assert_allclose(fid(x, y), 31, rtol=1e-12)


def test_fid_of_covariances_that_do_not_commute():
    """[[1, 0], [0, 4]] and [[2, 1], [1, 2]]: the root's trace is sqrt(tr(AB) + 2 sqrt(det AB)).

    tr A + tr B = 9, tr(AB) = 10, det(AB) = 12.
    """
    root = np.linalg.cholesky(np.array([[2.0, 1], [1, 2]])).T
    x = with_moments(40, np.zeros(2), np.diag([1.0, 2]), seed=0)
    y = with_moments(40, np.zeros(2), root, seed=1)
    expected = 9 - 2 * np.sqrt(10 + 2 * np.sqrt(12))
    np.testing.assert_allclose(fid(x, y), expected, rtol=1e-11)


def of_factor(factor: np.ndarray) -> GaussianStatistics:
    return GaussianStatistics(mean=np.zeros(factor.shape[1]), factor=factor)


def test_both_ways_to_fid_agree():
    """Deviations over three orders of magnitude; the rounding is below the promised error."""
    scale = np.logspace(0, -3, 40)
    a, b = draw(200, 40, seed=0) * scale, draw(150, 40, seed=1) * scale * 1.1
    fast = trace_of_root(of_factor(a), of_factor(b), tolerance=np.inf)
    assert fast is not None
    np.testing.assert_allclose(fast, exact_trace_of_root(a, b), rtol=1e-10)


def test_a_singular_covariance_takes_the_exact_way():
    """A constant feature, as of a unit that never fires."""
    a, b = draw(50, 8, seed=0), draw(50, 8, seed=1)
    a[:, 3] = 0
    assert trace_of_root(of_factor(a), of_factor(b), tolerance=np.inf) is None


def test_a_nearly_singular_covariance_takes_the_exact_way():
    """A deviation of 1e-7 has a variance of 1e-14, of which float64 keeps two digits."""
    scale = np.array([1, 1, 1, 1e-7])
    a, b = draw(50, 4, seed=0) * scale, draw(50, 4, seed=1) * scale
    assert trace_of_root(of_factor(a), of_factor(b), tolerance=1e-8) is None


@pytest.mark.parametrize(("num_images", "dimensions"), [(30, 60), (400, 60)])
def test_fid_of_a_set_with_itself_is_zero(num_images, dimensions):
    """Of deviations over five orders of magnitude, to 1e-9 of the trace, and never negative."""
    x = draw(num_images, dimensions, seed=0) * np.logspace(0, -5, dimensions) + 3
    assert 0 <= fid(x, x) < 1e-9 * x.var(axis=0).sum()


@given(st.permutations(range(20)), st.permutations(range(15)))
def test_the_order_of_images_does_not_matter(rows, other_rows):
    x, y = draw(20, 6, seed=0, shift=0.5), draw(15, 6, seed=1)
    shuffled = x[rows], y[other_rows]
    np.testing.assert_allclose(fid(*shuffled), fid(x, y), rtol=1e-11)
    np.testing.assert_allclose(mmd2(*shuffled), mmd2(x, y), rtol=1e-10)


def test_two_halves_of_one_set_have_no_kid():
    """Within three standard errors of zero, on a fixed draw."""
    x = draw(400, 16, seed=0)
    estimate, variance = estimate_mmd2(x[::2], x[1::2])
    assert variance is not None
    assert abs(estimate) < 3 * np.sqrt(variance)


def test_a_shift_is_seen_by_kid():
    """More than the three standard errors that two halves stay within."""
    x = draw(400, 16, seed=0)
    estimate, variance = estimate_mmd2(x[::2] + 0.3, x[1::2])
    assert variance is not None
    assert estimate > 3 * np.sqrt(variance)


def test_kid_and_its_variance_do_not_depend_on_blocks(monkeypatch):
    """Blocks of two rows, and no matrix that is kept."""
    x, y = draw(21, 6, seed=0, shift=0.5), draw(15, 6, seed=1)
    expected = mmd2(x, y)
    monkeypatch.setattr(products, "BLOCK_ELEMENTS", 31)
    monkeypatch.setattr(products, "KEPT_BYTES", 0)
    np.testing.assert_allclose(mmd2(x, y), expected, rtol=1e-11)


@pytest.mark.parametrize("elements", [1, 40, 2**20])
def test_kid_has_the_same_bits_for_pieces_of_any_size(monkeypatch, elements):
    x, y = draw(21, 6, seed=0, shift=0.5), draw(15, 6, seed=1)
    expected = mmd2(x, y)
    monkeypatch.setattr(distances, "CACHED_ELEMENTS", elements)
    assert mmd2(x, y).tolist() == expected.tolist()


def test_the_variance_of_kid_is_its_definition():
    """Every part from explicitly centred kernel matrices."""
    x, y = draw(12, 5, seed=0, shift=0.4), draw(9, 5, seed=1)
    m, n = 12, 9

    def kernel(a, b):
        return (a @ b.T / 5 + 1) ** 3

    def within(a):
        k, N = kernel(a, a), len(a)
        np.fill_diagonal(k, 0)
        sums = k.sum(axis=1)
        centred = k - sums[:, None] / (N - 2) - sums / (N - 2) + k.sum() / ((N - 1) * (N - 2))
        np.fill_diagonal(centred, 0)
        return sums, (centred**2).sum() / (N * (N - 3))

    (sums_x, t_xx), (sums_y, t_yy), k = within(x), within(y), kernel(x, y)
    to_y, to_x = k.mean(axis=1), k.mean(axis=0)
    t_xy = ((k - to_y[:, None] - to_x + k.mean()) ** 2).sum() / ((m - 1) * (n - 1))
    a_x = np.var(sums_x / (m - 2) - to_y, ddof=1) - t_xx / (m - 2) - t_xy / n
    a_y = np.var(sums_y / (n - 2) - to_x, ddof=1) - t_yy / (n - 2) - t_xy / m
    expected = 4 * max(a_x / m + a_y / n, 0) + 2 * t_xx / (m * (m - 1))
    expected += 2 * t_yy / (n * (n - 1)) + 4 * t_xy / (m * n)
    np.testing.assert_allclose(mmd2(x, y)[1], expected, rtol=1e-10)
