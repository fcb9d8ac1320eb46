"""Facts of the schedule: nobody waits while there is other work, every lineage gets its turn."""

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
