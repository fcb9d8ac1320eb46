"""Facts of pool rules that draw: random subsets, first pools, and fresh real images."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pool_steps import after, evolve
from tiny_sweep import CARD, make_lineage

from sweep.config import PoolConfig
from sweep.planning.nodes import plan_lineage
from sweep.planning.pool import (
    Pool,
    Segment,
    Selected,
    only_real,
    pool_origins,
    pool_rows,
    pool_size,
)
from sweep.planning.rules import Step, first_pool, fresh_images, num_fresh


def everything_of(step: Step) -> int:
    return pool_size(step.first + step.past + step.new)


def test_a_subset_is_drawn_of_all_images_there_have_been() -> None:
    """D_1 and S_1 ... S_n, none twice."""
    config = PoolConfig(rule="subsample", initial_images=10)
    for step in evolve(config, num_train=10, generations=5):
        (selected,) = after(step)
        assert isinstance(selected, Selected)
        assert pool_size(selected.of) == everything_of(step) == 10 * (step.generation + 1)


def test_a_subsets_composition_is_uniform_over_everything() -> None:
    """Of 300 seeds of 20 images of D_4: a quarter of each origin, within four standard errors.

    The count of an origin is hypergeometric: 20 of 80, of which 20 are of the origin, with
    variance 20 (1/4) (3/4) (60/79).
    """
    config, seeds = PoolConfig(rule="subsample", initial_images=20), 300
    found: Counter[str] = Counter()
    for seed in range(seeds):
        step = evolve(config, num_train=20, generations=4, seed=seed)[-1]
        found.update(pool_origins(after(step)))
    error = np.sqrt(20 / 4 * 3 / 4 * 60 / 79 / seeds)
    means = [found[str(origin)] / seeds for origin in range(4)]
    assert means == pytest.approx([5] * 4, abs=4 * error)


def test_subsets_of_generations_and_seeds_differ() -> None:
    """Each is drawn anew."""
    config = PoolConfig(rule="subsample", initial_images=20)
    pools = [
        pool_rows(after(step), list(range(20))).labels.tolist()
        for seed in (0, 1)
        for step in evolve(config, num_train=20, generations=3, seed=seed)
    ]
    assert len({str(pool) for pool in pools}) == 4


def real_positions(pool: Pool) -> list[int]:
    """Train images of a pool, in order."""
    return [i for segment in only_real(pool) for i in range(segment.start, segment.stop)]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 40), st.integers(2, 6))
def test_fresh_images_are_never_those_of_the_first_pool(initial, each, reserve, generations):
    """Recycled or not."""
    config = PoolConfig(
        rule="fresh", alpha=1, initial_images=initial, fresh_images=each, exhausted="recycle"
    )
    for step in evolve(config, num_train=initial + reserve, generations=generations):
        assert min(real_positions(after(step))) >= initial


@given(st.integers(1, 20), st.integers(1, 20), st.integers(2, 6))
def test_fresh_images_are_used_once_until_none_are_left(initial, each, generations) -> None:
    """A reserve of just as many as are needed is used up, each image once, in order."""
    config = PoolConfig(rule="fresh", alpha=1, initial_images=initial, fresh_images=each)
    num_train = initial + each * (generations - 1)
    steps = evolve(config, num_train=num_train, generations=generations)
    used = [i for step in steps for i in real_positions(after(step))]
    assert used == list(range(initial, num_train))


@given(st.integers(1, 20), st.integers(1, 30), st.integers(1, 40), st.integers(2, 6))
def test_recycled_images_begin_again_with_the_first(initial, each, reserve, generations) -> None:
    """Image i of all that are taken is number i modulo the reserve."""
    config = PoolConfig(
        rule="fresh", alpha=1, initial_images=initial, fresh_images=each, exhausted="recycle"
    )
    steps = evolve(config, num_train=initial + reserve, generations=generations)
    used = [i for step in steps for i in real_positions(after(step))]
    assert used == [initial + i % reserve for i in range(each * (generations - 1))]


def test_an_exhausted_reserve_is_an_error_of_the_plan() -> None:
    """Three generations need two times ten of fifteen."""
    changes = {"pool.rule": "fresh", "pool.alpha": 1.0, "pool.initial_images": 10}
    config = make_lineage({**changes, "generations": 3})
    with pytest.raises(
        ValueError, match=r"got 10 for each of 2 generations from a reserve of 15; lower"
    ):
        plan_lineage(config, replace(CARD, num_train=25, train_labels=[0, 1] * 12 + [0]))


def test_fresh_images_are_as_many_as_the_first_pool_unless_told() -> None:
    """D_1's size is the default."""
    for given_number, expected in ((None, 7), (3, 3)):
        config = PoolConfig(rule="fresh", alpha=1, initial_images=7, fresh_images=given_number)
        (step,) = evolve(config, num_train=20, generations=2)
        assert num_fresh(step) == pool_size(fresh_images(step)) == expected


def test_a_first_pool_may_be_part_of_the_data() -> None:
    """The first images of the permutation."""
    (real,) = first_pool(PoolConfig(alpha=1, initial_images=7), source="f", num_train=20)
    assert real == Segment(kind="real", source="f", start=0, stop=7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "grow", "initial_images": 21}, "pool.initial_images must be at most the 20"),
        (
            {"rule": "fresh", "initial_images": 20},
            "pool.initial_images must be below the 20 train images with pool.rule=fresh, got 20; "
            "the remaining ones are the reserve of fresh images",
        ),
        (
            {"rule": "fresh"},
            "pool.initial_images must be below the 20 train images with pool.rule=fresh, got None",
        ),
        (
            {"rule": "mix", "fresh_images": 5},
            "pool.fresh_images must be None with pool.rule=mix, which takes no fresh images, got 5",
        ),
        (
            {"rule": "grow", "exhausted": "recycle"},
            "pool.exhausted must be error with pool.rule=grow, which takes no fresh images",
        ),
    ],
)
def test_a_pool_that_cannot_be_is_one_line(settings, message) -> None:
    """It names the setting."""
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared)
        evolve(PoolConfig(alpha=1, **settings), num_train=20, generations=2)
    assert str(error.value).startswith(message)
