"""Neighbours with subsets are those of each subset alone; distances are computed once for all."""

from dataclasses import replace

import numpy as np
import pytest

from model.features import neighbours, screening
from model.features.neighbours import find_neighbours, squared_radii
from model.features.products import Centred, Pairs, centre_features, pair_features
from model.metrics import subset_neighbours
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.standard_errors import draw_members, subsets

K = 3


def draw(num_images: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_images, 6))


def compare(x: np.ndarray, y: np.ndarray, num_classes: int = 1) -> Comparison:
    classes = tuple(f"class {c}" for c in range(num_classes))
    real = RealFeatures(
        reference=y, reference_labels=np.arange(len(y)) % num_classes, class_names=classes
    )
    return Comparison(generated=x, real=real, generated_labels=np.arange(len(x)) % num_classes)


PAIRS = {
    "ordinary": compare(draw(60, seed=1), draw(50, seed=2)),
    "classes": compare(draw(60, seed=1), draw(50, seed=2), 4),
    "narrow": compare(draw(60, seed=1) * 1e-6, draw(50, seed=2)),
    "repeated": compare(np.repeat(draw(12, seed=1), 5, axis=0), draw(50, seed=2)),
    "same": compare(draw(60, seed=1), draw(60, seed=1), 2),
}


def one_by_one(comparison: Comparison, num_subsets: int) -> dict[str, np.ndarray]:
    """Each subset as a set of images of its own."""
    real = centre_features(comparison.real.reference)
    x = pair_features(comparison.generated, real).generated
    all_radii = squared_radii(real.within, K)
    found = {"containing": [], "recalled": [], "covered": []}
    for rows in subsets(comparison.strata[1], num_subsets):
        part = Centred(features=real.features[rows], centre=real.centre)
        pairs = Pairs(generated=x, reference=part)
        radii = squared_radii(part.within, K)
        each = find_neighbours(pairs, np.zeros(len(x)), reference_radii=radii)
        found["containing"].append(each.containing)
    for rows in subsets(comparison.strata[0], num_subsets):
        pairs = Pairs(generated=x[rows], reference=real)
        radii = squared_radii(pairs.within_generated, K)
        each = find_neighbours(pairs, radii, reference_radii=all_radii)
        found["recalled"].append(each.recalled)
        found["covered"].append(each.covered)
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("dense", [screening.DENSE, 1])
@pytest.mark.parametrize("spare", [subset_neighbours.SPARE, -K])
@pytest.mark.parametrize("name", PAIRS)
def test_neighbours_are_those_of_each_subset_alone(monkeypatch, name, spare, dense):
    """Also if the first lists of neighbours are too short for some subset."""
    monkeypatch.setattr(subset_neighbours, "SPARE", spare)
    monkeypatch.setattr(screening, "DENSE", dense)
    comparison = PAIRS[name]
    found = Comparison(
        generated=comparison.generated,
        real=replace(comparison.real),  # of which nothing has been computed yet
        generated_labels=comparison.generated_labels,
    ).subset_neighbours(K, 10)
    for part, expected in one_by_one(comparison, 10).items():
        np.testing.assert_array_equal(getattr(found, part), expected, part)


def test_short_lists_are_extended(monkeypatch):
    """Lists of k neighbours suffice for no subset that leaves one of them out."""
    counts, nearest_rows = [], subset_neighbours.nearest_rows
    monkeypatch.setattr(
        subset_neighbours, "nearest_rows", lambda p, n: counts.append(n) or nearest_rows(p, n)
    )
    monkeypatch.setattr(subset_neighbours, "SPARE", -K)
    y = draw(50, seed=2)
    members = draw_members(np.zeros(len(y), np.int64), 10)
    radii = subset_neighbours.subset_radii(centre_features(y).within, members, K)
    assert counts[:2] == [K, 2 * K]
    assert (radii > 0).tolist() == members.tolist()


@pytest.mark.parametrize("num_subsets", [10, 40])
def test_distances_are_computed_once_for_all_subsets(monkeypatch, num_subsets):
    """Within both sets and across, and once for the radii of the whole reference."""
    passes, screen = [], screening.screen
    for module in (neighbours, subset_neighbours):
        monkeypatch.setattr(module, "screen", lambda each: passes.append(1) or screen(each))
    compare(draw(60, seed=1), draw(50, seed=2)).subset_neighbours(K, num_subsets)
    assert len(passes) == 4


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_features_too_large_for_float64_have_no_neighbours():
    x, y = draw(60, seed=1) * 1e200, draw(50, seed=2) * 1e200
    assert not compare(x, y).subset_neighbours(K, 10).containing.any()
