"""Facts of the searcher: asked as Tune asks it, it keeps every slot at work that can be."""

import heapq
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.search import Searcher

from sweep.planning.schedule import Chain, Schedule
from sweep.store.store import Store, open_store
from sweep.tune.searcher import LineageSearcher

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


def make_chain(name: str, cost: float = 1.0) -> Chain:
    """The lineage whose nodes are the beginnings of its name: ab is a, then ab."""
    nodes = [name[:length] for length in range(1, len(name) + 1)]
    return Chain(id=name, nodes=nodes, costs=[cost] * len(nodes))


def make_searcher(
    names: list[str], store: Store, done: frozenset[str] = frozenset()
) -> LineageSearcher:
    return LineageSearcher(Schedule([make_chain(name) for name in names], set(done)), store)


def report(searcher: LineageSearcher, trial: str, node: str) -> None:
    """A trial's result, as Tune passes it on: flat, without the configuration."""
    searcher.on_trial_result(
        trial, {"node": node, "generation": len(node), "training_iteration": 1}
    )


def test_a_suggestion_names_a_lineage(store):
    assert make_searcher(["ab"], store).suggest("trial") == {"lineage": "ab", "silences": {}}


def test_a_lineage_waits_for_the_model_it_shares(store):
    """Ac begins with a, which ab is about to train."""
    searcher = make_searcher(["ab", "ac"], store)
    searcher.suggest("first")

    assert searcher.suggest("second") is None


def test_a_lineage_starts_when_the_shared_model_is_reported(store):
    searcher = make_searcher(["ab", "ac"], store)
    searcher.suggest("first")
    report(searcher, "first", "a")

    assert searcher.suggest("second") == {"lineage": "ac", "silences": {}}


def test_a_lineage_starts_when_the_trial_it_waited_for_fails(store):
    """Whoever waited trains the shared model itself."""
    searcher = make_searcher(["ab", "ac"], store)
    searcher.suggest("first")
    searcher.on_trial_start("first")
    searcher.on_trial_complete("first", error=True)

    assert searcher.suggest("second") == {"lineage": "ac", "silences": {}}


def test_a_result_that_comes_with_the_end_counts(store):
    """Tune passes a trial's last result to on_trial_complete."""
    searcher = make_searcher(["a", "ab"], store)
    searcher.suggest("first")
    searcher.on_trial_complete("first", {"node": "ab"})

    assert searcher.suggest("second") == {"lineage": "a", "silences": {}}


def test_the_most_work_left_goes_first(store):
    """Of abc and de, with a and ab done, de has more left."""
    searcher = make_searcher(["abc", "de"], store, done=frozenset({"a", "ab"}))

    assert searcher.suggest("trial") == {"lineage": "de", "silences": {}}


def test_the_end_is_finished(store):
    searcher = make_searcher(["a"], store)
    searcher.suggest("trial")
    searcher.on_trial_start("trial")

    assert searcher.suggest("another") == Searcher.FINISHED


def test_a_trial_that_is_lost_before_it_starts_is_made_up_for(store):
    """Tune gives a trial to an idle process that has died. The end is not reported before."""
    searcher = make_searcher(["ab"], store)
    searcher.suggest("first")
    assert searcher.suggest("second") is None
    searcher.on_trial_complete("first", error=True)

    assert searcher.is_lost("first")
    assert searcher.suggest("second") == {"lineage": "ab", "silences": {}}


def test_a_lineage_whose_trials_never_start_fails(store):
    """Processes cannot start there; the second trial is the last one."""
    searcher = make_searcher(["ab"], store)
    for trial in ("first", "second"):
        searcher.suggest(trial)
        searcher.on_trial_complete(trial, error=True)

    assert not searcher.is_lost("second")
    assert searcher.suggest("third") == Searcher.FINISHED


def test_a_trial_that_fails_after_its_start_is_not_repeated(store):
    """Tune itself has repeated it as often as it may."""
    searcher = make_searcher(["ab"], store)
    searcher.suggest("first")
    searcher.on_trial_start("first")
    searcher.on_trial_complete("first", error=True)

    assert not searcher.is_lost("first")
    assert searcher.suggest("second") == Searcher.FINISHED


def test_what_another_driver_works_on_is_held_back(store):
    """A live claim in a shared store is a model that another sweep is training."""
    searcher = make_searcher(["xy"], store)
    claim = store.claims.take("x")
    assert claim is not None

    with claim:
        suggested = searcher.suggest("trial")

    assert suggested is None


def test_what_another_driver_has_left_is_handed_out(store):
    searcher = make_searcher(["xy"], store)
    claim = store.claims.take("x")
    assert claim is not None
    claim.release()

    assert searcher.suggest("trial") == {"lineage": "xy", "silences": {}}


def test_claims_are_read_at_most_once_a_second(store, monkeypatch):
    """However often Tune asks; a reading lists a folder, or a bucket."""
    searcher, readings, now = make_searcher(["mn", "mo"], store), [], [0.0]
    read = store.claims.read
    monkeypatch.setattr(store.claims, "read", lambda: readings.append(now[0]) or read())
    monkeypatch.setattr("sweep.tune.searcher.time.monotonic", lambda: now[0])
    searcher.suggest("first")

    for now[0] in [0.25, 0.5, 0.75, 1.0, 1.25]:
        assert searcher.suggest("second") is None

    assert readings == [0.0, 1.0]


def test_a_trial_inherits_what_its_driver_saw_of_claims(store):
    """How long each has been silent, as a trial of another process takes it over."""
    searcher = make_searcher(["pq"], store)
    with store.claims.take("z"):
        silences = searcher.suggest("trial")["silences"]

    assert [(key, seconds) for key, (_, seconds) in silences.items()] == [("z", 0.0)]


def test_nothing_is_ever_restored_from_it(store):
    """The store alone says what is done."""
    with pytest.raises(NotImplementedError, match="run the same sweep command again"):
        make_searcher(["a"], store).restore("searcher.pkl")


def test_its_state_is_written_where_tune_wants_it(store, tmp_path):
    searcher = make_searcher(["a"], store)
    searcher.suggest("trial")

    searcher.save(str(tmp_path / "state"))

    assert Path(tmp_path / "state").read_text() == '{"trial": "a"}'


class Slots:
    """Tune's loop without Tune: slots that ask for a lineage whenever they are free.

    A node takes as long as it costs; reaching one that was computed already costs nothing.
    """

    def __init__(self, searcher: LineageSearcher, costs: dict[str, float], num_slots: int) -> None:
        self.searcher, self.costs, self.num_slots = searcher, costs, num_slots
        self.now, self.done = 0.0, set[str]()
        self.started: list[str] = []
        self.computed: list[str] = []
        self.at_work: list[tuple[float, str, str]] = []
        """When, which lineage, which node."""

    def run(self, names: list[str]) -> None:
        """Run to the end; fails where a slot idles though a node could be computed."""
        while True:
            while len(self.at_work) < self.num_slots:
                suggested = self.searcher.suggest(f"trial-{len(self.started)}")
                if suggested is None or suggested == Searcher.FINISHED:
                    break
                self.started.append(suggested["lineage"])
                self.advance(suggested["lineage"])
            busy = {node for _, _, node in self.at_work}
            if len(self.at_work) < self.num_slots:
                waiting = set(names) - set(self.started)
                firsts = {name: self.first_missing(name) for name in waiting}
                idle_for = {name for name, node in firsts.items() if node not in busy}
                assert not idle_for, f"a slot idles at {self.now}, though {idle_for} could start"
            if not self.at_work:
                return
            self.now, name, node = heapq.heappop(self.at_work)
            self.done.add(node)
            report(self.searcher, self.trial(name), node)
            self.advance(name)

    def advance(self, name: str) -> None:
        """Go on with a lineage's first missing node, or end it."""
        node = self.first_missing(name)
        if node is None:
            self.searcher.on_trial_complete(self.trial(name), {"node": name})
            return
        self.computed.append(node)
        heapq.heappush(self.at_work, (self.now + self.costs[node], name, node))

    def first_missing(self, name: str) -> str | None:
        nodes = (name[:length] for length in range(1, len(name) + 1))
        return next((node for node in nodes if node not in self.done), None)

    def trial(self, name: str) -> str:
        return f"trial-{self.started.index(name)}"


LINEAGES = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=8, unique=True)


@given(names=LINEAGES, num_slots=st.integers(1, 4), data=st.data())
def test_no_slot_idles_while_a_model_could_be_trained(store, names, num_slots, data):
    """Over random trees of lineages and costs, each node is computed once, by whoever is free."""
    nodes = sorted({name[:length] for name in names for length in range(1, len(name) + 1)})
    costs = {node: data.draw(st.integers(1, 9)) for node in nodes}
    chains = [
        Chain(id=c.id, nodes=c.nodes, costs=[float(costs[node]) for node in c.nodes])
        for c in map(make_chain, names)
    ]
    slots = Slots(LineageSearcher(Schedule(chains), store), costs, num_slots)

    slots.run(names)

    assert sorted(slots.computed) == nodes
    assert sorted(slots.started) == sorted(names)
