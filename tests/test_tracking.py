"""Facts of looking at a sweep again and again: what is new is seen, what is known is not asked."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_costs import metrics_record, node_record
from tiny_sweep import compute, make_lineage, make_sweep, plan, plan_in

from sweep.config import SweepConfig
from sweep.finished import lineage_status, look_up, record_of
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import NodePlan
from sweep.status.time_left import TimeLeft
from sweep.status.tracker import LEAST_REQUESTS, SECONDS_LEFT, Tracker
from sweep.store.claims import ClaimInfo
from sweep.store.folder import Folder
from sweep.store.store import Store, open_store

GRID = ({"pool.alpha": [0.5, 2.0]},)


class CountingStore(Store):
    """A store that counts what is asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(Folder(root))
        self.calls: Counter[tuple[str, str]] = Counter()
        self.nodes.has = self._counted("has_node", self.nodes.has)
        self.nodes.read = self._counted("read_node", self.nodes.read)
        read_claims = self.claims.read_some
        self.claims.read_some = lambda is_wanted: self._counted(
            "read_claims", lambda: read_claims(is_wanted)
        )()

    def read_metrics(self, key: str, spec: str) -> Any:
        self.calls["read_metrics", key] += 1
        return super().read_metrics(key, spec)

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(key: str = "") -> Any:
            self.calls[name, key] += 1
            return method(key) if key else method()

        return counted


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    """An empty one."""
    return CountingStore(tmp_path)


def tracker_of(lineages: list[PlannedLineage], store: Store) -> Tracker:
    """As the driver tracks them."""
    records = [record_of(lineage) for lineage in lineages]
    return Tracker(records, store, streams=TimeLeft(lineages).streams)


def publish(store: Store, node: NodePlan, *, seconds: float = 320.0, **changes: Any) -> None:
    """Publish a model of a plan with its numbers, as a trial does."""
    store.nodes.publish(node.key, {}, replace(node_record(node, seconds=seconds), **changes))
    record = metrics_record(node, seconds=70.0, num_drawn=128, draw_seconds=64.0)
    store.write_metrics(node.key, node.metrics[0].spec, record)


def wide_sweep(num_seeds: int) -> SweepConfig:
    """So many seeds of two lineages: three models each."""
    return make_sweep(({"seed": list(range(num_seeds)), "pool.alpha": [0.5, 2.0]},))


def test_a_first_look_sees_all_there_is(store) -> None:
    """More models and numbers than a later look asks for."""
    lineages = plan(wide_sweep(8))
    nodes = {node.key: node for lineage in lineages for node in lineage.nodes}
    for node in nodes.values():
        publish(store, node)
    tracker = tracker_of(lineages, store)
    snapshot = tracker.look()
    assert (snapshot.num_done, snapshot.num_models, snapshot.num_ended) == (24, 24, 16)


def test_a_look_at_a_finished_sweep_asks_for_nothing(store) -> None:
    """What is done stays done, and nobody works on it."""
    lineages = plan(wide_sweep(2))
    for lineage in lineages:
        for node in lineage.nodes:
            publish(store, node)
    tracker = tracker_of(lineages, store)
    tracker.look()
    store.calls.clear()
    tracker.look()
    assert not store.calls


def test_a_look_asks_for_few_of_many(store, monkeypatch) -> None:
    """Of 40 models that may come first, 16 are asked for in a look, and all within three."""
    monkeypatch.setattr("sweep.status.tracker.monotonic", lambda: 0.0)  # no time is left for more
    tracker = tracker_of(plan(wide_sweep(40)), store)
    tracker.look()
    seen: Counter[tuple[str, str]] = Counter()
    for _ in range(3):
        store.calls.clear()
        tracker.look()
        assert store.calls.total() <= 1 + LEAST_REQUESTS
        seen += store.calls
    assert len({key for name, key in seen if name == "read_node"}) == 40


@pytest.mark.parametrize(("seconds", "num_requests"), [(0.0001, 240), (0.05, LEAST_REQUESTS)])
def test_a_fast_store_is_asked_for_all(seconds: float, num_requests: int, store, monkeypatch):
    """For 120 models, trained within half a minute, and their numbers; a slow one for as few."""
    monkeypatch.setattr(
        "sweep.status.tracker.monotonic", lambda: now + seconds * store.calls.total()
    )
    now, lineages = 0.0, plan(wide_sweep(40))
    tracker = tracker_of(lineages, store)
    tracker.look()
    for node in {node.key: node for lineage in lineages for node in lineage.nodes}.values():
        publish(store, node)
    store.calls.clear()
    now = 30.0
    snapshot = tracker.look()
    assert store.calls.total() == 1 + num_requests
    assert (snapshot.num_done == 120) == (num_requests == 240)


def test_what_a_trial_has_just_let_go_of_is_asked_for_first(store) -> None:
    """Behind 39 others that nobody works on."""
    lineages = plan(wide_sweep(40))
    tracker = tracker_of(lineages, store)
    node = lineages[-1].nodes[0]
    claim = store.claims.take(node.key)
    assert claim is not None
    with claim:
        tracker.look()
        tracker.look()
        publish(store, node)
    assert tracker.look().num_done == 1


def test_a_model_that_is_being_trained_is_not_asked_for(store) -> None:
    """Its trial publishes it before it lets go."""
    (lineage,) = plan(make_sweep())
    claim = store.claims.take(lineage.nodes[0].key)
    assert claim is not None
    with claim:
        tracker = tracker_of([lineage], store)
        tracker.look()
        store.calls.clear()
        tracker.look()
    assert store.calls == {("read_claims", ""): 1}


def test_statuses_are_those_of_the_store(tmp_path: Path) -> None:
    """Of a real lineage that is done and one that is not, record for record."""
    store = open_store(tmp_path)
    lineages = plan_in(make_sweep(GRID), store)
    compute(lineages[0].config, store)
    tracker = tracker_of(lineages, store)
    tracker.look()
    for lineage in lineages:
        found = lineage_status(lineage, tracker.finished, error=None)
        assert found == lineage_status(lineage, look_up(store, [lineage]), error=None)
    assert list(tracker.ended) == [lineages[0].id]


def test_a_lineage_ends_with_a_model_that_diverged(store) -> None:
    """What would come behind it is not waited for."""
    (lineage,) = plan(make_sweep())
    publish(store, lineage.nodes[0], status="diverged", reason="nan")
    tracker = tracker_of([lineage], store)
    snapshot = tracker.look()
    assert [record.status for record in tracker.ended.values()] == ["diverged"]
    assert snapshot.num_ended == 1


def test_a_model_counts_though_the_one_before_lacks_numbers(store) -> None:
    """As where `sweep evaluate` has begun."""
    (lineage,) = plan(make_sweep())
    for node in lineage.nodes:
        store.nodes.publish(node.key, {}, node_record(node, seconds=1.0))
    snapshot = tracker_of([lineage], store).look()
    assert (snapshot.num_done, snapshot.num_ended) == (2, 0)


def test_claims_of_another_sweep_in_the_store_are_not_ours(store) -> None:
    """Whoever works there does not work on this one."""
    other = plan(make_sweep(base=make_lineage(seed=7)))[0].nodes[0]
    claim = store.claims.take(other.key)
    assert claim is not None
    with claim:
        assert not tracker_of(plan(make_sweep()), store).look().claims


def test_the_time_left_follows_from_recorded_times(store) -> None:
    """Half of V_2's 320 s of training, 2 blocks of 128 images drawn at 2/s, measuring in 6 s."""
    (lineage,) = plan(make_sweep())
    publish(store, lineage.nodes[0])
    claim = store.claims.take(lineage.nodes[1].key)
    assert claim is not None
    with claim:
        progress = {"stage": "train", "step": 2, "num_steps": 4, "images_per_second": 99.0}
        claim.heartbeat({"lineage": lineage.id, **progress})
        tracker = tracker_of([lineage], store)
        snapshot = tracker.look()
    seconds = TimeLeft([lineage]).seconds(tracker, snapshot)
    assert seconds == pytest.approx(320 / 2 + 128 + 6)
    driver = ClaimInfo(lease_seconds=1.0, progress={SECONDS_LEFT: seconds})
    summary = snapshot.with_time_left([ClaimInfo(lease_seconds=1.0), driver]).summary()
    assert "1 of 2 models done, 99 training images/s, about 4 min 54 s left" in summary


def test_the_time_left_is_not_made_up(store) -> None:
    """Nothing was timed, and nobody works."""
    lineages = plan(make_sweep())
    tracker = tracker_of(lineages, store)
    snapshot = tracker.look()
    assert TimeLeft(lineages).seconds(tracker, snapshot) is None
    assert snapshot.with_time_left([]).seconds_left is None


@pytest.mark.parametrize("told", [None, "soon", [1.0]])
def test_a_driver_that_tells_no_time_is_not_believed(told: Any, store) -> None:
    """One of an older version, or a damaged claim."""
    snapshot = tracker_of(plan(make_sweep()), store).look()
    driver = ClaimInfo(lease_seconds=1.0, progress={SECONDS_LEFT: told})
    assert snapshot.with_time_left([driver]).seconds_left is None


def test_records_find_the_claims_that_a_plan_finds(tmp_path: Path) -> None:
    """On models and on streams, of the lineages that are not done."""
    store = open_store(tmp_path)
    lineages = plan_in(make_sweep(GRID), store)
    compute(lineages[0].config, store)
    first, second = lineages[1].nodes
    others = plan_in(make_sweep(base=make_lineage(seed=7)), store)
    names = {second.key: lineages[1], first.stream: lineages[1], second.stream: lineages[1]}
    names |= {each.nodes[0].stream: each for each in others}
    with ExitStack() as stack:
        for key, lineage in names.items():
            claim = store.claims.take(key)
            assert claim is not None
            stack.enter_context(claim)
            claim.heartbeat({"lineage": lineage.id, "stage": "sample"})
        records = [record_of(lineage) for lineage in lineages]
        recorded = Tracker(records, store).look()
        planned = tracker_of(lineages, store).look()
    assert recorded.claims.keys() == {second.key, first.stream, second.stream}
    assert recorded.claims.keys() == planned.claims.keys()
    assert recorded.states(None) == planned.states(None)
