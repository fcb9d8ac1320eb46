"""What a store holds of a sweep, looked up all at once: many questions at a time to a far store.

Must not import torch or ray.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from sweep.config import (
    key_defaults,
    to_json,
)
from sweep.planning.lineages import PlannedLineage, by_generation
from sweep.records import (
    LineageRecord,
    MetricsRecord,
    NodeRecord,
)
from sweep.store.bucket import QUESTIONS
from sweep.store.folder import CorruptError
from sweep.store.store import Store

Place = tuple[str, str]
"""A node's key and a metric specification."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What is known of a sweep's finished models: their records and numbers."""

    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    """By key."""
    metrics: dict[Place, MetricsRecord] = field(default_factory=dict)
    """By node and specification; without those that were not measured, or are damaged."""


def done_keys(store: Store, lineages: Iterable[PlannedLineage]) -> set[str]:
    """Keys of the nodes of some lineages that are done."""
    return store.nodes.done({node.key for lineage in lineages for node in lineage.nodes})


def look_up(store: Store, lineages: Sequence[PlannedLineage]) -> Finished:
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
    return Finished(nodes=nodes, metrics=metrics)


def lineage_status(
    lineage: PlannedLineage, finished: Finished, *, error: str | None
) -> LineageRecord:
    """Where a lineage stands, by its finished models."""
    num_done, status = 0, "pending"
    generations = by_generation(lineage.nodes)
    for members in generations:
        if not all(node.key in finished.nodes for node in members):
            break
        records = [finished.nodes[node.key] for node in members]
        if lost := next((record for record in records if record.status == "diverged"), None):
            status = "diverged"
            which = f" (member {lost.member})" if len(members) > 1 else ""
            error = error or f"V_{lost.generation}{which} diverged: {lost.reason}"
            break
        plans = [(node.key, plan.spec) for node in members for plan in node.all_metrics]
        if any(place not in finished.metrics for place in plans):
            break
        num_done += 1
    if num_done == len(generations):
        status = "done"
    elif status != "diverged":
        status = "failed" if error else ("running" if num_done else "pending")
    specs = [[plan.spec for plan in node.metrics] for node in generations[0]]
    mixtures = [[plan.spec for plan in members[0].mixture] for members in generations]
    return LineageRecord(
        id=lineage.id,
        axes={k: list(v) if isinstance(v, tuple) else v for k, v in lineage.axes.items()},
        config=to_json(lineage.config),
        status=status,
        nodes=[[node.key for node in members] for members in generations],
        num_done=num_done,
        dataset=lineage.card.key,
        metrics_spec=lineage.own_spec,
        evaluation_specs=lineage.evaluation_specs,
        member_specs=specs if len({tuple(names) for names in specs}) > 1 else [],
        mixture_specs=mixtures if any(mixtures) else [],
        error=None if status == "done" else error,
        key_defaults=key_defaults(lineage.config),
    )
