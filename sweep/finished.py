"""Looks up the finished models and metrics of a sweep, with concurrent requests to the store."""

import functools
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TypeVar

from sweep.config import LineageConfig, key_defaults, to_json
from sweep.files import Json
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import NodePlan, by_generation
from sweep.records import LineageRecord, MetricsRecord, NodeRecord
from sweep.remembered import remembered_by_object
from sweep.sealed import many_objects
from sweep.store.bucket import QUESTIONS
from sweep.store.folder import CorruptError
from sweep.store.store import Store

K = TypeVar("K")
V = TypeVar("V")

ENDED = ("done", "diverged")
"""Statuses of lineages that a run has nothing to add to."""

SLOW_SECONDS, PATIENCE_SECONDS = 0.001, 0.05
"""Time per request, and in total, from which requests to a folder are concurrent."""

NodeAndSpec = tuple[str, str]
"""A node's key and a metric specification."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The records and metrics of a sweep's finished models."""

    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    """Records by node key."""
    metrics: dict[NodeAndSpec, MetricsRecord] = field(default_factory=dict)
    """Metrics by node key and specification, without missing and damaged ones."""


def environments_of(finished: Finished) -> list[str]:
    """The environments in which finished models and metrics were computed, a line for each."""
    records = [*finished.nodes.values(), *finished.metrics.values()]
    return [line for record in records for line in record.environments()]


def done_keys(store: Store, lineages: Iterable[PlannedLineage]) -> set[str]:
    """Keys of the finished nodes of some lineages."""
    return store.nodes.done({node.key for lineage in lineages for node in lineage.nodes})


@many_objects()
def look_up(store: Store, lineages: Sequence[PlannedLineage]) -> Finished:
    """Read the records and metrics of all finished nodes of some lineages.

    Raises:
        CorruptError: A node's record is damaged.
        StoreError: The store cannot be read.
    """
    planned = {node.key for lineage in lineages for node in lineage.nodes}
    done = sorted(store.nodes.done(planned) if store.files.is_far else planned)
    # A node may have been withdrawn since it was listed.
    nodes = read_all(store, done, store.nodes.read, missing=FileNotFoundError)
    measurable = dict.fromkeys(
        (node.key, plan.spec)
        for lineage in lineages
        for node in lineage.nodes
        if node.key in nodes
        for plan in node.all_metrics
    )
    # Damaged metrics count as missing, because a run measures them again.
    metrics = read_all(
        store, measurable, lambda key: store.read_metrics(*key), missing=CorruptError
    )
    return Finished(nodes=nodes, metrics=metrics)


def read_all(
    store: Store,
    keys: Collection[K],
    read: Callable[[K], V | None],
    *,
    missing: type[Exception],
) -> dict[K, V]:
    """What `read` returns for each key, unless it returns None or raises `missing`.

    Requests to a bucket are concurrent, and those to a folder once they are slow, as on NFS.
    Threads would cost more than they save where a request takes microseconds.
    """

    def attempt(key: K) -> V | None:
        with suppress(missing):
            return read(key)
        return None

    values: list[V | None] = []
    started, waiting = time.monotonic(), list(keys)
    while len(values) < len(waiting) and not store.files.is_far:
        values.append(attempt(waiting[len(values)]))
        if time.monotonic() - started > PATIENCE_SECONDS + SLOW_SECONDS * len(values):
            break
    if rest := waiting[len(values) :]:
        with ThreadPoolExecutor(QUESTIONS) as pool:
            values += pool.map(attempt, rest)
    return {key: value for key, value in zip(waiting, values, strict=True) if value is not None}


def missing_measurement(members: Sequence[NodePlan], finished: Finished) -> str:
    """The first measurement that a trained generation lacks, in words; empty if it lacks none."""
    for node in members:
        for plan in node.all_metrics:
            if (node.key, plan.spec) not in finished.metrics:
                names = ", ".join(plan.config.names)
                return f"V_{node.generation} lacks {names} with {plan.config.extractor}"
    return ""


def status_at_rest(
    generations: Sequence[Sequence[NodePlan]], finished: Finished, *, error: str | None = None
) -> tuple[str, int, str | None]:
    """A lineage's status, number of trained generations and error.

    They are derived from its finished models and metrics; `error` is that of its trial.
    """
    num_done, status, unmeasured = 0, "pending", ""
    for members in generations:
        if not all(node.key in finished.nodes for node in members):
            break
        records = [finished.nodes[node.key] for node in members]
        if diverged := next((record for record in records if record.status == "diverged"), None):
            status = "diverged"
            member = f" (member {diverged.member})" if len(members) > 1 else ""
            error = error or f"V_{diverged.generation}{member} diverged: {diverged.reason}"
            break
        num_done += 1
        unmeasured = unmeasured or missing_measurement(members, finished)
    if num_done == len(generations):
        status = "unmeasured" if unmeasured else "done"
        error = error or unmeasured
    elif error and status != "diverged":
        status = "failed"
    return status, num_done, None if status == "done" else error


def lineage_status(
    lineage: PlannedLineage, finished: Finished, *, error: str | None
) -> LineageRecord:
    """A lineage's record with its status at rest."""
    generations = by_generation(lineage.nodes)
    status, num_done, error = status_at_rest(generations, finished, error=error)
    specs = [[plan.spec for plan in node.metrics] for node in generations[0]]
    mixtures = [[plan.spec for plan in members[0].mixture] for members in generations]
    return LineageRecord(
        id=lineage.id,
        axes={k: list(v) if isinstance(v, tuple) else v for k, v in lineage.axes.items()},
        config=_config_json(lineage.config),
        status=status,
        nodes=[[node.key for node in members] for members in generations],
        num_done=num_done,
        dataset=lineage.card.key,
        metrics_spec=lineage.own_spec,
        evaluation_specs=lineage.evaluation_specs,
        member_specs=specs if len({tuple(names) for names in specs}) > 1 else [],
        mixture_specs=mixtures if any(mixtures) else [],
        error=error,
        key_defaults=_key_defaults(),
    )


def _config_json(config: LineageConfig) -> Json:
    """As to_json; lineages of a grid share most groups of settings."""
    groups = {f.name: getattr(config, f.name) for f in fields(config)}
    return {name: _json_of(v) if is_dataclass(v) else v for name, v in groups.items()}


@remembered_by_object
def _json_of(group: object) -> Json:
    return to_json(group)


@functools.cache
def _key_defaults() -> Json:
    return key_defaults(LineageConfig())
