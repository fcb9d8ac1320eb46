"""Facts of pool rules: sizes, origins, and what each keeps and drops."""

from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pool_steps import after, evolve
from tiny_sweep import CARD, make_lineage

from sweep.config import PoolConfig
from sweep.planning.nodes import NodePlan, plan_lineage
from sweep.planning.pool import Segment, only_real, pool_origins, pool_size
from sweep.planning.rules import POOL_RULES, Step, rule_of, scaled_size

ALPHAS = st.floats(0, 4).map(lambda alpha: round(alpha, 3))
SIZES = st.integers(2, 2000)


def chain(num_train: int, generations: int, **pool) -> list[NodePlan]:
    """A lineage's nodes on `num_train` real images."""
    settings = {f"pool.{name}": value for name, value in pool.items()}
    config = make_lineage({**settings, "generations": generations})
    return plan_lineage(config, replace(CARD, num_train=num_train))


@pytest.mark.parametrize(
    ("alpha", "sizes"),
    [
        (0.5, [1020, 1530, 2295, 3442]),  # 1.5 x 2295 = 3442.5: new are 1147.5, half to even 1148
        (1.0, [1020, 2040, 4080, 8160]),
        (2.0, [1020, 3060, 9180, 27540]),
    ],
)
def test_the_papers_pools_grow_by_one_plus_alpha(alpha: float, sizes: list[int]) -> None:
    """1020 flowers; an odd pool at alpha 0.5 rounds its new images half to even."""
    expected = [*sizes[:3], 2295 + 1148] if alpha == 0.5 else sizes
    assert [node.num_images for node in chain(1020, 4, alpha=alpha)] == expected


@pytest.mark.parametrize(
    ("alpha", "shares"),
    [(1.0, "1 .5 .25 .125"), (0.5, "1 .667 .444 .296"), (2.0, "1 .333 .111 .037")],
)
def test_real_data_are_one_over_one_plus_alpha_to_the_generations_before(alpha, shares) -> None:
    """The paper's composition, to three digits."""
    nodes = chain(1020, 4, alpha=alpha)
    found = [pool_origins(node.pool)["0"] / node.num_images for node in nodes]
    assert [round(share, 3) for share in found] == [float(word) for word in shares.split()]


@given(ALPHAS, SIZES)
def test_new_images_are_alpha_times_the_pool_half_to_even(alpha: float, size: int) -> None:
    """On the decimal number that was written, not on its binary neighbour."""
    exact = Decimal(repr(alpha)) * size
    assert scaled_size(alpha, size) == int(exact.to_integral_value(ROUND_HALF_EVEN))


def test_a_half_is_rounded_to_the_even_number() -> None:
    """0.5 x 3 = 1.5 and 0.5 x 5 = 2.5 are both 2; 0.1 x 25 = 2.5, which no binary float holds."""
    assert [scaled_size(0.5, 3), scaled_size(0.5, 5), scaled_size(0.1, 25)] == [2, 2, 2]


@given(ALPHAS, SIZES, st.integers(1, 6))
def test_a_grown_pool_is_the_last_one_and_its_new_images(alpha, num_train, generations) -> None:
    """Segment by segment: nothing is ever lost."""
    nodes = chain(num_train, generations, alpha=alpha)
    for last, grown in pairwise(nodes):
        assert grown.pool[: len(last.pool)] == last.pool
        assert grown.num_images == last.num_images + last.num_new


@given(ALPHAS, SIZES, st.integers(1, 6), st.sampled_from(["grow", "replace"]))
def test_origins_sum_to_the_pool(alpha, num_train, generations, rule) -> None:
    """Every image has one origin."""
    pool = {"rule": rule, "alpha": alpha if rule == "grow" else None}
    for node in chain(num_train, generations, **pool):
        assert sum(pool_origins(node.pool).values()) == node.num_images


@given(ALPHAS, SIZES)
def test_growing_never_loses_real_data(alpha: float, num_train: int) -> None:
    """Its share falls, its number stays."""
    assert {pool_origins(n.pool)["0"] for n in chain(num_train, 5, alpha=alpha)} == {num_train}


@given(ALPHAS, SIZES, st.integers(1, 6))
def test_pools_stay_within_half_an_image_of_one_plus_alpha(alpha, num_train, generations) -> None:
    """|N_n - N_1 (1 + alpha)^(n-1)| is at most half the sum of (1 + alpha)^k: no drift."""
    growth = 1 + Fraction(repr(alpha))
    slack = Fraction(0)
    for n, node in enumerate(chain(num_train, generations, alpha=alpha)):
        assert abs(node.num_images - num_train * growth**n) <= slack
        slack = slack * growth + Fraction(1, 2)


@given(SIZES, st.integers(2, 6))
def test_replacing_keeps_the_first_pools_size_and_no_real_data(num_train, generations) -> None:
    """Each pool is the last model's images alone."""
    for last, new in pairwise(chain(num_train, generations, rule="replace", alpha=None)):
        assert pool_origins(new.pool) == {str(last.generation): num_train}


@given(ALPHAS, ALPHAS, SIZES)
def test_first_samples_of_a_smaller_alpha_are_a_prefix_of_a_larger_ones(a, b, num_train) -> None:
    """One stream, and ranges that start at 0."""
    small, large = sorted((a, b))
    assume(scaled_size(small, num_train) > 0)
    first, second = (chain(num_train, 2, alpha=alpha)[1].pool[-1] for alpha in (small, large))
    assert isinstance(first, Segment)
    assert isinstance(second, Segment)
    assert first.source == second.source
    assert first.start == second.start == 0
    assert first.stop <= second.stop


@given(SIZES)
def test_alpha_zero_adds_nothing(num_train: int) -> None:
    """The pool stays; the generation still tells the models apart."""
    first, second = chain(num_train, 2, alpha=0)
    assert first.pool == second.pool
    assert first.key != second.key


@pytest.mark.parametrize("rule", POOL_RULES)
def test_alpha_is_required_where_it_is_used_and_refused_elsewhere(rule: str) -> None:
    """A setting without meaning would be read as one."""
    uses = POOL_RULES[rule].uses_alpha
    wrong = PoolConfig(rule=rule, alpha=None if uses else 1.0)
    with pytest.raises(ValueError, match=rf"pool.alpha must be (set|None) with pool.rule={rule}"):
        rule_of(wrong)
    assert rule_of(replace(wrong, alpha=1.0 if uses else None)) is POOL_RULES[rule]


def test_a_misspelt_rule_is_an_error_with_a_suggestion() -> None:
    """The convention's own example."""
    with pytest.raises(ValueError, match=r"pool.rule must be one of .*'grwo'; did you mean 'grow'"):
        rule_of(PoolConfig(rule="grwo", alpha=1.0))


@st.composite
def steps_of_any_rule(draw: Any) -> list[Step]:
    """Steps of a random lineage of a random rule."""
    name = draw(st.sampled_from(list(POOL_RULES)))
    rule = POOL_RULES[name]
    initial = draw(st.integers(1, 60))
    settings: dict[str, Any] = {"rule": name, "initial_images": initial}
    if rule.uses_alpha:
        settings["alpha"] = draw(ALPHAS)
    if rule.has_reserve:
        settings["fresh_images"] = draw(st.none() | st.integers(1, 30))
        settings["exhausted"] = "recycle"
    num_train = initial + draw(st.integers(1, 60))
    generations = draw(st.integers(2, 5))
    return evolve(PoolConfig(**settings), num_train=num_train, generations=generations)


def expected_sizes(step: Step) -> tuple[int, int]:
    """|S_n| and |D_{n+1}| as the table of docs/design.md has them."""
    config, first, current = step.config, pool_size(step.first), pool_size(step.current)
    alpha = Decimal(str(config.alpha or 0))
    fresh = config.fresh_images or first

    def times(size: int) -> int:
        return int((alpha * size).to_integral_value(ROUND_HALF_EVEN))

    return {
        "grow": (times(current), current + times(current)),
        "replace": (first, first),
        "accumulate": (first, current + first),
        "subsample": (first, first),
        "select": (first, first),
        "mix": (times(first), first + times(first)),
        "fresh": (times(fresh), times(fresh) + fresh),
    }[config.rule]


@given(steps_of_any_rule())
def test_sizes_are_those_of_the_table(steps) -> None:
    """New images and next pool, of every rule, rounded half to even."""
    for step in steps:
        assert (pool_size(step.new), pool_size(after(step))) == expected_sizes(step)


@given(steps_of_any_rule())
def test_every_image_has_one_origin(steps) -> None:
    """Origins sum to the pool, and none is unknown of random subsets, also in place of a filter."""
    for step in steps:
        origins = pool_origins(after(step))
        assert sum(origins.values()) == pool_size(after(step))
        assert "-1" not in origins


@given(steps_of_any_rule())
def test_new_images_enter_whole_but_where_a_subset_is_drawn(steps) -> None:
    """All of S_n is in D_{n+1}."""
    for step in steps:
        entered = pool_origins(after(step)).get(str(step.generation), 0)
        whole = step.config.rule not in ("subsample", "select")
        assert entered == pool_size(step.new) if whole else entered <= pool_size(step.new)


@given(steps_of_any_rule())
def test_no_image_comes_from_the_future(steps) -> None:
    """D_{n+1} holds images of V_1 ... V_n, and real ones."""
    for step in steps:
        assert all(0 <= int(origin) <= step.generation for origin in pool_origins(after(step)))


@given(steps_of_any_rule())
def test_real_images_stay_where_the_rule_keeps_them(steps) -> None:
    """Grow, accumulate and mix hold D_1 for ever; replace holds nothing of it."""
    for step in steps:
        if step.config.rule in ("grow", "accumulate", "mix"):
            assert only_real(after(step)) == step.first
        if step.config.rule == "replace":
            assert only_real(after(step)) == ()


@given(steps_of_any_rule())
def test_growing_and_accumulating_lose_nothing(steps) -> None:
    """D_{n+1} begins with D_n."""
    for step in steps:
        if step.config.rule in ("grow", "accumulate"):
            assert after(step)[: len(step.current)] == step.current


@given(steps_of_any_rule())
def test_only_subsets_and_growing_pools_hold_images_of_older_models(steps) -> None:
    """In replace, mix and fresh what V_1 ... V_{n-1} made is gone."""
    for step in steps:
        if step.config.rule in ("replace", "mix", "fresh"):
            assert set(pool_origins(after(step))) <= {"0", str(step.generation)}
