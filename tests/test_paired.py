"""Tests of paired differences: other libraries as oracles, and how often each of them is wrong."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from analysis.statistics.paired import (
    MOST_SEEDS,
    POWER,
    Unit,
    compare,
    holm,
    seeds_needed,
    seeds_to_decide,
    signed_rank_p,
    slope,
    verdict,
)
from analysis.statistics.seeds import estimate_mean

DRAWS = 2_000
MOST_WRONG = 0.062
"""5 % and two and a half standard errors of 2,000 draws."""


def by_seed(values) -> dict[tuple, float]:
    return {(seed,): float(value) for seed, value in enumerate(values)}


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_t_test_is_that_of_scipy(n):
    rng = np.random.default_rng(n)
    one, other = rng.normal(0.5, 1, n), rng.normal(0, 1, n)
    found, expected = compare(by_seed(one - other), confidence=0.9), stats.ttest_rel(one, other)
    low, high = expected.confidence_interval(0.9)

    assert found.p == pytest.approx(expected.pvalue)
    assert found.estimate.mean == pytest.approx((low + high) / 2)
    assert found.estimate.half_width(0.9) == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("margin", [0.1, 0.5, 2.0])
def test_equivalence_is_that_of_statsmodels(margin):
    rng = np.random.default_rng(3)
    one, other = rng.normal(0.1, 1, 8), rng.normal(0, 1, 8)
    found = compare(by_seed(one - other), confidence=0.95, margin=margin)
    assert found.equivalence_p == pytest.approx(ttost_paired(one, other, -margin, margin)[0])


def test_holm_is_that_of_statsmodels():
    p_values = np.random.default_rng(0).uniform(size=20) ** 3
    assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_what_was_not_tested_counts_as_no_look():
    assert holm([0.01, math.nan, 0.03]) == pytest.approx([0.02, math.nan, 0.03], nan_ok=True)


@pytest.mark.parametrize(
    "values",
    [(1.0, 2.5, -0.5, 3.0), (1.0, 1.0, -1.0, 2.0, 3.0), (0.5, 0.5, 0.5), (1.0, 0.0, 2.0)],
    ids=["distinct", "ties", "all equal", "a zero"],
)
def test_ranks_are_counted_over_all_signs(values):
    """A zero has no sign and is left out, as Wilcoxon did."""
    nonzero = np.array([value for value in values if value])
    ranks = stats.rankdata(np.abs(nonzero))
    centre = ranks.sum() / 2
    signs = itertools.product([0, 1], repeat=len(ranks))
    sums = np.array([ranks @ np.array(chosen) for chosen in signs])
    seen = abs(ranks @ (nonzero > 0) - centre)
    expected = np.mean(np.abs(sums - centre) >= seen - 1e-9)
    assert signed_rank_p(values) == pytest.approx(expected)


def test_three_seeds_cannot_have_a_small_rank_p():
    found = compare(by_seed([5.0, 6.0, 7.5]), confidence=0.95)
    assert found.rank_p == found.least_rank_p == 0.25


@pytest.mark.parametrize("effect", [0.2, 0.7, 1.5, 4.0])
def test_the_seeds_needed_are_those_of_statsmodels(effect):
    values = np.array([-1.0, 0.0, 1.0]) + effect  # a standard deviation of 1
    needed = TTestPower().solve_power(effect, power=POWER, alpha=0.05)
    assert seeds_needed(values.tolist(), level=0.05) == math.ceil(max(2, np.max(needed)))


def test_nobody_has_as_many_seeds_as_no_difference_needs():
    assert seeds_needed([-1.0, 1.0], level=0.05) is None
    assert seeds_needed([-1.0, 1.0001], level=0.05) is None
    assert seeds_needed([0.0, 1e-308], level=0.05) is None
    assert MOST_SEEDS == 1_000


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [0.5, 0.5], [2.0]])
def test_differences_that_do_not_vary_have_no_p_value(values):
    """They are no draw of anything; filters that drop nothing differ by zero in every seed."""
    found = compare(by_seed(values), confidence=0.95, margin=1.0)
    assert math.isnan(found.p)
    assert math.isnan(found.equivalence_p)
    assert found.num_needed is None


def test_several_splits_are_crossed_with_the_seeds():
    """One split says nothing about others, so equal seeds of two splits are not independent."""
    values: dict[Unit, float] = {
        (seed, split): float(seed + 10 * split) for seed in range(3) for split in range(3)
    }
    found = compare(values, confidence=0.95)
    alone = estimate_mean(list(values.values()))
    assert found.estimate.half_width(0.95) > 1.5 * alone.half_width(0.95)
    assert found.least_rank_p == 0.25
    assert found.num_needed is None


def test_a_slope_is_that_of_a_line():
    assert slope({1: 2.0, 2: 2.5, 3: 3.0}) == pytest.approx(0.5)
    assert slope({1: 0.0, 2: 3.0, 4: 1.0}) == pytest.approx(np.polyfit([1, 2, 4], [0, 3, 1], 1)[0])
    assert math.isnan(slope({1: 2.0}))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_of_differences_and_slopes_cover_the_truth(n):
    """Of DRAWS 95 % intervals, 93 to 97 % contain it; lineages of one seed have much in common."""
    rng, generations = np.random.default_rng(n), np.arange(1, 5)
    shared = rng.normal(0, 3, (DRAWS, n, 1))
    own = np.cumsum(rng.normal(0, 1, (2, DRAWS, n, 4)), axis=-1)
    arm, control = shared + own + np.array([0.7, 0.2]).reshape(2, 1, 1, 1) * generations
    at_end = (arm - control)[..., -1]
    line = generations - generations.mean()
    slopes = (arm - control) @ line / (line @ line)
    one = dict(zip(range(1, 5), (arm - control)[0, 0].tolist(), strict=True))
    assert slope(one) == pytest.approx(slopes[0, 0])
    for values, truth in ((at_end, 0.5 * 4), (slopes, 0.5)):
        found = [estimate_mean(draw) for draw in values.tolist()]
        covered = np.mean([abs(each.mean - truth) <= each.half_width(0.95) for each in found])
        assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [3, 5, 10])
def test_equivalence_is_rarely_claimed_of_a_difference_as_large_as_the_margin(n):
    values = np.random.default_rng(n).normal(1.0, 0.3, (DRAWS, n))
    wrong = np.mean([estimate_mean(draw).equivalence_p(1.0) < 0.05 for draw in values.tolist()])
    assert wrong <= MOST_WRONG


def test_any_false_finding_among_many_looks_is_rare():
    """Six settings against one control of the same seeds, none of which differs."""
    rng = np.random.default_rng(0)
    arms, control = rng.normal(0, 1, (DRAWS, 6, 5)), rng.normal(0, 1, (DRAWS, 1, 5))
    looks = [
        [estimate_mean(values).p_value() for values in draw] for draw in (arms - control).tolist()
    ]
    assert np.mean([min(holm(draw)) < 0.05 for draw in looks]) <= MOST_WRONG
    assert np.mean([min(draw) < 0.05 for draw in looks]) > 0.15


@pytest.mark.parametrize(
    ("expected", "mean", "found"),
    [
        ("greater", 2.0, "supported"),
        ("greater", 1.0, "undecided"),
        ("greater", -2.0, "refuted"),
        ("smaller", -2.0, "supported"),
        ("smaller", 2.0, "refuted"),
        ("equal", 0.0, "supported"),
        ("equal", 1.0, "undecided"),
        ("equal", -2.0, "refuted"),
    ],
)
def test_a_verdict_is_where_the_interval_is(expected, mean, found):
    values = [mean - 0.1, mean, mean + 0.1]
    assert verdict(estimate_mean(values), expected, 1.0, 0.95) == found


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("expected", ["greater", "smaller", "equal"])
def test_verdicts_are_rarely_wrong_where_it_is_closest(n, expected):
    """At the edge of what is expected, both supported and refuted are wrong."""
    edge = -1.0 if expected == "smaller" else 1.0
    values = np.random.default_rng(n).normal(edge, 0.5, (DRAWS, n)).tolist()
    found = [verdict(estimate_mean(draw), expected, 1.0, 0.95) for draw in values]
    assert np.mean([each != "undecided" for each in found]) <= MOST_WRONG


@pytest.mark.parametrize(("expected", "margin"), [("greater", 0.0), ("equal", 1.0)])
def test_as_many_seeds_as_are_said_decide(expected, margin):
    """Of values with the same mean and deviation; one seed less does not."""
    values = [0.1, 0.5, 0.9]
    needed = seeds_to_decide(values, expected, margin, 0.95)
    for n, decides in ((needed, True), (needed - 1, False)):
        spread = np.arange(n) - (n - 1) / 2
        same = 0.5 + 0.4 * spread / np.std(spread, ddof=1)
        assert (verdict(estimate_mean(same), expected, margin, 0.95) != "undecided") == decides
