"""Facts of neighbourhoods: brute force, closed forms, ties and duplicates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import MetricsConfig
from model.features import neighbours, products
from model.features.neighbours import distinct_rows, nearest_two
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.table import measure

NAMES = ("precision", "recall", "density", "coverage")


def draw(num_images: int, dimensions: int = 4, *, seed: int = 0, shift: float = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_images, dimensions)) + shift


def draw_class(number: int, num_images: int, *, seed: int) -> np.ndarray:
    """Images of one of several classes, a thousand deviations apart."""
    return draw(num_images, seed=seed) + np.eye(4)[number] * 1000


def find(generated: np.ndarray, reference: np.ndarray, nearest_k: int = 3):
    comparison = Comparison(generated=generated, real=RealFeatures(reference=reference))
    return comparison.neighbours(nearest_k)


def average(generated: np.ndarray, reference: np.ndarray, nearest_k: int = 3, **settings):
    config = MetricsConfig(names=NAMES, extractor="pixels", nearest_k=nearest_k, **settings)
    comparison = Comparison(generated=generated, real=RealFeatures(reference=reference))
    values = measure(comparison, config).values
    return {key.removesuffix("/pixels"): value for key, value in values.items()}


# who lies within whose neighbourhood


def test_neighbourhoods_are_their_definition():
    """Image by image, with sorted lists of distances."""
    x, y = draw(14, shift=0.5), draw(17, seed=1)

    def radius(point, own):
        return sorted(np.linalg.norm(own - point, axis=1))[3]  # the nearest is the point itself

    def holds(ball, own, point):
        return np.linalg.norm(ball - point) < radius(ball, own)

    found = find(x, y)
    assert found.containing.tolist() == [sum(holds(b, y, a) for b in y) for a in x]
    assert found.recalled.tolist() == [any(holds(a, x, b) for a in x) for b in y]
    assert found.covered.tolist() == [any(holds(b, y, a) for a in x) for b in y]


def test_an_image_on_the_edge_of_a_ball_is_outside():
    """Points 0, 1, 2, 3: with k = 1 every radius is 1; only 1.5 is nearer than that to any."""
    reference = np.arange(4.0)[:, None]
    generated = np.array([[-1.0], [1.5], [4.0]])
    assert find(generated, reference, 1).containing.tolist() == [0, 2, 0]


@pytest.mark.parametrize("shift", [0, 0.1, 1e3, 1e6])
def test_edges_stay_edges_wherever_the_features_lie(shift):
    """A grid of 5 x 5, k = 3: three in the ball of a corner (to the diagonal), one in all others.

    Its neighbours are ties; 0.1 is not representable in binary, and 1e6 leaves half of the digits.
    """
    grid = np.stack(np.meshgrid(*[np.arange(5) / 8] * 2), axis=-1).reshape(-1, 2) + shift
    density = (4 * 3 + 21 * 1) / 25 / 3
    expected = {"precision": 1, "recall": 1, "density": density, "coverage": 1}
    assert average(grid, grid) == pytest.approx(expected, rel=1e-15)


def test_neighbourhoods_do_not_depend_on_blocks(monkeypatch):
    x, y = draw(21, shift=0.3), draw(16, seed=1)
    expected = find(x, y)
    monkeypatch.setattr(products, "BLOCK_ELEMENTS", 40)
    monkeypatch.setattr(products, "KEPT_BYTES", 0)
    found = find(x, y)
    for part in ("containing", "recalled", "covered"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))


@given(st.permutations(range(20)), st.permutations(range(15)))
def test_the_order_of_images_does_not_matter(rows, other_rows):
    x, y = draw(20, shift=0.5), draw(15, seed=1)
    found, expected = find(x[rows], y[other_rows]), find(x, y)
    np.testing.assert_array_equal(found.containing, expected.containing[rows])
    np.testing.assert_array_equal(found.recalled, expected.recalled[other_rows])
    np.testing.assert_array_equal(found.covered, expected.covered[other_rows])


# averages


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dimensions", [3, 64])
def test_the_reference_itself_has_every_number_one(dtype, dimensions):
    """Each image has itself and, strictly within their radius, k - 1 of the others: density 1."""
    x = draw(60, dimensions).astype(dtype)
    assert average(x, x.copy()) == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}


@pytest.mark.parametrize("num_classes", [1, 2, 3])
def test_coverage_and_recall_count_the_classes_that_are_there(num_classes):
    """`num_classes` of 4 classes generated, each image as in the reference."""
    reference = np.concatenate([draw_class(c, 20, seed=c) for c in range(4)])
    found = average(reference[: 20 * num_classes], reference)
    share = num_classes / 4
    assert (found["coverage"], found["recall"], found["precision"]) == (share, share, 1)


def test_classes_that_are_not_real_lower_precision_alone():
    reference = np.concatenate([draw_class(c, 20, seed=c) for c in range(2)])
    generated = np.concatenate([reference, draw_class(3, 20, seed=9)])
    found = average(generated, reference)
    assert (found["precision"], found["recall"], found["coverage"]) == (2 / 3, 1, 1)


def test_one_image_repeated_is_precise_and_recalls_nothing():
    """Its own neighbourhood is empty: the k-th neighbour is at distance zero."""
    reference = draw(30)
    found = average(np.repeat(reference[:1], 30, axis=0), reference)
    assert (found["precision"], found["recall"]) == (1, 0)


def test_density_exceeds_one_where_images_crowd():
    """Points 0, 1, 2, 3 with k = 1: each of the images at 1.5 lies in two balls."""
    assert average(np.full((3, 1), 1.5), np.arange(4.0)[:, None], 1)["density"] == 2


@pytest.mark.parametrize("copies", [4, 10])
def test_duplicates_of_the_reference_leave_an_empty_neighbourhood(copies):
    """K = 3 and three equal images or more beside it: radius 0, which not even a copy is below."""
    reference = np.concatenate([np.repeat(draw(1, seed=8), copies, axis=0), draw(20, seed=1)])
    assert not find(reference, reference).covered[:copies].any()


def test_too_few_images_for_the_neighbours_are_refused():
    with pytest.raises(
        ValueError,
        match=r"^metrics.nearest_k must be at most the number of images \(6\) less 2, got 5; "
        r"use at most 4, or measure more images$",
    ):
        average(draw(6), draw(9), 5)


@pytest.mark.parametrize("name", NAMES)
def test_two_images_have_no_neighbours(name):
    config = MetricsConfig(names=(name,), extractor="pixels", nearest_k=1)
    with pytest.raises(ValueError, match="got 1; leave precision, recall, density, coverage out"):
        measure(Comparison(generated=draw(2), real=RealFeatures(reference=draw(9))), config)


def test_one_more_image_than_refused_is_enough():
    assert set(average(draw(7), draw(9), 5)) == set(NAMES)


def test_neighbourhoods_are_found_once_for_all_averages(monkeypatch):
    """Four metrics, and one pass over the products within either set and across."""
    passes = []
    screen = neighbours.screen
    monkeypatch.setattr(neighbours, "screen", lambda within: passes.append(1) or screen(within))
    average(draw(9), draw(9, seed=1))
    assert len(passes) == 3


def test_the_standard_error_of_precision_is_the_binomials():
    """sqrt(p (1 - p) / N), within the 5% or so that 400 resamples leave, doubled."""
    found = average(draw(300, shift=0.8), draw(300, seed=1), bootstrap=400)
    p = found["precision"]
    np.testing.assert_allclose(found["precision_se"], np.sqrt(p * (1 - p) / 300), rtol=0.1)


# nearest training images


def test_the_nearest_two_are_brute_forces():
    queries, points = draw(9, 5), draw(20, 5, seed=1)
    expected = np.sort(np.linalg.norm(queries[:, None] - points, axis=2), axis=1)[:, :2]
    np.testing.assert_allclose(nearest_two(queries, points), expected, rtol=1e-14)


def test_the_nearest_two_do_not_depend_on_chunks(monkeypatch):
    """A last chunk of one point as well."""
    queries, points = draw(9, 5), draw(22, 5, seed=1)
    expected = nearest_two(queries, points)
    monkeypatch.setattr(neighbours, "POINT_CHUNK", 3)
    monkeypatch.setattr(products, "BLOCK_ELEMENTS", 7)
    np.testing.assert_array_equal(nearest_two(queries, points), expected)


@pytest.mark.parametrize("shift", [0, 1e4])
def test_a_copy_is_at_distance_zero(shift):
    """Exactly, in float32 features far from zero too."""
    points = draw(30, 64, shift=shift).astype(np.float32)
    assert nearest_two(points[5:8], points)[:, 0].tolist() == [0, 0, 0]


def test_equal_points_count_once():
    """The second nearest is the nearest that differs from the first."""
    points = np.array([[0.0], [0.0], [0.0], [3.0]])
    assert nearest_two(np.array([[1.0]]), points).tolist() == [[1, 2]]


def test_one_point_has_no_second():
    found = nearest_two(np.array([[1.0]]), np.array([[0.0], [0.0]]))
    np.testing.assert_array_equal(found, [[1, np.nan]])


def test_distinct_rows_keep_their_order():
    rows = np.array([[2.0], [1.0], [2.0], [0.0], [-0.0]])
    assert distinct_rows(rows).tolist() == [[2], [1], [0]]
