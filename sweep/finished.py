"""Looks up the finished models and metrics of a sweep, with concurrent requests to the store."""

import functools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TypeVar

from model.config import MetricsConfig
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
Specs = dict[str, dict[str, None]]
"""Node key -> its metric specifications, in order."""


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


def is_diverged(node: NodePlan, finished: Finished) -> bool:
    """Whether a model was trained and has diverged."""
    return node.key in finished.nodes and finished.nodes[node.key].status == "diverged"


def to_train(lineages: Iterable[PlannedLineage], finished: Finished) -> set[str]:
    """Keys of the models that a run would train: missing ones, except after a diverged one."""
    keys: set[str] = set()
    for lineage in lineages:
        for members in by_generation(lineage.nodes):
            keys.update(node.key for node in members if node.key not in finished.nodes)
            if any(is_diverged(node, finished) for node in members):
                break
    return keys


def look_up(store: Store, lineages: Sequence[PlannedLineage]) -> Finished:
    """Read the records and metrics of all finished nodes of some planned lineages.

    Raises:
        CorruptError, StoreError: As read_finished.
    """
    specs: Specs = {}
    for lineage in lineages:
        for node in lineage.nodes:
            specs.setdefault(node.key, {}).update((plan.spec, None) for plan in node.all_metrics)
    return read_finished(store, specs)


def specs_of(lineages: Iterable[LineageRecord]) -> Specs:
    """The nodes of recorded lineages, with their metric specifications."""
    specs: Specs = {}
    for lineage in lineages:
        for generation, keys in enumerate(lineage.nodes, start=1):
            for member, key in enumerate(keys):
                own = lineage.all_specs(generation, member)
                specs.setdefault(key, {}).update(dict.fromkeys(own))
    return specs


@many_objects()
def read_finished(store: Store, specs: Specs) -> Finished:
    """Read the records and metrics of those of some nodes that are finished.

    Raises:
        CorruptError: A node's record is damaged.
        StoreError: The store cannot be read.
    """
    done = sorted(store.nodes.done(specs.keys()) if store.files.is_far else specs)
    # A node may have been withdrawn since it was listed.
    nodes = read_all(store, done, store.nodes.read, missing=FileNotFoundError)
    measurable = [(key, spec) for key in specs if key in nodes for spec in specs[key]]
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


def status_at_rest(
    lineage: LineageRecord,
    finished: Finished,
    *,
    error: str | None = None,
    names: Mapping[str, str] = {},
) -> LineageRecord:
    """A lineage's record with its status, number of trained generations and error.

    They are derived from its finished models and metrics.

    Args:
        lineage: Its record, whose status does not matter.
        finished: The finished models and metrics.
        error: That of its trial.
        names: Specification -> its metrics in words.
    """
    num_done, status, unmeasured = 0, "pending", ""
    for generation, keys in enumerate(lineage.nodes, start=1):
        records = [finished.nodes[key] for key in keys if key in finished.nodes]
        if len(records) < len(keys):
            break
        if diverged := next((record for record in records if record.status == "diverged"), None):
            status = "diverged"
            member = f" (member {diverged.member})" if len(keys) > 1 else ""
            error = error or f"V_{diverged.generation}{member} diverged: {diverged.reason}"
            break
        num_done += 1
        for member, key in enumerate(keys):
            for spec in lineage.all_specs(generation, member):
                if not unmeasured and (key, spec) not in finished.metrics:
                    unmeasured = f"V_{generation} lacks {names.get(spec, 'a measurement')}"
    if num_done == len(lineage.nodes):
        status = "unmeasured" if unmeasured else "done"
        error = error or unmeasured
    elif error and status != "diverged":
        status = "failed"
    error = None if status == "done" else error
    return replace(lineage, status=status, num_done=num_done, error=error)


def lineage_status(
    lineage: PlannedLineage, finished: Finished, *, error: str | None
) -> LineageRecord:
    """A planned lineage's record with its status at rest."""
    plans = (plan for node in lineage.nodes for plan in node.all_metrics)
    names = {plan.spec: name_metrics(plan.config) for plan in plans}
    return status_at_rest(record_of(lineage), finished, error=error, names=names)


@remembered_by_object
def name_metrics(config: MetricsConfig) -> str:
    """Metric settings in words: `kid, fid with efficientnet-lite0`."""
    return f"{', '.join(config.names)} with {config.extractor}"


def record_of(lineage: PlannedLineage) -> LineageRecord:
    """A planned lineage's record, before anything of it is computed."""
    generations = by_generation(lineage.nodes)
    specs = [[plan.spec for plan in node.metrics] for node in generations[0]]
    mixtures = [[plan.spec for plan in members[0].mixture] for members in generations]
    return LineageRecord(
        id=lineage.id,
        axes={k: list(v) if isinstance(v, tuple) else v for k, v in lineage.axes.items()},
        config=_config_json(lineage.config),
        status="pending",
        nodes=[[node.key for node in members] for members in generations],
        num_done=0,
        dataset=lineage.card.key,
        metrics_spec=lineage.own_spec,
        evaluation_specs=lineage.evaluation_specs,
        member_specs=specs if len({tuple(names) for names in specs}) > 1 else [],
        mixture_specs=mixtures if any(mixtures) else [],
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
