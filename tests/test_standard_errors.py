"""Facts of standard errors from subsets: they are the deviations of fresh draws."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.standard_errors import KINDS, RESULTS, compare
from model.config import MetricsConfig
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.standard_errors import (
    average_error,
    difference_error,
    halves,
    smooth_error,
    subsets,
    values_of_halves,
)
from model.metrics.table import measure

OF_TWO_SETS = ("precision", "recall", "density", "coverage", "fid", "vendi")


def one_stratum(count: int) -> np.ndarray:
    return np.zeros(count, np.int64)


def test_a_subset_leaves_out_one_of_four_of_each_class() -> None:
    strata = np.repeat([0, 1, 2], [40, 8, 4])
    for rows in subsets(strata, 10):
        assert np.bincount(strata[rows]).tolist() == [30, 6, 3]
        assert len(set(rows.tolist())) == 39


def test_halves_are_disjoint_and_of_equal_parts_of_each_class() -> None:
    strata = np.repeat([0, 1], [40, 8])
    for first, second in halves(strata, 10):
        assert sorted([*first, *second]) == list(range(48))
        assert np.bincount(strata[first]).tolist() == np.bincount(strata[second]).tolist()


def test_the_error_of_a_plain_mean_is_its_deviation() -> None:
    """The deviation / sqrt(N), or with strata that within them."""
    x = np.random.default_rng(0).normal(size=200)
    expected = x.std(ddof=1) / np.sqrt(200)
    assert average_error(x, one_stratum(200)) == pytest.approx(expected)
    strata = np.arange(200) % 2
    assert average_error(x + 100 * strata, strata) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("count", [0, 3, 200])
def test_the_error_of_a_share_is_wilsons(count: int) -> None:
    """Its 95 % interval, by the usual formula; also for 0 and 1."""
    p, z = count / 200, 1.959963984540054
    half_width = z / (1 + z**2 / 200) * np.sqrt(p * (1 - p) / 200 + z**2 / (4 * 200**2))
    found = average_error(np.arange(200) < count, one_stratum(200))
    assert found * z == pytest.approx(half_width, rel=0.01)


def test_the_second_set_adds_its_own_variance() -> None:
    """Of mean(x) + mean(y) it is var(y) / M; noise that differs between images adds nothing."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=300), 3 * rng.normal(size=200)
    of_subsets = np.array(
        [x + y[rows].mean() + rng.normal(size=300) for rows in subsets(one_stratum(200), 400)]
    )
    found = average_error(x + y.mean(), one_stratum(300), of_subsets)
    expected = np.sqrt(x.var() / 300 + y.var() / 200)
    assert found == pytest.approx(expected, rel=0.1)


def test_halves_of_a_linear_statistic_have_its_error_and_of_a_degenerate_one_too() -> None:
    """Of a mean both agree; of a squared mean around 0, twice its variance is not counted."""
    x = np.random.default_rng(0).normal(size=(400, 50))
    strata = [one_stratum(400)]
    linear = values_of_halves(lambda part: float(part[:, 0].mean()), [x], strata, 400)
    assert difference_error(linear) == pytest.approx(x[:, 0].std() / 20, rel=0.1)
    assert smooth_error(linear) == pytest.approx(x[:, 0].std() / 20, rel=0.15)
    quadratic = values_of_halves(
        lambda part: float((part.mean(axis=0) ** 2).sum()), [x], strata, 400
    )
    # |mean|^2 of 50 standard normal variables is chi-squared / 400: deviation sqrt(100) / 400.
    assert smooth_error(quadratic) == pytest.approx(10 / 400, rel=0.2)
    assert difference_error(quadratic) == pytest.approx(np.sqrt(2) * 10 / 400, rel=0.2)


def draw(seed: int, num_images: int = 100) -> Comparison:
    rng = np.random.default_rng(seed)
    return Comparison(
        generated=0.9 * rng.normal(size=(num_images, 6)),
        real=RealFeatures(reference=rng.normal(size=(num_images, 6))),
    )


def numbers(comparison: Comparison, *names: str, **settings: int) -> dict[str, float]:
    config = MetricsConfig(names=names, extractor="pixels", **settings)  # ty: ignore
    values = measure(comparison, config).values
    return {key.removesuffix("/pixels"): value for key, value in values.items()}


@pytest.mark.slow
def test_errors_of_neighbours_are_deviations_of_fresh_draws() -> None:
    """Within a fifth for 100 images; those of the bootstrap are 1.15 times too small or more."""
    names = OF_TWO_SETS[:4]
    values = [numbers(draw(seed), *names) for seed in range(300)]
    printed = {
        option: [numbers(draw(seed), *names, **{option: 30}) for seed in range(300, 310)]
        for option in ("error_subsets", "bootstrap")
    }

    def ratio(name: str, option: str) -> float:
        squares = [found[f"{name}_se"] ** 2 for found in printed[option]]
        return float(np.std([v[name] for v in values]) / np.sqrt(np.mean(squares)))

    assert [ratio(name, "error_subsets") for name in names] == pytest.approx([1] * 4, abs=0.2)
    assert min(ratio(name, "bootstrap") for name in ("recall", "density")) > 1.15


def test_errors_are_left_out_with_a_reason_if_there_are_too_few_images() -> None:
    config = MetricsConfig(names=("recall", "kid"), extractor="pixels", error_subsets=10)
    found = measure(draw(0, num_images=13), config)
    assert "recall_se/pixels" not in found.values
    assert found.warnings == [
        "recall_se/pixels needs at least 14 images for metrics.nearest_k=5, got 13: left out"
    ]
    assert "recall_se/pixels" in measure(draw(0, num_images=14), config).values


def test_a_bootstrap_is_named_for_what_it_is() -> None:
    config = MetricsConfig(names=("kid",), extractor="pixels", bootstrap=10)
    (warning,) = measure(draw(0), config).warnings
    assert warning.startswith("metrics.bootstrap holds neighbourhoods")


def test_one_column_has_one_kind_of_error() -> None:
    message = r"metrics.bootstrap must be 0 with metrics.error_subsets=50, got 100; both give"
    with pytest.raises(ValueError, match=message):
        MetricsConfig(bootstrap=100, error_subsets=50)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_contain_the_mean_as_often_as_they_say(kind: str) -> None:
    """Of 300 images: 88 to 98.5 %, of which two points are noise of 150 draws and 6 errors."""
    rows = compare(kind, 300, requested=False, num_draws=150, num_sets=6)
    found = {row["metric"]: row["error_subsets coverage"] for row in rows}
    for name in OF_TWO_SETS:
        assert 0.88 <= found[name] <= 0.985, name


@pytest.mark.parametrize(("num_images", "num_settings"), [(300, 2 * len(KINDS)), (2000, 3)])
def test_the_committed_figures_cover(num_images: int, num_settings: int) -> None:
    """benchmarks/standard_errors.py: 88 to 98.5 % for every metric of two sets, FID and Vendi."""
    rows = [row for row in json.loads(Path(RESULTS).read_text()) if row["images"] == num_images]
    rows = [row for row in rows if row["metric"] in OF_TWO_SETS]
    assert len(rows) == num_settings * len(OF_TWO_SETS)
    coverages = [row["error_subsets coverage"] for row in rows]
    assert min(coverages) >= 0.88
    assert max(coverages) <= 0.985
