"""Facts of the time that several trials take: sharing, chains, and the bounds of any schedule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_schedule import forests, make_chains

from sweep.estimate.makespan import longest_chain, makespan


def test_lineages_that_share_nothing_run_side_by_side() -> None:
    """Of 3 + 1 and 2 + 2 seconds each takes 4; in one slot they take 8."""
    chains = make_chains(a="a1 a2", b="b1 b2")
    seconds = {"a1": 3.0, "a2": 1.0, "b1": 2.0, "b2": 2.0}
    assert [makespan(chains, seconds, num_slots=n) for n in (1, 2, 3)] == [8.0, 4.0, 4.0]


def test_a_shared_model_is_trained_once_while_the_others_wait() -> None:
    """V_1 takes 5 s; then three lineages have one second each: 5 + 1 in three slots, 5 + 2 in 2."""
    chains = make_chains(a="v1 a2", b="v1 b2", c="v1 c2")
    seconds = {"v1": 5.0, "a2": 1.0, "b2": 1.0, "c2": 1.0}
    assert [makespan(chains, seconds, num_slots=n) for n in (1, 2, 3)] == [8.0, 7.0, 6.0]


def test_a_lineage_with_more_work_left_goes_first() -> None:
    """Longest first, 4 beside 1 + 3, where shortest first would take 3 + 4."""
    chains = make_chains(a="a1", b="b1", c="c1 c2 c3 c4")
    seconds = {"a1": 1.0, "b1": 3.0, "c1": 1.0, "c2": 1.0, "c3": 1.0, "c4": 1.0}
    assert makespan(chains, seconds, num_slots=2) == 4.0


def test_what_is_done_takes_no_time() -> None:
    """A node without seconds."""
    chains = make_chains(a="v1 a2", b="v1 b2")
    seconds = {"a2": 2.0, "b2": 3.0}
    assert [makespan(chains, seconds, num_slots=n) for n in (1, 2)] == [5.0, 3.0]


def test_a_trial_waits_for_a_model_that_another_one_is_training() -> None:
    """Of members, one may be shared though the one before it is not: b waits from 1 to 5."""
    chains = make_chains(a="a1 m a3", b="b1 m b3")
    seconds = {"a1": 1.0, "m": 4.0, "a3": 1.0, "b1": 2.0, "b3": 1.0}
    assert makespan(chains, seconds, num_slots=2) == 6.0


def test_nothing_missing_takes_no_time() -> None:
    """Whatever the slots."""
    assert makespan(make_chains(a="a1"), {}, num_slots=2) == 0.0


@given(st.data(), forests(), st.integers(1, 9))
def test_the_time_lies_between_the_longest_lineage_and_the_work(data, chains, num_slots) -> None:
    """Nor is it less than the work by the slots; times are whole seconds, whose sums are exact."""
    every = sorted({key for chain in chains for key in chain.nodes})
    depth = data.draw(st.integers(1, 3))
    seconds = {k: float(data.draw(st.integers(0, 9))) for k in every if len(k) >= depth}
    found = makespan(chains, seconds, num_slots=num_slots)
    assert longest_chain(chains, seconds) <= found <= sum(seconds.values())
    assert found >= sum(seconds.values()) / num_slots


@given(st.data(), forests())
def test_one_slot_takes_the_whole_work(data, chains) -> None:
    """It never waits."""
    every = sorted({key for chain in chains for key in chain.nodes})
    seconds = {key: float(data.draw(st.integers(0, 9))) for key in every}
    assert makespan(chains, seconds, num_slots=1) == sum(seconds.values())


@given(st.data(), forests())
def test_a_slot_for_each_lineage_takes_as_long_as_the_longest(data, chains) -> None:
    """In a tree every lineage starts as soon as the model it shares is there."""
    every = sorted({key for chain in chains for key in chain.nodes})
    seconds = {key: float(data.draw(st.integers(1, 9))) for key in every}
    found = makespan(chains, seconds, num_slots=len(chains))
    assert found == pytest.approx(longest_chain(chains, seconds))
