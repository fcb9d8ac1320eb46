"""Facts of the schedule: nobody waits while there is other work, every lineage gets its turn."""

import sys
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.planning.schedule import Chain, Schedule


@st.composite
def forests(draw: st.DrawFn) -> list[Chain]:
    """Lineages of random trees: a node is named by all choices before it, as keys are."""
    chains = []
    for number in range(draw(st.integers(1, 7))):
        path, nodes = "", []
        for _ in range(draw(st.integers(1, 4))):
            path += draw(st.sampled_from("ab"))
            nodes.append(path)
        costs = [float(draw(st.integers(1, 9))) for _ in nodes]
        chains.append(Chain(id=f"lineage{number}", nodes=nodes, costs=costs))
    return chains


class Machine:
    """Slots that compute lineages node by node, in an order that hypothesis chooses."""

    def __init__(self, chains: list[Chain], slots: int, done: set[str]) -> None:
        self.schedule = Schedule(chains, set(done))
        self.chains = {chain.id: chain for chain in chains}
        self.slots = slots
        self.running: list[str] = []
        self.handed_out: list[str] = []
        self.computed: list[str] = []

    def fill(self) -> None:
        """Start lineages as Tune does, until none may start or no slot is free."""
        while len(self.running) < self.slots and not self.schedule.is_exhausted:
            lineage = self.schedule.take()
            if lineage is None:
                self.check_idle()
                return
            self.running.append(lineage)
            self.handed_out.append(lineage)

    def check_idle(self) -> None:
        """A slot idles only where each waiting lineage's next node is a running one's."""
        busy = {
            key
            for lineage in self.running
            for key in self.chains[lineage].nodes
            if key not in self.schedule.done
        }
        for lineage in self.chains.keys() - set(self.handed_out):
            missing = [k for k in self.chains[lineage].nodes if k not in self.schedule.done]
            assert missing, "a lineage without missing nodes waits"
            assert missing[0] in busy

    def advance(self, lineage: str, *, fails: bool) -> None:
        """Compute the lineage's next node, or end it."""
        missing = [k for k in self.chains[lineage].nodes if k not in self.schedule.done]
        if missing and not fails:
            self.computed.append(missing[0])
            self.schedule.finish_node(missing[0])
        if fails or len(missing) <= 1:
            self.schedule.end(lineage)
            self.running.remove(lineage)


@given(st.data(), forests(), st.integers(1, 4))
def test_no_slot_idles_while_a_free_lineage_exists(data, chains, slots) -> None:
    """Checked whenever nothing is handed out, with trials that fail at any moment."""
    every = sorted({key for chain in chains for key in chain.nodes})
    done = set(data.draw(st.lists(st.sampled_from(every))))
    machine = Machine(
        chains, slots, {k for k in done if all(k[:n] in done for n in range(1, len(k)))}
    )
    machine.fill()
    while machine.running:
        lineage = data.draw(st.sampled_from(machine.running))
        machine.advance(lineage, fails=data.draw(st.booleans()))
        machine.fill()
    assert sorted(machine.handed_out) == sorted(machine.chains)


@given(st.data(), forests(), st.integers(1, 4))
def test_every_lineage_is_handed_out_once_and_every_node_computed_once(data, chains, slots) -> None:
    """Where none fails."""
    machine = Machine(chains, slots, set())
    machine.fill()
    while machine.running:
        machine.advance(data.draw(st.sampled_from(machine.running)), fails=False)
        machine.fill()
    assert sorted(machine.handed_out) == sorted(machine.chains)
    assert sorted(machine.computed) == sorted({key for chain in chains for key in chain.nodes})


def make_chains(**nodes: str) -> list[Chain]:
    return [
        Chain(id=name, nodes=text.split(), costs=[1.0] * len(text.split()))
        for name, text in nodes.items()
    ]


def test_most_work_left_goes_first() -> None:
    """Finished nodes are no work."""
    schedule = Schedule(make_chains(short="a", done="b c d", long="e f"), {"b", "c"})
    assert [schedule.take(), schedule.take(), schedule.take()] == ["long", "short", "done"]


def test_a_lineage_waits_for_the_node_it_shares_with_a_running_one() -> None:
    """Two trials would train one model."""
    schedule = Schedule(make_chains(first="v1 a2", second="v1 b2"))
    schedule.take()
    assert schedule.take() is None


def test_a_lineage_starts_as_soon_as_the_shared_node_is_done() -> None:
    """The other lineage goes on beside it."""
    schedule = Schedule(make_chains(first="v1 a2", second="v1 b2"))
    schedule.take()
    schedule.finish_node("v1")
    assert schedule.take() == "second"


def test_a_lineage_waits_for_a_node_that_a_running_one_is_about_to_compute() -> None:
    """Whoever follows behind would only catch up and wait."""
    schedule = Schedule(make_chains(long="v1 v2 a3", short="v1 v2 b3"), {"v1"})
    schedule.take()
    assert schedule.take() is None


def test_a_failed_lineage_frees_those_that_waited_for_it() -> None:
    """One of them computes the shared node."""
    schedule = Schedule(make_chains(first="v1 a2", second="v1 b2"))
    schedule.end(schedule.take() or "")
    assert schedule.take() == "second"


def test_a_lineage_that_is_put_back_is_handed_out_again() -> None:
    """At its old place, and those that waited for it still do."""
    schedule = Schedule(make_chains(first="v1 a2", second="v1 b2"))
    schedule.put_back(schedule.take() or "")
    assert schedule.take() == "first"
    assert schedule.take() is None


def test_a_node_that_others_claim_is_left_to_them() -> None:
    """Another driver on the same store."""
    schedule = Schedule(make_chains(first="v1 a2"))
    assert schedule.take(claimed=["v1"]) is None
    assert schedule.take() == "first"


def test_a_lineage_whose_models_are_all_done_is_still_handed_out() -> None:
    """Its metrics may be missing."""
    schedule = Schedule(make_chains(first="v1"), {"v1"})
    assert schedule.take() == "first"


def test_nothing_is_left_when_all_are_handed_out() -> None:
    """Running ones included."""
    schedule = Schedule(make_chains(first="v1"))
    assert not schedule.is_exhausted
    schedule.take()
    assert schedule.is_exhausted


class SimpleSchedule:
    """The decisions that Schedule must make, without its queues: it looks at every lineage."""

    def __init__(self, chains: list[Chain], done: set[str]) -> None:
        self.waiting = {chain.id: chain for chain in chains}
        self.running: dict[str, Chain] = {}
        self.done = done

    def missing(self, chain: Chain) -> dict[str, float]:
        pairs = zip(chain.nodes, chain.costs, strict=True)
        return {key: cost for key, cost in pairs if key not in self.done}

    def take(self, claimed: Collection[str]) -> str | None:
        busy = set(claimed).union(*map(self.missing, self.running.values()))
        free = [c for c in self.waiting.values() if next(iter(self.missing(c)), None) not in busy]
        if not free:
            return None
        chosen = max(free, key=lambda chain: sum(self.missing(chain).values()))
        self.running[chosen.id] = self.waiting.pop(chosen.id)
        return chosen.id


@given(forests(), st.randoms(use_true_random=False))
def test_the_queues_decide_as_a_look_at_every_lineage_does(chains, random) -> None:
    """Over random grids, claims of others, finished nodes (of any order) and ended trials."""
    keys = sorted({key for chain in chains for key in chain.nodes})
    done = set(random.sample(keys, random.randint(0, len(keys) // 2)))
    schedule, simple = Schedule(chains, set(done)), SimpleSchedule(chains, set(done))

    while simple.waiting:
        if random.random() < 0.5:
            key = random.choice(keys)
            schedule.finish_node(key)
            simple.done.add(key)
        if simple.running and random.random() < 0.5:
            ended = random.choice(sorted(simple.running))
            schedule.end(ended)
            del simple.running[ended]
        claimed = set(random.sample(keys, random.randint(0, min(2, len(keys)))))
        assert schedule.take(claimed) == simple.take(claimed)
    assert schedule.is_exhausted


def own_models(number: int) -> list[str]:
    """No lineage shares a model."""
    return [f"{number}/{generation}" for generation in range(4)]


def one_first_model(number: int) -> list[str]:
    """All lineages wait for one model."""
    return ["V_1", *own_models(number)[1:]]


def a_first_model_for_ten(number: int) -> list[str]:
    """As a grid of ten alphas and many seeds."""
    return [f"V_1 of {number // 10}", *own_models(number)[1:]]


def executed_lines(work: Callable[[], object]) -> int:
    """The number of lines of Python that some work executes."""
    num_lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal num_lines
        num_lines += event == "line"
        return trace

    usual = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(usual)
    return num_lines


def schedule_all(nodes: Callable[[int], list[str]], num_lineages: int) -> None:
    """Hand out all lineages to four slots, asking again after each node as Tune does."""
    chains = {
        str(n): Chain(id=str(n), nodes=nodes(n), costs=[1.0 + n % 7] * 4)
        for n in range(num_lineages)
    }
    schedule, running = Schedule(chains.values()), list[str]()
    while running or not schedule.is_exhausted:
        while len(running) < 4 and (lineage := schedule.take({"another driver's"})):
            running.append(lineage)
        for lineage in list(running):
            missing = [key for key in chains[lineage].nodes if key not in schedule.done]
            if missing:
                schedule.finish_node(missing[0])
            else:
                schedule.end(lineage)
                running.remove(lineage)


@pytest.mark.parametrize("nodes", [own_models, one_first_model, a_first_model_for_ten])
def test_the_work_of_a_suggestion_does_not_grow_with_the_grid(nodes) -> None:
    """Lines executed per lineage: as many for 1,000 lineages as for 100."""
    few = executed_lines(lambda: schedule_all(nodes, 100)) / 100
    many = executed_lines(lambda: schedule_all(nodes, 1000)) / 1000

    assert many < 1.1 * few
