"""Facts of greedy choices of what lies far apart, through the filters that make them."""

import itertools

import numpy as np
import pytest
from filtering import column, distances, draw, keep
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

# farthest points


def test_the_farthest_from_all_kept_is_kept_next():
    """Mean 4.25: first 5, then 10 (5 from it; so is 0, which comes later), then 0, then 2."""
    points = column(10, 5, 0, 2)
    choices = [keep("farthest-point", points, count).indices.tolist() for count in range(1, 5)]
    assert choices == [[1], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_scores_of_farthest_points_are_distances_to_the_nearest_other_kept():
    kept = keep("farthest-point", column(10, 5, 0, 2), 3)
    assert kept.scores.tolist() == [5, 5, 5, 2]


def test_a_single_kept_point_has_score_zero():
    assert keep("farthest-point", column(10, 5, 0, 2), 1).scores.tolist() == [5, 0, 5, 3]


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4))
def test_farthest_points_cover_at_most_twice_as_badly_as_the_best(seed, count):
    """Gonzalez' bound, against all subsets of nine points."""
    points = draw(9, 2, seed=seed)
    apart = distances(points)
    best = min(
        apart[list(subset)].min(axis=0).max() for subset in itertools.combinations(range(9), count)
    )
    covered = apart[keep("farthest-point", points, count).indices].min(axis=0).max()
    assert covered <= 2 * best * (1 + 1e-9)


def brute_force_farthest(points: np.ndarray, count: int) -> list[int]:
    """The definition, with distances of all pairs."""
    apart = distances(points)
    chosen = [int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmin())]
    while len(chosen) < count:
        chosen.append(int(apart[chosen].min(axis=0).argmax()))
    return sorted(chosen)


def test_farthest_points_of_many_are_their_definition():
    """More than one block of distances."""
    points = draw(300, 6)
    expected = brute_force_farthest(points, 200)
    assert keep("farthest-point", points, 200).indices.tolist() == expected


@pytest.mark.parametrize("shift", [0, 0.1, 1e3])
def test_ties_of_distances_go_to_the_first_wherever_the_features_lie(shift):
    """A square and its centre, twice: centre, first corner, the opposite one, the next corners."""
    square = np.array([[0, 0], [1, 1], [-1, 1], [-1, -1], [1, -1]]) / 8
    points = np.concatenate([square, square]) + shift
    assert keep("farthest-point", points, 5).indices.tolist() == [0, 1, 2, 3, 4]


# threshold decay


def test_a_pass_keeps_what_is_farther_than_the_threshold():
    """Threshold 3, in order: 0, not 2, 4, not 5, 8; a second pass at 1.5 adds 2 first."""
    points = column(0, 2, 4, 5, 8)
    first = keep("threshold-decay", points, 3, threshold=3, decay=0.5)
    second = keep("threshold-decay", points, 4, threshold=3, decay=0.5)
    assert first.indices.tolist() == [0, 2, 4]
    assert second.indices.tolist() == [0, 1, 2, 4]


def test_a_distance_equal_to_the_threshold_is_not_farther():
    """Threshold 2: 0 and 4 (2 is not farther than 2), then at 1 the 2."""
    points = column(0, 2, 4)
    assert keep("threshold-decay", points, 2, threshold=2, decay=0.5).indices.tolist() == [0, 2]


def test_scores_of_threshold_decay_are_distances_to_the_nearest_other_kept():
    kept = keep("threshold-decay", column(0, 2, 4, 5, 8), 3, threshold=3, decay=0.5)
    np.testing.assert_allclose(kept.scores, [4, 2, 4, 1, 4], rtol=1e-12)


def brute_force_decay(points: np.ndarray, count: int, start: float, decay: float):
    """The definition, pass after pass: accepted indices in order, and the last threshold."""
    accepted, threshold = [0], start
    while True:
        for index, point in enumerate(points):
            gaps = np.linalg.norm(points[accepted] - point, axis=1)
            if len(accepted) < count and index not in accepted and (gaps > threshold).all():
                accepted.append(index)
        if len(accepted) == count:
            return accepted, threshold
        threshold *= decay


@pytest.mark.parametrize("start", [0.001, 1, 50])
@examples(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 20))
def test_threshold_decay_is_its_definition(start, seed, count):
    points = draw(25, seed=seed)
    expected, _ = brute_force_decay(points, count, start, 0.9)
    kept = keep("threshold-decay", points, count, threshold=start, decay=0.9)
    assert kept.indices.tolist() == sorted(expected)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 20))
def test_kept_ones_are_farther_apart_than_the_last_threshold(seed, count):
    points = draw(25, seed=seed)
    _, last = brute_force_decay(points, count, 5, 0.9)
    kept = keep("threshold-decay", points, count, threshold=5, decay=0.9)
    apart = distances(points[kept.indices])[~np.eye(count, dtype=bool)]
    assert apart.min() > last


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 20))
def test_without_a_threshold_it_starts_at_the_farthest_from_the_first(seed, count):
    points = draw(25, seed=seed)
    start = distances(points)[0].max()
    expected, _ = brute_force_decay(points, count, start, 0.9)
    kept = keep("threshold-decay", points, count, decay=0.9)
    assert kept.indices.tolist() == sorted(expected)


def test_threshold_decay_of_many_is_its_definition():
    """More than one block of distances."""
    points = draw(300, 6)
    expected, _ = brute_force_decay(points, 200, 4, 0.95)
    kept = keep("threshold-decay", points, 200, threshold=4)
    assert kept.indices.tolist() == sorted(expected)


@pytest.mark.parametrize(("threshold", "decay"), [(1e30, 0.5), (1e25, 0.9999), (1e-30, 0.9)])
def test_thresholds_far_from_all_distances_end(threshold, decay):
    """Passes without effect are not made one by one."""
    kept = keep("threshold-decay", draw(25), 20, threshold=threshold, decay=decay)
    assert len(kept.indices) == 20


@pytest.mark.parametrize("shift", [0, 0.1, 1e6])
def test_threshold_decay_refuses_copies(shift):
    """Ten candidates, three different: no threshold above zero accepts a fourth."""
    points = draw(3)[np.arange(10) % 3] + shift
    message = (
        "candidates that differ from each other must be at least 4, got 3; raise filter.candidates"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        keep("threshold-decay", points, 4)
    of_select = message.replace("raise filter.candidates", "choose another filter.name")
    with pytest.raises(ValueError, match=f"^{of_select}$"):
        keep("threshold-decay", points, 4, candidates=1.0)
