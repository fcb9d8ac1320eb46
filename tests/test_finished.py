"""Facts of looking up a whole sweep in a store at once."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from bucket_store import new_store
from test_tracking import publish, wide_sweep
from tiny_sweep import plan

from sweep.finished import Finished, look_up
from sweep.records import NodeRecord
from sweep.store.bucket import QUESTIONS
from sweep.store.folder import Folder
from sweep.store.store import Store, open_store

pytestmark = pytest.mark.xdist_group("s3")

LINEAGES = plan(wide_sweep(4))
NODES = {node.key: node for lineage in LINEAGES for node in lineage.nodes}


class SlowStore(Store):
    """A store far away: each question takes a while, and is counted."""

    def __init__(self, root: Path) -> None:
        super().__init__(Folder(root))
        self.lock, self.now, self.most, self.total = threading.Lock(), 0, 0, 0
        read = self.nodes.read
        self.nodes.read = lambda key: (self._wait(), read(key))[1]

    def _wait(self) -> None:
        with self.lock:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self.lock:
            self.now -= 1

    def read_metrics(self, key: str, spec: str) -> Any:
        self._wait()
        return super().read_metrics(key, spec)


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path, monkeypatch) -> Store:
    """One of each kind, with the first model of each seed done and measured."""
    found: Store = open_store(tmp_path)
    if request.param == "bucket":
        found = new_store(request.getfixturevalue("s3"), tmp_path, monkeypatch)
    for lineage in LINEAGES:
        if not found.nodes.has(lineage.nodes[0].key):
            publish(found, lineage.nodes[0])
    return found


def test_all_that_is_done_is_seen_and_nothing_else(store) -> None:
    """As the store says when it is asked one by one."""
    seen = look_up(store, LINEAGES)
    assert len(seen.nodes) == 4
    for node in NODES.values():
        assert (node.key in seen.nodes) == store.nodes.has(node.key)
        if node.key in seen.nodes:
            assert seen.nodes[node.key] == store.nodes.read(node.key)
        for measured in node.all_metrics:
            assert seen.metrics.get((node.key, measured.spec)) == (
                store.read_metrics(node.key, measured.spec)
            )


def test_models_of_other_sweeps_are_not_read(store) -> None:
    """A store may be shared by many."""
    other = plan(wide_sweep(1))
    assert look_up(store, other).nodes.keys() == {other[0].nodes[0].key}


def test_a_withdrawn_model_is_not_seen(s3, tmp_path, monkeypatch) -> None:
    """Another machine found it damaged; this one still remembers its record."""
    store = new_store(s3, tmp_path, monkeypatch)
    node = LINEAGES[0].nodes[0]
    publish(store, node)
    assert node.key in look_up(store, LINEAGES).nodes
    store.files.delete([f"records/nodes/{node.key}.json"])
    assert look_up(store, LINEAGES) == Finished()


def test_one_that_goes_while_it_is_looked_at_is_not_seen(tmp_path) -> None:
    """Set aside between the listing and the reading of its record."""

    def vanish(key: str) -> NodeRecord:
        raise FileNotFoundError(key)

    store = open_store(tmp_path)
    publish(store, LINEAGES[0].nodes[0])
    store.nodes.read = vanish
    assert look_up(store, LINEAGES) == Finished()


def test_damaged_numbers_are_as_none(tmp_path) -> None:
    """They will be measured again."""
    store, node = open_store(tmp_path), LINEAGES[0].nodes[0]
    publish(store, node)
    store.files.write(store.files.metrics_path(node.key, node.metrics[0].spec), b"{")
    seen = look_up(store, LINEAGES)
    assert (len(seen.nodes), seen.metrics) == (1, {})


def test_many_questions_are_on_their_way_at_a_time(tmp_path) -> None:
    """A far store answers slowly, but many at once."""
    store = SlowStore(tmp_path)
    for node in NODES.values():
        publish(store, node)
    seen = look_up(store, LINEAGES)
    assert len(seen.nodes) == len(seen.metrics) == len(NODES)
    assert store.total == 2 * len(NODES)
    assert 1 < store.most <= QUESTIONS
