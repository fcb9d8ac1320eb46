"""Facts that hold for all filters, of the simpler ones, and of what is refused beforehand."""

import numpy as np
import pytest
from filtering import column, distances, draw, draw_real, keep
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from model.config import DataConfig, FilterConfig
from model.data.datasets import load_dataset
from model.features import products
from model.filters import spread
from model.filters.table import (
    FILTERS,
    check_candidates,
    check_filter,
    feature_settings,
    num_candidates,
    unused_settings,
)

SPATIAL = ("farthest-point", "threshold-decay", "near-duplicates")
UNORDERED = ("typicality", "confidence", "farthest-point")
"""Filters that look at neither the order of the candidates nor at random numbers."""


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
    monkeypatch.setattr(spread, "LOOK_AHEAD", 1)
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


def test_digits_are_more_typical_than_digits_with_shuffled_pixels():
    """Of held-out digits and as many shuffled ones, all that are kept are digits."""
    dataset = load_dataset(DataConfig(name="digits"))
    real = dataset.images[dataset.train[:500]].reshape(500, -1)
    digits = dataset.images[dataset.reference[:50]].reshape(50, -1)
    shuffled = digits[:, np.random.default_rng(0).permutation(64)]
    kept = keep("typicality", np.concatenate([shuffled, digits]).astype(np.float32), 40, real)
    assert (kept.indices >= 50).all()


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
        "candidates that are not near-duplicates must be at least 4, got 3; raise filter.candidates"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        keep("near-duplicates", column(4, 36, 40, 45, 5), 4, REAL)


def test_copies_are_dropped_however_small_the_threshold():
    points = np.repeat(draw(3), 2, axis=0) + 1e6
    kept = keep("near-duplicates", points, 3, draw(9, seed=1), threshold=1e-30)
    assert kept.indices.tolist() == [0, 2, 4]


def test_equal_real_images_have_no_typical_distance():
    with pytest.raises(
        ValueError, match=r"^real features must not all be equal, got 4 equal ones; choose"
    ):
        keep("near-duplicates", column(4, 36), 1, np.ones((4, 1)))


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
            {"name": "reward", "candidates": 4.0, "reward_class": "a"},
            "reward_class must be None with a conditional model, .* got 'a'; leave it out$",
        ),
        (
            {"name": "confidence", "candidates": 2.0},
            "name must be a filter that needs no classes if .* got 'confidence'; choose",
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


def test_a_filter_needs_more_candidates_than_it_keeps():
    for name, count, rule in (("random", 1.0, "above 1"), ("reward", 3.5, "at least filter.choic")):
        with pytest.raises(ValueError, match=rf"^filter.candidates must be {rule}.* got {count}$"):
            check_candidates(FilterConfig(name=name, candidates=count))


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
