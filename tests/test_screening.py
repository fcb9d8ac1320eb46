"""Facts of the screening in float32: it decides as float64 does, and does most of the work."""

import numpy as np
import pytest

from model.config import MetricsConfig
from model.features import products, screening
from model.features.neighbours import find_neighbours, squared_radii
from model.features.products import Products, centre_features, pair_features
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.precision_recall import compute_precision

K = 3


def draw(num_images: int, dimensions: int = 32, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_images, dimensions))


def grid(shift: float) -> np.ndarray:
    """A 6 x 6 grid, on which many distances are equal."""
    return np.stack(np.meshgrid(*[np.arange(6) / 8] * 2), axis=-1).reshape(-1, 2) + shift


def outlying(seed: int) -> np.ndarray:
    """One image lies so far from the others that its length sets their largest error."""
    x = draw(40, seed=seed)
    x[7] *= 1e5
    return x


def lumps(seed: int) -> np.ndarray:
    """Three lumps whose extent is below the rounding of float32."""
    return draw(3, seed=0)[np.arange(40) % 3] * 10 + draw(40, seed=seed) * 1e-7


SETS = {
    "ordinary": (draw(40, seed=1) + 0.2, draw(30, seed=2)),
    "near_together": (draw(40, seed=1) * 1e-6 + 5, draw(30, seed=2) * 1e-6 + 5),
    "lumps": (lumps(1), lumps(2)),
    "outlier": (outlying(1), outlying(2)),
    "equal": (np.repeat(draw(8, seed=1), 5, axis=0), np.repeat(draw(8, seed=1), 4, axis=0)),
    "ties": (grid(0), grid(0.1)),
    "same": (draw(40, seed=1), draw(40, seed=1)),
    "tiny": (draw(40, seed=1) * 1e-25, draw(30, seed=2) * 1e-25),
    "huge": (draw(40, seed=1) * 1e25, draw(30, seed=2) * 1e25),
    "one_dimension": (draw(40, 1, seed=1), draw(30, 1, seed=2)),
}


def find(x: np.ndarray, y: np.ndarray, *, in_float64: bool):
    """Radii of both sets and the neighbours, as three vectors in one."""
    real = centre_features(y)
    pairs = pair_features(x, real)
    if in_float64:
        for each in (real.within, pairs.within_generated, pairs.across):
            assert each.kept is not None
    radii, reference_radii = (squared_radii(p, K) for p in (pairs.within_generated, real.within))
    found = find_neighbours(pairs, radii, reference_radii=reference_radii)
    return np.concatenate([radii, reference_radii]), found


@pytest.mark.parametrize("kept_bytes", [products.KEPT_BYTES, 0])
@pytest.mark.parametrize("dense", [screening.DENSE, 1])
@pytest.mark.parametrize("name", SETS)
def test_float32_decides_as_float64(monkeypatch, name, dense, kept_bytes):
    """For features that float32 cannot tell apart, too, however float64 decides them."""
    monkeypatch.setattr(screening, "DENSE", dense)
    x, y = SETS[name]
    expected_radii, expected = find(x, y, in_float64=True)
    monkeypatch.setattr(products, "KEPT_BYTES", kept_bytes)
    radii, found = find(x, y, in_float64=False)
    scale = max(np.vdot(row, row) for z in (x, y) for row in z - y.mean(axis=0))
    np.testing.assert_allclose(radii, expected_radii, rtol=0, atol=1e-15 * 8 * scale)
    for part in ("containing", "recalled", "covered"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part), part)


@pytest.mark.parametrize("name", [name for name in SETS if name != "huge"])
def test_the_error_is_bounded(name):
    """Of products and of their differences from offsets, in blocks of float32."""
    x, y = SETS[name]
    offsets = np.einsum("nd,nd->n", y, y) / 2
    for block in screening.screen(Products(left=x, right=y)):
        values, error = block.nearness(offsets)
        assert values.dtype == np.float32
        assert (np.abs(block.values - x[block.rows] @ y.T) <= block.error[:, None]).all()
        assert (np.abs(values - (x[block.rows] @ y.T - offsets)) <= error[:, None]).all()


def test_features_too_large_for_float32_are_multiplied_in_float64():
    x, y = SETS["huge"]
    assert {b.values.dtype for b in screening.screen(Products(left=x, right=y))} == {np.dtype("f8")}


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_features_too_large_for_float64_have_no_neighbours():
    """As of a model that diverges: a result, not an error."""
    x, y = draw(40, seed=1) * 1e200, draw(30, seed=2) * 1e200
    assert not find(x, y, in_float64=False)[1].containing.any()


def test_few_pairs_need_float64(monkeypatch):
    """Per image, about one k-th neighbour and a few on edges; most pairs are never looked at."""
    exact, decided = screening.Screened.exact, []
    monkeypatch.setattr(
        screening.Screened, "exact", lambda self, i, j: decided.append(len(i)) or exact(self, i, j)
    )
    x, y = draw(300, 256, seed=1), draw(300, 256, seed=2)
    find(x, y, in_float64=False)
    assert 600 <= sum(decided) < 1.1 * 600


def test_no_matrix_is_multiplied_in_float64_for_neighbours(monkeypatch):
    """The blocks of float64 are not even asked for."""
    monkeypatch.setattr(Products, "blocks", None)
    comparison = Comparison(
        generated=draw(40, seed=1), real=RealFeatures(reference=draw(30, seed=2))
    )
    compute_precision(comparison, MetricsConfig(names=("precision",), extractor="pixels"))
    assert comparison.pairs.across.computed is None


def test_products_that_kid_has_computed_are_used(monkeypatch):
    x, y = SETS["ordinary"]
    pairs = pair_features(x, centre_features(y))
    assert pairs.across.kept is not None
    monkeypatch.setattr(screening, "multiply", None)
    assert [b.values.dtype for b in screening.screen(pairs.across)] == [np.float64]


@pytest.mark.parametrize("kept_bytes", [products.KEPT_BYTES, 0])
def test_products_within_one_set_are_one_call_if_they_are_kept(monkeypatch, kept_bytes):
    """Of an array and its transpose, whose products numpy computes by halves."""
    monkeypatch.setattr(products, "KEPT_BYTES", kept_bytes)
    monkeypatch.setattr(products, "BLOCK_ELEMENTS", 100)
    x = draw(20, seed=1)
    blocks = list(products.multiply(x, x))
    assert len(blocks) == 4
    assert (blocks[0][1].base is not None) == (kept_bytes > 0)
    np.testing.assert_allclose(np.concatenate([b for _, b in blocks]), x @ x.T, atol=1e-12)
