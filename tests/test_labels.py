"""Facts of class shares and of the whole numbers of images that follow them."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.planning.class_counts import (
    class_weights,
    multinomial,
    quota,
    stratified,
    whole_weights,
)

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any)
FEW = st.lists(st.integers(0, 50), min_size=1, max_size=3).filter(any)
TOTALS = st.integers(0, 500)


def shares(weights: list[int]) -> list[Fraction]:
    return [Fraction(weight, sum(weights)) for weight in weights]


def test_shares_are_exact() -> None:
    """With c = 0.1, pool 1 : 2, focal the first: 0.1 + 0.9 / 3 = 0.4 and 0.6."""
    assert class_weights([1, 2], concentration=0.1, focal=[0]) == [2, 3]


def test_focal_classes_share_the_concentration_alike() -> None:
    """With c = 0.5 on two of three equal classes: 1/4 + 1/6 each, and 1/6."""
    weights = class_weights([7, 7, 7], concentration=0.5, focal=[0, 2])
    assert shares(weights) == [Fraction(5, 12), Fraction(1, 6), Fraction(5, 12)]


@given(COUNTS)
def test_without_concentration_shares_are_those_of_the_pool(counts) -> None:
    """Then q = p, as fractions."""
    weights = class_weights(counts, concentration=0, focal=[])
    assert shares(weights) == shares(counts)


@given(COUNTS)
def test_full_concentration_leaves_other_classes_nothing(counts) -> None:
    """Even one that the pool does not have gets it all."""
    focal = len(counts) - 1
    weights = class_weights(counts, concentration=1, focal=[focal])
    assert weights == [0] * focal + [1]


@given(COUNTS, st.integers(0, 1000), st.data())
def test_shares_mix_the_focal_ones_with_the_pools(counts, thousandths, data) -> None:
    """On focal classes q = c / F + (1 - c) p, elsewhere (1 - c) p; c is the decimal as written."""
    focal = data.draw(st.lists(st.sampled_from(range(len(counts))), min_size=1, unique=True))
    c = Fraction(thousandths, 1000)
    weights = class_weights(counts, concentration=thousandths / 1000, focal=focal)
    expected = [
        (1 - c) * p + (c / len(focal) if k in focal else 0) for k, p in enumerate(shares(counts))
    ]
    assert shares(weights) == expected


@given(st.lists(st.fractions(0, 5), min_size=1, max_size=6).filter(any))
def test_whole_weights_are_the_least_in_proportion(parts) -> None:
    """Equal shares, and no common divisor."""
    weights = whole_weights(parts)
    assert shares(weights) == [part / sum(parts) for part in parts]
    assert math.gcd(*weights) == 1  # in whole numbers of any size


@given(COUNTS, TOTALS)
def test_a_quota_sums_to_the_total(weights, total) -> None:
    """No image is lost or made up."""
    counts = quota(weights, total)
    assert counts.sum() == total
    assert counts.min() >= 0


@given(COUNTS, TOTALS)
def test_a_quota_gives_a_class_without_weight_nothing(weights, total) -> None:
    """Whatever the total."""
    assert not quota(weights, total)[np.array(weights) == 0].any()


@given(COUNTS, TOTALS)
def test_one_more_image_is_one_more_of_one_class(weights, total) -> None:
    """No class ever loses an image to a larger total: smaller alphas take subsets."""
    more = quota(weights, total + 1) - quota(weights, total)
    assert sorted(more) == [0] * (len(weights) - 1) + [1]


@given(FEW, TOTALS)
def test_a_quota_of_few_classes_is_within_one_of_its_share(weights, total) -> None:
    """Webster's method stays within the quota for three classes (Balinski and Young, 1982)."""
    for count, share in zip(quota(weights, total), shares(weights), strict=True):
        assert abs(int(count) - share * total) < 1


@given(COUNTS, st.integers(0, 20))
def test_shares_that_are_whole_are_met(weights, times) -> None:
    """A total that all weights divide is split exactly."""
    assert quota(weights, sum(weights) * times).tolist() == [w * times for w in weights]


@given(COUNTS, TOTALS)
def test_a_quota_rounds_all_shares_at_one_divisor(weights, total) -> None:
    """Webster's condition: no image that was left out has a lower rank than one that was kept."""
    counts = quota(weights, total).tolist()
    pairs = [(n, w) for n, w in zip(counts, weights, strict=True) if w > 0]
    kept = [Fraction(2 * n - 1, w) for n, w in pairs if n]
    left = [Fraction(2 * n + 1, w) for n, w in pairs]
    assert not kept or max(kept) <= min(left)


@pytest.mark.parametrize(
    ("weights", "total", "expected"),
    [
        ([1, 1, 1], 4, [2, 1, 1]),
        ([1, 1, 1], 5, [2, 2, 1]),
        ([1, 3], 2, [1, 1]),  # the first's first and the second's second have the rank 1
        ([3, 1], 2, [2, 0]),
        ([7, 21], 2, [1, 1]),
    ],
)
def test_ties_go_to_the_lower_class(weights, total, expected) -> None:
    """In exact arithmetic: 3/21 and 1/7 are equal, whatever binary fractions make of them."""
    assert quota(weights, total).tolist() == expected


def test_a_quota_of_large_numbers_is_exact() -> None:
    """A pool of a million images in 102 classes, whose shares have large denominators."""
    counts = [k + 1 for k in range(102)]
    weights = class_weights(counts, concentration=0.123456789, focal=[5])
    found = quota(weights, 1_000_000)
    exact = np.array([float(share * 1_000_000) for share in shares(weights)])
    assert found.sum() == 1_000_000
    assert np.abs(found - exact).max() < 1


@given(COUNTS, st.integers(0, 200), st.integers(0, 3))
def test_drawn_classes_of_fewer_images_are_those_of_the_first(weights, total, seed) -> None:
    """One more image is one more of one class: each draw depends on seed and number alone."""
    more = multinomial(weights, total + 1, (seed, 1, 0)) - multinomial(weights, total, (seed, 1, 0))
    assert sorted(more) == [0] * (len(weights) - 1) + [1]


@given(COUNTS, st.integers(0, 300))
def test_a_class_without_weight_is_never_drawn(weights, total) -> None:
    """First, last or in between."""
    counts = multinomial(weights, total, (0, 1, 0))
    assert counts.sum() == total
    assert not counts[np.array(weights) == 0].any()


def test_drawn_counts_have_the_shares_mean_and_variance() -> None:
    """Of 2,000 draws of 50 with p = 0.2, 0.3, 0.5: n p and n p (1 - p), within four errors."""
    weights, n, runs = [2, 3, 5], 50, 2000
    counts = np.array([multinomial(weights, n, (seed, 1, 0)) for seed in range(runs)])
    p = np.array(weights) / 10
    variance = n * p * (1 - p)
    assert np.abs(counts.mean(axis=0) - n * p).max() < 4 * np.sqrt(variance.max() / runs)
    assert counts.var(axis=0) == pytest.approx(variance, rel=4 * np.sqrt(2 / runs))


def test_generations_and_members_draw_apart() -> None:
    """Each has its own random numbers."""
    seeds = [(0, 1, 0), (0, 2, 0), (0, 1, 1), (1, 1, 0)]
    drawn = {tuple(multinomial([1] * 10, 100, seed)) for seed in seeds}
    assert len(drawn) == 4


WEIGHTS = st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(any)


def focal_of(weights: list[int], data: st.DataObject) -> list[int]:
    return data.draw(st.lists(st.sampled_from(range(len(weights))), unique=True))


@given(WEIGHTS, TOTALS, st.data())
def test_a_stratified_focal_total_is_within_half_an_image_of_its_share(weights, total, data):
    """The rest is too, and within each Webster's method divides what there is."""
    focal = focal_of(weights, data)
    counts = stratified(weights, total, focal=focal)
    share = Fraction(sum(weights[k] for k in focal) * total, sum(weights))
    assert counts.sum() == total
    assert abs(int(counts[focal].sum()) - share) <= Fraction(1, 2)
    for inside in (True, False):
        stratum = [w if (k in focal) is inside else 0 for k, w in enumerate(weights)]
        chosen = np.array([k for k in range(len(weights)) if (k in focal) is inside], int)
        if any(stratum):
            within = quota(stratum, int(counts[chosen].sum()))
            assert counts[chosen].tolist() == within[chosen].tolist()
        else:
            assert not counts[chosen].any()


@given(WEIGHTS, TOTALS, st.data())
def test_a_larger_total_takes_no_image_from_a_stratified_class(weights, total, data) -> None:
    """It adds one to one class."""
    focal = focal_of(weights, data)
    smaller, larger = (stratified(weights, n, focal=focal) for n in (total, total + 1))
    assert sorted((larger - smaller).tolist()) == [0] * (len(weights) - 1) + [1]


@pytest.mark.parametrize("concentration", [0.0, 0.1, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("focal", [[0], [0, 1, 2, 3]])
def test_stratified_counts_grow_at_each_of_700_sizes(concentration, focal) -> None:
    """Of nine classes of different sizes."""
    weights = class_weights(range(1, 10), concentration=concentration, focal=focal)
    counts = [stratified(weights, total, focal=focal) for total in range(1, 701)]
    assert (np.diff(counts, axis=0) >= 0).all()


def test_focal_classes_that_are_rounded_one_by_one_take_images_away() -> None:
    """Nine equal classes, four of them focal, c = 0.75: at 151 of the 699 steps to a larger size.

    All four round up at the same sizes, so the others lose what one more image does not pay for.
    """
    focal = [0, 1, 2, 3]
    weights = class_weights([10] * 9, concentration=0.75, focal=focal)

    def one_by_one(total: int) -> np.ndarray:
        each = round(Fraction(weights[0] * total, sum(weights)))
        counts = quota([0 if k in focal else w for k, w in enumerate(weights)], total - 4 * each)
        counts[focal] = each
        return counts

    steps = np.diff([one_by_one(total) for total in range(1, 701)], axis=0)
    assert np.sum((steps < 0).any(axis=1)) == 151


def test_many_classes_get_the_concentration_that_was_set() -> None:
    """102 classes, c = 0.75, 510 new images (alpha 0.5 of 1020): Webster's method realises 0.80.

    The other classes have 1.25 images each, which it rounds to one; the focal class gets the rest.
    """
    weights = class_weights([10] * 102, concentration=0.75, focal=[7])
    realised = {
        method.__name__: (Fraction(int(counts[7]), 510) - Fraction(1, 102)) / Fraction(101, 102)
        for method, counts in (
            (quota, quota(weights, 510)),
            (stratified, stratified(weights, 510, focal=[7])),
        )
    }
    assert round(float(realised["quota"]), 4) == 0.8
    assert abs(realised["stratified"] - Fraction(3, 4)) <= Fraction(1, 2) / 510 * Fraction(102, 101)
