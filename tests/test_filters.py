"""Facts of filters: small cases, brute force, closed forms, properties, and what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import hypergeom
from sklearn.neighbors import NearestNeighbors

from model import products, separation
from model.config import FilterConfig
from model.curation import choose
from model.filters import (
    FILTERS,
    Selection,
    check_filter,
    check_reward_class,
    feature_settings,
    num_candidates,
    select,
    unused_settings,
)
from model.probe import fit_probe

SPATIAL = ("farthest-point", "threshold-decay", "near-duplicates")
UNORDERED = ("typicality", "confidence", "farthest-point")
"""Filters that look at neither the order of the candidates nor at random numbers."""


def draw(num_images: int, dimensions: int = 3, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_images, dimensions))


def draw_real(num_images: int = 60, *, seed: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping classes: (N, 3) features and (N,) labels."""
    labels = np.arange(num_images) % 2
    return draw(num_images, seed=seed) + 2 * labels[:, None], labels


def column(*numbers: float) -> np.ndarray:
    """Features of one dimension."""
    return np.array(numbers, np.float64)[:, None]


def keep(
    name: str,
    candidates: np.ndarray,
    count: int,
    real: np.ndarray | None = None,
    *,
    real_labels: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    class_names: tuple[str, ...] = ("a", "b"),
    seed: int = 0,
    **settings,
) -> Selection:
    if real is None:
        real, real_labels = draw_real()
    return select(
        name,
        candidates,
        count,
        real,
        real_labels=real_labels,
        labels=labels,
        num_classes=2,
        class_names=class_names,
        rng=np.random.default_rng(seed),
        config=FilterConfig(name=name, **settings),
    )


def distances(features: np.ndarray) -> np.ndarray:
    """(K, K) Euclidean distances of all pairs."""
    return np.linalg.norm(features[:, None] - features[None], axis=2)


# all filters


@pytest.mark.parametrize("name", FILTERS)
@examples(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 7), more=st.integers(0, 9))
def test_as_many_are_kept_as_asked_each_once_and_in_order(name, seed, count, more):
    """And every candidate has a finite score."""
    candidates = draw(2 * count + more, seed=seed)
    kept = keep(name, candidates, count, choices=2, threshold=1e-6, seed=seed)
    assert kept.indices.dtype == np.int64
    assert len(kept.indices) == count
    assert (np.diff(kept.indices) > 0).all()
    assert np.isin(kept.indices, np.arange(len(candidates))).all()
    assert kept.scores.shape == (len(candidates),)
    assert np.isfinite(kept.scores).all()


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_gives_the_same_answer_every_time(name):
    candidates = draw(40)
    first, second = (keep(name, candidates, 10) for _ in range(2))
    np.testing.assert_array_equal(first.indices, second.indices)
    np.testing.assert_array_equal(first.scores, second.scores)


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in ("random", "reward")])
def test_only_random_and_reward_look_at_random_numbers(name):
    candidates = draw(40)
    first, second = (keep(name, candidates, 10, seed=seed) for seed in range(2))
    np.testing.assert_array_equal(first.indices, second.indices)


@pytest.mark.parametrize("name", ["random", "reward"])
def test_random_and_reward_follow_their_random_numbers(name):
    candidates = draw(40)
    first, second = (keep(name, candidates, 10, seed=seed) for seed in range(2))
    assert first.indices.tolist() != second.indices.tolist()


@pytest.mark.parametrize("name", UNORDERED)
@examples(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_candidates_does_not_matter(name, seed):
    """The same images are kept, with the same scores but for rounding (no two are tied)."""
    candidates = draw(30, seed=seed)
    order = np.random.default_rng(seed).permutation(30)
    first, second = keep(name, candidates, 8), keep(name, candidates[order], 8)
    assert sorted(order[second.indices]) == first.indices.tolist()
    np.testing.assert_allclose(second.scores, first.scores[order], rtol=1e-9)


@pytest.mark.parametrize("name", UNORDERED)
def test_of_equal_candidates_the_first_are_kept(name):
    candidates = np.tile(draw(1), (6, 1))
    assert keep(name, candidates, 2).indices.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["typicality", *SPATIAL])
def test_moving_all_features_changes_nothing(name):
    """A million away, where features keep ten digits: the same images, scores to a millionth."""
    candidates, (real, _) = draw(30), draw_real()
    first = keep(name, candidates, 8, real)
    second = keep(name, candidates + 1e6, 8, real + 1e6)
    np.testing.assert_array_equal(first.indices, second.indices)
    np.testing.assert_allclose(second.scores, first.scores, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "reward"])
def test_all_candidates_can_be_kept(name):
    kept = keep(name, draw(9), 9, threshold=1e-6)
    assert kept.indices.tolist() == list(range(9))


@pytest.mark.parametrize("name", FILTERS)
def test_the_input_is_left_alone(name):
    candidates, (real, labels) = draw(40), draw_real()
    before = candidates.copy(), real.copy()
    keep(name, candidates, 10, real, real_labels=labels)
    np.testing.assert_array_equal(candidates, before[0])
    np.testing.assert_array_equal(real, before[1])


@pytest.mark.parametrize("name", ["typicality", *SPATIAL])
def test_blocks_change_nothing(name, monkeypatch):
    """One row of distances at a time gives the same images, and scores but for rounding."""
    candidates = draw(40, 5)
    real = draw(50, 5, seed=1)
    whole = keep(name, candidates, 12, real)
    monkeypatch.setattr(products, "BLOCK_ELEMENTS", 1)
    monkeypatch.setattr(products, "KEPT_BYTES", 0)
    monkeypatch.setattr(separation, "LOOK_AHEAD", 1)
    parts = keep(name, candidates, 12, real)
    np.testing.assert_array_equal(whole.indices, parts.indices)
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-12)


# none and random


def test_none_keeps_the_first():
    kept = keep("none", np.zeros((5, 0)), 3, np.zeros((0, 0)))
    assert (kept.indices.tolist(), kept.scores.tolist()) == ([0, 1, 2], [0] * 5)


def test_random_keeps_every_candidate_equally_often():
    """Of 6 candidates 2, 1200 times: each 400 times, within 4.5 binomial deviations."""
    counts = np.zeros(6)
    for seed in range(1200):
        counts[keep("random", np.zeros((6, 0)), 2, np.zeros((0, 0)), seed=seed).indices] += 1
    assert counts.sum() == 2400
    assert np.abs(counts - 400).max() < 4.5 * np.sqrt(1200 * (1 / 3) * (2 / 3))


# typicality


def test_typical_ones_are_nearest_to_the_kth_real_image():
    """Real images 0, 1 and 10; the second nearest is 1, 1, 2 and 9 away from 0, 1, 2 and 10."""
    kept = keep("typicality", column(10, 2, 1, 0), 2, column(0, 1, 10), nearest_k=2)
    assert kept.scores.tolist() == [9, 2, 1, 1]
    assert kept.indices.tolist() == [2, 3]


@pytest.mark.parametrize("nearest_k", [1, 5, 25])
def test_typicality_is_the_distance_of_scikit_learn(nearest_k):
    candidates, real = draw(70, 8).astype(np.float32), draw(25, 8, seed=1).astype(np.float32)
    expected = NearestNeighbors(n_neighbors=nearest_k, algorithm="brute").fit(
        real.astype(np.float64)
    )
    furthest = expected.kneighbors(candidates.astype(np.float64))[0][:, -1]
    kept = keep("typicality", candidates, 20, real, nearest_k=nearest_k)
    np.testing.assert_allclose(kept.scores, furthest, rtol=1e-12)
    assert sorted(furthest[kept.indices]) == sorted(furthest)[:20]


def test_a_copy_of_a_real_image_is_exactly_at_distance_zero():
    real = draw(20, seed=1) + 1000
    assert keep("typicality", real[3:4], 1, real, nearest_k=1).scores.tolist() == [0]


# confidence


def test_confidence_is_the_largest_probability_of_the_probe():
    candidates, (real, labels) = draw(30), draw_real()
    probabilities = fit_probe(real, labels, num_classes=2).probabilities(candidates).max(axis=1)
    kept = keep("confidence", candidates, 10, real, real_labels=labels)
    np.testing.assert_array_equal(kept.scores, probabilities)
    assert sorted(probabilities[kept.indices]) == sorted(probabilities)[-10:]


def test_confidence_of_an_asked_class_is_its_probability():
    candidates, (real, labels) = draw(30), draw_real()
    asked = np.repeat([0, 1], 15)
    probabilities = fit_probe(real, labels, num_classes=2).probabilities(candidates)
    kept = keep("confidence", candidates, 10, real, real_labels=labels, labels=asked)
    np.testing.assert_array_equal(kept.scores, probabilities[np.arange(30), asked])


def test_probabilities_that_round_to_one_are_ranked_by_their_odds():
    """Along the line through both means, ever farther beyond one of them."""
    real, labels = draw_real()
    direction = np.ones(3)
    candidates = np.array([30, 50, 20, 40])[:, None] * direction
    kept = keep("confidence", candidates, 2, real, real_labels=labels)
    assert (kept.scores == 1).all()
    assert kept.indices.tolist() == [1, 3]


def test_log_odds_are_those_of_the_probabilities():
    candidates, (real, labels) = draw(30), draw_real()
    probe = fit_probe(real, labels, num_classes=2)
    p = probe.probabilities(candidates)[:, 1]
    odds = probe.log_odds(candidates, np.ones(30, np.int64))
    np.testing.assert_allclose(odds, np.log(p / (1 - p)), rtol=1e-7)


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


@pytest.mark.parametrize(("threshold", "decay"), [(1e200, 0.5), (1e300, 0.9999), (1e-300, 0.9)])
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


# near-duplicates


REAL = column(0, 10, 20, 30)
"""Neighbours are 10 apart: half of it, 5, is the default distance."""


def test_near_duplicates_of_real_and_kept_images_are_dropped():
    """4 is near 0, 36 is at 6; 40 is 4 from 36, 45 is 9 from it, and 5 on the edge is kept."""
    kept = keep("near-duplicates", column(4, 36, 40, 45, 5), 3, REAL)
    assert kept.indices.tolist() == [1, 3, 4]


def test_scores_of_near_duplicates_are_in_typical_distances():
    """To real: 4, 6, 10, 15, 5; to other kept ones 36 and 45: 9, 4, 9 (and 31 or more)."""
    kept = keep("near-duplicates", column(4, 36, 40, 45, 5), 3, REAL)
    np.testing.assert_allclose(kept.scores, [0.1, 0.6, 0.4, 0.9, 0.5], rtol=1e-12)


def test_the_threshold_of_near_duplicates_counts_in_typical_distances():
    """0.45 x 10: 4 is still dropped, 40 is 4 from 36; 0.35 x 10 keeps both."""
    points = column(4, 36, 40, 45)
    strict = keep("near-duplicates", points, 2, REAL, threshold=0.45)
    loose = keep("near-duplicates", points, 4, REAL, threshold=0.35)
    assert strict.indices.tolist() == [1, 3]
    assert loose.indices.tolist() == [0, 1, 2, 3]


def test_real_images_that_are_there_twice_do_not_shrink_the_typical_distance():
    real = np.repeat(REAL, 3, axis=0)
    kept = keep("near-duplicates", column(4, 36, 40, 45, 5), 3, real)
    assert kept.indices.tolist() == [1, 3, 4]


@examples(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_near_duplicates_are_their_definition(seed):
    """Candidate by candidate, with distances of all pairs."""
    points, real = draw(30, seed=seed), draw(20, seed=1)
    among = distances(real) + np.diag(np.full(20, np.inf))
    least = 0.5 * np.median(among.min(axis=1))
    accepted: list[int] = []
    for index, point in enumerate(points):
        others = np.concatenate([real, points[accepted]])
        if np.linalg.norm(others - point, axis=1).min() >= least:
            accepted.append(index)
    kept = keep("near-duplicates", points, len(accepted), real)
    assert kept.indices.tolist() == accepted


def test_too_few_left_are_counted():
    message = (
        "candidates that are no near-duplicates must be at least 4, got 3; raise filter.candidates"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        keep("near-duplicates", column(4, 36, 40, 45, 5), 4, REAL)


def test_copies_are_dropped_however_small_the_threshold():
    points = np.repeat(draw(3), 2, axis=0) + 1e6
    kept = keep("near-duplicates", points, 3, draw(9, seed=1), threshold=1e-300)
    assert kept.indices.tolist() == [0, 2, 4]


def test_equal_real_images_have_no_typical_distance():
    with pytest.raises(ValueError, match=r"^real features must differ, got 4 equal ones; choose"):
        keep("near-duplicates", column(4, 36), 1, np.ones((4, 1)))


# reward


def test_a_choice_has_the_probability_of_the_softmax():
    """Rewards 0, 0.1 and 0.3 at temperature 0.2, 20,000 times; within 4.5 binomial errors."""
    rewards = np.array([0, 0.1, 0.3])
    chosen = choose(np.tile(rewards, (20_000, 1)), 0.2, np.random.default_rng(0))
    shares, expected = np.bincount(chosen, minlength=3) / 20_000, softmax(rewards / 0.2)
    assert (np.abs(shares - expected) < 4.5 * np.sqrt(expected * (1 - expected) / 20_000)).all()


@pytest.mark.parametrize("temperature", [1e-9, 1e-320])
def test_at_temperature_zero_the_best_is_chosen(temperature):
    rewards = np.random.default_rng(1).random((500, 4))
    chosen = choose(rewards, temperature, np.random.default_rng(0))
    np.testing.assert_array_equal(chosen, rewards.argmax(axis=1))


def test_at_temperature_zero_equals_are_chosen_at_random():
    """Two of three are best: half each of 4000, within 4.5 binomial errors."""
    chosen = choose(np.tile([1.0, 0, 1], (4000, 1)), 1e-320, np.random.default_rng(0))
    counts = np.bincount(chosen, minlength=3)
    assert counts[1] == 0
    assert abs(counts[0] - 2000) < 4.5 * np.sqrt(1000)


def two_points(num_good: int, num_bad: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates at the means of two well separated classes, and the real images of both.

    The probe's probability of class b is 1 at the good ones and 0 at the bad ones, to 1e-12.
    """
    labels = np.arange(60) % 2
    real = draw(60, seed=3) + 20 * labels[:, None]
    means = np.stack([real[labels == c].mean(axis=0) for c in range(2)])
    return means[np.repeat([1, 0], [num_good, num_bad])], real, labels


@pytest.mark.parametrize("temperature", [0.5, 2])
def test_the_better_of_two_rewards_is_chosen_as_often_as_the_softmax_says(temperature):
    """A group of 4 of 30 good and 90 bad ones has j good ones by the hypergeometric law.

    One of them is chosen with probability j w / (j w + 4 - j), w = exp(1 / temperature). 300 draws
    of 30 groups; their errors are at most binomial, since groups draw without replacement.
    """
    points, real, labels = two_points(30, 90)
    j = np.arange(5)
    weight = np.exp(1 / temperature)
    law = hypergeom(120, 30, 4).pmf(j)
    expected = (law * j * weight / (j * weight + 4 - j)).sum()
    good = [
        keep(
            "reward",
            points,
            30,
            real,
            real_labels=labels,
            reward_class="b",
            temperature=temperature,
            seed=seed,
        ).indices
        < 30
        for seed in range(300)
    ]
    assert abs(np.mean(good) - expected) < 4.5 * np.sqrt(expected * (1 - expected) / 9000)


def test_every_candidate_is_offered_once_where_groups_use_up_all():
    """The only good one of 120 is then always offered, and wins at temperature 0."""
    points, real, labels = two_points(1, 119)
    settings = {"real_labels": labels, "reward_class": "b", "temperature": 1e-9}
    kept = [keep("reward", points, 30, real, seed=seed, **settings) for seed in range(20)]
    assert all(0 in selection.indices for selection in kept)


def test_the_reward_of_a_class_is_its_probability():
    candidates, (real, labels) = draw(30), draw_real()
    probabilities = fit_probe(real, labels, num_classes=2).probabilities(candidates)
    kept = keep("reward", candidates, 5, real, real_labels=labels, reward_class="b")
    np.testing.assert_array_equal(kept.scores, probabilities[:, 1])


@pytest.mark.parametrize("labels", [None, np.repeat([0, 1], 15)])
def test_without_a_class_the_reward_is_the_confidence(labels):
    candidates = draw(30)
    rewards = keep("reward", candidates, 5, labels=labels).scores
    confidence = keep("confidence", candidates, 5, labels=labels).scores
    np.testing.assert_array_equal(rewards, confidence)


def test_reward_needs_all_groups_filled():
    message = r"^candidates must be at least filter.choices=4 for each of 3 kept, got 11; raise"
    with pytest.raises(ValueError, match=message):
        keep("reward", draw(11), 3)


# what is refused


@pytest.mark.parametrize("name", FILTERS)
def test_more_than_there_are_cannot_be_kept(name):
    message = "^keep must be at most the 4 candidates, got 5; raise filter.candidates$"
    with pytest.raises(ValueError, match=message):
        keep(name, draw(4), 5)


def test_a_negative_number_cannot_be_kept():
    with pytest.raises(ValueError, match=r"^keep must be at least 0, got -1$"):
        keep("none", draw(4), -1)


@pytest.mark.parametrize("name", [name for name, entry in FILTERS.items() if entry.needs_features])
@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (column(1, np.nan, np.inf), "candidates features must be finite, got 2 nan or inf of 3;"),
        (np.zeros((3, 0)), r"candidates features must be \(N, D\) without a zero, got \(3, 0\)"),
        (np.zeros(3), r"candidates features must be \(N, D\) without a zero, got \(3,\)"),
    ],
)
def test_bad_features_are_refused(name, candidates, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        keep(name, candidates, 1)


@pytest.mark.parametrize("name", [name for name, entry in FILTERS.items() if entry.needs_real])
@pytest.mark.parametrize(
    ("real", "message"),
    [
        (np.zeros((0, 3)), r"real features must be \(N, D\) without a zero, got \(0, 3\)"),
        (np.full((2, 3), np.nan), "real features must be finite, got 6 nan or inf of 6"),
        (np.zeros((2, 4)), "real features must have the candidates' 3 dimensions, got 4"),
    ],
)
def test_bad_real_features_are_refused(name, real, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        keep(name, draw(9), 1, real, real_labels=np.arange(len(real)))


def test_more_neighbours_than_real_images_are_refused():
    message = "^filter.nearest_k must be at most the 4 real images, got 5; lower it$"
    with pytest.raises(ValueError, match=message):
        keep("typicality", draw(9), 1, draw(4))


@pytest.mark.parametrize("name", ["confidence", "reward"])
def test_a_probe_needs_classes(name):
    message = f"^real_labels must be given with filter.name={name}, got None; choose another"
    with pytest.raises(ValueError, match=message):
        keep(name, draw(9), 1, draw(9))


@pytest.mark.parametrize("name", ["confidence", "reward"])
def test_a_probe_needs_images_of_every_class(name):
    message = (
        "^a probe's images must include every class, got none of b; "
        "give more images, or choose another filter.name$"
    )
    with pytest.raises(ValueError, match=message):
        keep(name, draw(9), 1, draw(9), real_labels=np.zeros(9, np.int64))


@pytest.mark.parametrize("name", ["confidence", "reward"])
def test_asked_classes_that_do_not_exist_are_refused(name):
    with pytest.raises(ValueError, match=r"^labels must be in \[0, 2\), .* got 2$"):
        keep(name, draw(9), 1, labels=np.full(9, 2))


def test_a_misspelt_reward_class_has_a_suggestion():
    config = FilterConfig(name="reward", reward_class="dasy")
    message = "^filter.reward_class must be one of daisy, rose, got 'dasy'; did you mean 'daisy'"
    with pytest.raises(ValueError, match=message):
        check_reward_class(config, ("daisy", "rose"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": 0.5}, "candidates must be a finite number of at least 1, got 0.5"),
        ({"candidates": np.inf}, "candidates must be a finite number of at least 1, got inf"),
        ({"resolution": 16}, "resolution must be at least 32, got 16"),
        ({"nearest_k": 0}, "nearest_k must be at least 1, got 0"),
        ({"threshold": 0.0}, "threshold must be a finite number above 0, got 0.0"),
        ({"decay": 1.0}, r"decay must be in \(0, 1\), got 1.0"),
        ({"choices": 1}, "choices must be at least 2, got 1"),
        ({"temperature": 0.0}, "temperature must be a finite number above 0, got 0.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^filter.{message}$"):
        FilterConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "typicalty"}, "name must be one of none, .* did you mean 'typicality'"),
        (
            {"name": "random"},
            "candidates must be above 1 with filter.name=random, which would keep all, got 1.0$",
        ),
        (
            {"name": "reward", "candidates": 3.5},
            "candidates must be at least filter.choices=4 with filter.name=reward, got 3.5$",
        ),
        (
            {"name": "reward", "candidates": 4.0, "reward_class": "a"},
            "reward_class must be None with a conditional model, .* got 'a'; leave it out$",
        ),
        (
            {"name": "confidence", "candidates": 2.0},
            "name must be a filter that needs no classes where .* got 'confidence'; choose",
        ),
        (
            {"name": "typicality", "candidates": 2.0, "extractor": "pixel"},
            "extractor must be one of .* got 'pixel'; did you mean 'pixels'",
        ),
        (
            {"name": "typicality", "candidates": 2.0, "extractor": "pixels", "precision": "bf16"},
            "precision must be fp32 for filter.extractor pixels, .* got 'bf16'; leave it out$",
        ),
    ],
)
def test_filters_that_cannot_be_are_refused_before_anything_runs(settings, message):
    with pytest.raises(ValueError, match=f"^filter.{message}"):
        check_filter(FilterConfig(**settings), has_classes=False, conditional=True)


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_can_be(name):
    config = FilterConfig(name=name, candidates=4.0)
    check_filter(config, has_classes=True, conditional=False)


def test_random_asks_nothing_of_an_extractor():
    config = FilterConfig(name="random", candidates=2.0, extractor="none-such")
    check_filter(config, has_classes=False, conditional=False)


# numbers of candidates, and settings


@pytest.mark.parametrize(
    ("candidates", "count", "expected"),
    [(1.1, 10, 11), (1.1, 11, 13), (4.0, 25, 100), (1.0, 7, 7), (2.5, 0, 0)],
)
def test_candidates_are_the_decimal_product_rounded_up(candidates, count, expected):
    """1.1 x 10 is 11, though the float 1.1 is above it."""
    config = FilterConfig(name="random", candidates=candidates)
    assert num_candidates(config, count) == expected


def test_without_a_filter_no_more_are_generated_than_kept():
    assert num_candidates(FilterConfig(candidates=4.0), 10) == 10


def test_features_are_those_of_the_settings():
    config = FilterConfig(extractor="random-conv", weights="w", resolution=32, precision="bf16")
    metrics = feature_settings(config)
    assert (metrics.extractor, metrics.weights) == ("random-conv", "w")
    assert (metrics.resolution, metrics.precision) == (32, "bf16")


def test_settings_without_effect_are_named():
    config = FilterConfig(name="reward", candidates=4.0, decay=0.5, choices=3, extractor="pixels")
    assert unused_settings(config) == ("decay",)


def test_no_setting_of_a_filter_has_an_effect_without_one():
    config = FilterConfig(candidates=4.0, extractor="pixels", nearest_k=3)
    assert unused_settings(config) == ("candidates", "extractor", "nearest_k")
