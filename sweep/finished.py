"""What a store holds of a sweep, looked up all at once: many questions at a time to a far store.

Must not import torch or ray.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from sweep.planning.lineages import PlannedLineage
from sweep.records import MetricsRecord, NodeRecord
from sweep.store.bucket import QUESTIONS
from sweep.store.folder import CorruptError
from sweep.store.store import Store

Place = tuple[str, str]
"""A node's key and a metric specification."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Records and numbers of a sweep's finished models as they were at one moment."""

    nodes: dict[str, NodeRecord]
    metrics: dict[Place, MetricsRecord]

    def has_node(self, key: str) -> bool:
        """Whether a node was done."""
        return key in self.nodes

    def read_node(self, key: str) -> NodeRecord:
        """The record of a node that was done."""
        return self.nodes[key]

    def read_metrics(self, key: str, spec: str) -> MetricsRecord | None:
        """A node's numbers; None where it was not evaluated, or they are damaged."""
        return self.metrics.get((key, spec))


def done_keys(store: Store, lineages: Iterable[PlannedLineage]) -> set[str]:
    """Keys of the nodes of some lineages that are done."""
    return store.nodes.done({node.key for lineage in lineages for node in lineage.nodes})


def look_up(store: Store, lineages: Sequence[PlannedLineage]) -> Seen:
    """Read the records of all done nodes of some lineages, and all their numbers.

    Raises:
        CorruptError: A node's record is damaged.
        StoreError: The store cannot be read.
    """
    done = sorted(done_keys(store, lineages))
    places = {
        (node.key, plan.spec): None
        for lineage in lineages
        for node in lineage.nodes
        for plan in node.all_metrics
    }

    def record(key: str) -> NodeRecord | None:
        with suppress(FileNotFoundError):  # set aside since it was listed
            return store.nodes.read(key)
        return None

    def numbers(place: Place) -> MetricsRecord | None:
        with suppress(CorruptError):  # to be measured again
            return store.read_metrics(*place)
        return None

    with ThreadPoolExecutor(QUESTIONS) as pool:
        found = zip(done, pool.map(record, done), strict=True)
        nodes = {key: value for key, value in found if value is not None}
        asked = [place for place in places if place[0] in nodes]
        measured = zip(asked, pool.map(numbers, asked), strict=True)
        metrics = {place: value for place, value in measured if value is not None}
    return Seen(nodes=nodes, metrics=metrics)
