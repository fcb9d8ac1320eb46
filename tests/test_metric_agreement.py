"""Our numbers beside those of other packages, on the same features.

Everything goes through `measure`, the path that evaluations take and benchmarks/metrics.py times.
"""

import inspect

import numpy as np
import pytest
import scipy.linalg

from benchmarks import metric_peers
from benchmarks.metrics import parse_arguments
from model.config import MetricsConfig
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.table import measure

# clean-fid 0.1.35 passes sqrtm the `disp` that SciPy 1.17 warns of and 1.18 removes.
cleanfid_sqrtm = pytest.mark.filterwarnings(
    "ignore:The `disp` argument is deprecated:DeprecationWarning"
)
needs_disp = pytest.mark.skipif(
    "disp" not in inspect.signature(scipy.linalg.sqrtm).parameters,
    reason="clean-fid 0.1.35 needs SciPy < 1.18",
)
SIZES = [(300, 300, 16), (300, 260, 64)]


def draw_pair(num_generated: int, num_reference: int, dimensions: int):
    """Correlated float64 features of two different, shifted normal distributions."""
    rng = np.random.default_rng(dimensions)
    mix, other = rng.normal(size=(2, dimensions, dimensions)) / np.sqrt(dimensions)
    x = rng.normal(size=(num_generated, dimensions)) @ (mix + 0.3 * other) + 0.2
    return x, rng.normal(size=(num_reference, dimensions)) @ mix


def numbers(x: np.ndarray, y: np.ndarray, *names: str, nearest_k: int = 5) -> dict[str, float]:
    config = MetricsConfig(names=names, extractor="pixels", nearest_k=nearest_k)
    values = measure(Comparison(generated=x, real=RealFeatures(reference=y)), config).values
    return {key.removesuffix("/pixels"): value for key, value in values.items()}


def clean_fid(x: np.ndarray, y: np.ndarray) -> float:
    from cleanfid.fid import frechet_distance

    moments = [(z.mean(axis=0), np.cov(z, rowvar=False)) for z in (x, y)]
    return frechet_distance(*moments[0], *moments[1])


def fidelity_fid(x: np.ndarray, y: np.ndarray) -> float:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    statistics = [fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y)]
    return fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]


@cleanfid_sqrtm
@needs_disp
@pytest.mark.parametrize("sizes", SIZES)
def test_fid_is_clean_fids(sizes):
    pytest.importorskip("cleanfid.fid")
    x, y = draw_pair(*sizes)
    np.testing.assert_allclose(numbers(x, y, "fid")["fid"], clean_fid(x, y), rtol=1e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_fid_is_torch_fidelitys(sizes):
    pytest.importorskip("torch_fidelity.metric_fid")
    x, y = draw_pair(*sizes)
    np.testing.assert_allclose(numbers(x, y, "fid")["fid"], fidelity_fid(x, y), rtol=1e-6)


@cleanfid_sqrtm
@needs_disp
def test_fid_of_singular_covariances_is_clean_fids():
    """40 images of 64 dimensions: there clean-fid's own root is known to 1e-3 or so only."""
    pytest.importorskip("cleanfid.fid")
    x, y = draw_pair(40, 40, 64)
    np.testing.assert_allclose(numbers(x, y, "fid")["fid"], clean_fid(x, y), rtol=1e-3)


def test_fid_of_singular_covariances_is_torch_fidelitys():
    pytest.importorskip("torch_fidelity.metric_fid")
    x, y = draw_pair(40, 40, 64)
    np.testing.assert_allclose(numbers(x, y, "fid")["fid"], fidelity_fid(x, y), rtol=1e-3)


@pytest.mark.parametrize("dimensions", [16, 64])
def test_kid_is_torch_fidelitys(dimensions):
    """One subset of all images, in another order of rows."""
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    import torch

    x, y = draw_pair(300, 300, dimensions)
    result = fidelity.kid_features_to_metric(
        torch.from_numpy(x),
        torch.from_numpy(y),
        kid_subsets=1,
        kid_subset_size=300,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=0,
        verbose=False,
    )
    expected = result["kernel_inception_distance_mean"]
    np.testing.assert_allclose(numbers(x, y, "kid")["kid"], expected, rtol=1e-9)


def test_kid_is_clean_fids():
    cleanfid = pytest.importorskip("cleanfid.fid")
    x, y = draw_pair(300, 300, 32)
    expected = cleanfid.kernel_distance(x, y, num_subsets=1, max_subset_size=300)
    np.testing.assert_allclose(numbers(x, y, "kid")["kid"], expected, rtol=1e-9)


@pytest.mark.usefixtures("capsys")  # prdc prints
@pytest.mark.parametrize("nearest_k", [1, 5, 10])
@pytest.mark.parametrize("sizes", SIZES)
def test_precision_recall_and_coverage_are_prdcs(sizes, nearest_k):
    """Equal numbers: each is a count of images divided by their number."""
    prdc = pytest.importorskip("prdc")
    x, y = draw_pair(*sizes)
    expected = prdc.compute_prdc(y, x, nearest_k)
    names = ("precision", "recall", "coverage")
    found = numbers(x, y, *names, nearest_k=nearest_k)
    assert found == {name: expected[name] for name in names}


@pytest.mark.usefixtures("capsys")  # prdc prints
@pytest.mark.parametrize("nearest_k", [1, 5, 10])
@pytest.mark.parametrize("sizes", SIZES)
def test_density_is_prdcs(sizes, nearest_k):
    """Equal counts, whose division may round otherwise."""
    prdc = pytest.importorskip("prdc")
    x, y = draw_pair(*sizes)
    expected = prdc.compute_prdc(y, x, nearest_k)["density"]
    found = numbers(x, y, "density", nearest_k=nearest_k)["density"]
    np.testing.assert_allclose(found, expected, rtol=1e-15)


@pytest.mark.parametrize(("num_images", "dimensions"), [(300, 16), (300, 64), (40, 64)])
def test_vendi_is_vendi_scores(num_images, dimensions):
    pytest.importorskip("vendi_score")
    from vendi_score.vendi import score_dual

    x, y = draw_pair(num_images, num_images, dimensions)
    np.testing.assert_allclose(numbers(x, y, "vendi")["vendi"], score_dual(x), rtol=1e-9)


@cleanfid_sqrtm
@needs_disp
def test_the_benchmark_times_equal_numbers():
    """Of every metric and program, by turns."""
    for module in metric_peers.MODULES.values():
        pytest.importorskip(module)
    x, y = draw_pair(300, 300, 16)
    results = metric_peers.compare_times(x, y, list(metric_peers.MODULES), rounds=1)
    assert {m: set(found) for m, found in results.items()} == {
        "fid": {"ours", "clean-fid", "torch-fidelity"},
        "kid": {"ours", "clean-fid", "torch-fidelity"},
        "precision recall": {"ours", "torch-fidelity"},
    }
    for found in results.values():
        for program in found.values():
            assert program["values"] == pytest.approx(found["ours"]["values"], rel=1e-6)


def test_the_benchmark_names_a_package_that_is_not_installed(monkeypatch, capsys):
    monkeypatch.setitem(metric_peers.MODULES, "clean-fid", "not_installed.fid")
    monkeypatch.setattr("sys.argv", ["metrics.py", "--peers", "clean-fid"])
    with pytest.raises(SystemExit, match="2"):
        parse_arguments()
    assert "--peers must be installed, got clean-fid; uv pip install" in capsys.readouterr().err
