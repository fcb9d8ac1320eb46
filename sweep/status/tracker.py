"""Tracks the progress of a running sweep with few requests to its store.

Finished models stay finished, so each look requests only what may be new since the last one. This
keeps both `sweep run` and `sweep status` in another terminal fast if the store is far away.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from model.errors import printable
from sweep.estimate.costs import Work, estimate, planned_work
from sweep.estimate.makespan import longest_chain
from sweep.estimate.timings import Timings, format_seconds
from sweep.finished import ENDED, Finished, NodeAndSpec, lineage_status, look_up
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import NodePlan, by_generation, unique_nodes
from sweep.planning.schedule import Chain, chains_of
from sweep.records import LineageRecord
from sweep.status.states import lineage_state
from sweep.store.claims import ClaimInfo
from sweep.store.folder import CorruptError
from sweep.store.store import Store

MOST_REQUESTS = 16
"""Most models and metrics that a look requests; the first look requests everything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The progress of a sweep at one moment."""

    num_done: int
    num_models: int
    num_ended: int
    """Lineages that are done or diverged."""
    records: tuple[LineageRecord, ...]
    """Records of all lineages, without errors of runs."""
    claims: Mapping[str, ClaimInfo]
    """Claims of this sweep's trials by key, including dead ones."""
    images_per_second: float
    """Total speed of all trials that train."""
    seconds_left: float | None
    """Lower bound on the remaining time; None if it is unknown."""

    @property
    def at_work(self) -> list[ClaimInfo]:
        """Claims of trials that are alive."""
        return [claim for claim in self.claims.values() if claim.live]

    def summary(self) -> str:
        """Return models done, speed and time left as one line."""
        text = f"{self.num_done} of {self.num_models} models done"
        if self.images_per_second > 0:
            text += f", {self.images_per_second:,.0f} training images/s"
        if self.seconds_left is not None:
            text += f", about {format_seconds(self.seconds_left)} left"
        return text

    def states(
        self, started: Collection[str] | None, errors: Mapping[str, str] = {}
    ) -> dict[str, str]:
        """Return the state of each lineage by id.

        Args:
            started: Lineages that the live drivers have started; None without a driver.
            errors: Why lineages failed, by id.
        """
        return {
            each.id: lineage_state(each, self.claims, started, has_failed=each.id in errors)
            for each in self.records
        }

    def lines(self) -> list[str]:
        """Return one line per live trial."""
        return [describe_claim(claim) for claim in self.at_work if claim.progress]


def share_done(progress: Mapping) -> float:
    """Return the fraction of a node's training that is done."""
    if progress.get("stage") != "train" or not progress.get("num_steps"):
        return 0.0
    return progress.get("step", 0) / progress["num_steps"]


def describe_claim(claim: ClaimInfo) -> str:
    """Describe what a trial does: lineage, generation, stage, step, speed and loss."""
    try:
        return printable(describe_progress(claim.progress))
    except (KeyError, TypeError, ValueError):  # a damaged claim, or one of a newer version
        return printable(f"process {claim.pid} on {claim.host}")


def describe_progress(progress: Mapping[str, Any]) -> str:
    """Describe the progress in a claim."""
    text = (
        f"{progress.get('lineage', '?')}  V_{progress.get('generation', '?')}"
        f" of {progress.get('generations', '?')}  {progress.get('stage', '?')}"
    )
    if "step" in progress:
        text += f"  step {progress['step']:,}/{progress['num_steps']:,}"
    if progress.get("images_per_second"):
        text += f"  {progress['images_per_second']:,.0f} images/s"
    if (
        progress.get("stage") == "train"
        and progress.get("step")
        and progress.get("images_per_second")
    ):
        text += f"  loss {progress['loss']:.4f}"
    return text


class Tracker:
    """Tracks a sweep in its store."""

    def __init__(self, lineages: list[PlannedLineage], store: Store) -> None:
        self._store = store
        self.lineages = lineages
        self._tree = unique_nodes(lineage.nodes for lineage in lineages)
        self._shapes = {n.key: lineage.card.shape for lineage in lineages for n in lineage.nodes}
        self._streams: dict[str, Collection[str]] = {}
        """Keys of the streams that may be drawn from a model, by its key."""
        self._timings = Timings()
        self._untimed = Finished()
        """Finished models and metrics that are not yet in the timings."""
        self.finished = Finished()
        """Finished models and metrics that are known so far."""
        self._requested: dict[NodeAndSpec, int] = {}
        """Number of the last look that requested a model or metrics."""
        self._num_looks = 0
        self._claimed: set[str] = set()
        self.ended: dict[str, LineageRecord] = {}
        """Lineages that are done or diverged, by id."""

    def look(self) -> Snapshot:
        """Request all claims, and up to MOST_REQUESTS models and metrics that may be new.

        The first look requests everything.
        """
        if not self._num_looks:
            self._keep(look_up(self._store, self.lineages))
            for lineage in self.lineages:
                self._record(lineage)
        claims = self._store.claims.read_some(self._claimable().__contains__)
        live = {key for key, claim in claims.items() if claim.live}
        released, self._claimed = self._claimed - live, live
        budget = MOST_REQUESTS if self._num_looks else 0
        self._num_looks += 1
        while budget and (due := self._due(live, released)[:budget]):
            for result in due:
                self._request(result)
            budget -= len(due)
        records = tuple(map(self._record, self.lineages))
        # A dead claim on a finished model was left by a process that died before releasing it.
        done = self.finished.nodes
        claims = {k: v for k, v in claims.items() if v.live or k not in done}
        return self._snapshot(claims, records)

    def _claimable(self) -> set[str]:
        """Keys that this sweep's trials may claim now; other sweeps may share the store.

        Nobody works on a lineage that is done, or draws from models that cannot exist yet.
        """
        keys: set[str] = set()
        for lineage in self.lineages:
            ended = self.ended.get(lineage.id)
            if ended is None or ended.status != "done":
                keys.update(node.key for node in lineage.nodes)
                for node in self._drawable(lineage):
                    if node.key not in self._streams:
                        self._streams[node.key] = node.sampled.keys()
                    keys.update(self._streams[node.key])
        return keys

    def _drawable(self, lineage: PlannedLineage) -> Iterator[NodePlan]:
        """Yield the models of each generation up to the first that is not known to be finished."""
        for members in by_generation(lineage.nodes):
            yield from members
            if any(node.key not in self.finished.nodes for node in members):
                return

    def _record(self, lineage: PlannedLineage) -> LineageRecord:
        record = self.ended.get(lineage.id)
        if record is None:
            record = lineage_status(lineage, self.finished, error=None)
            if record.status in ENDED:
                self.ended[lineage.id] = record
        return record

    def _open_lineages(self) -> list[PlannedLineage]:
        return [lineage for lineage in self.lineages if lineage.id not in self.ended]

    def _due(self, live: set[str], released: set[str]) -> list[NodeAndSpec]:
        """Return results that may be new and were not requested in this look, likeliest first."""
        results = {result for each in self._open_lineages() for result in self._next_results(each)}
        results = {each for each in results if self._requested.get(each) != self._num_looks}
        # A model that is being trained is not in the store. Metrics have no claims.
        results = {(key, spec) for key, spec in results if spec or key not in live}
        return sorted(results, key=lambda r: (r[0] not in released, self._requested.get(r, 0), r))

    def _next_results(self, lineage: PlannedLineage) -> list[NodeAndSpec]:
        """Return the models of a lineage's first missing generation, and its first missing metrics.

        A model is given as its key and an empty specification.
        """
        models: list[NodeAndSpec] = []
        metrics: list[NodeAndSpec] = []
        for members in by_generation(lineage.nodes):
            models = [(node.key, "") for node in members if node.key not in self.finished.nodes]
            if models or any(self.finished.nodes[n.key].status == "diverged" for n in members):
                break
            results = [(node.key, plan.spec) for node in members for plan in node.all_metrics]
            metrics += [result for result in results if result not in self.finished.metrics]
        return models + metrics[:1]

    def _request(self, result: NodeAndSpec) -> None:
        key, spec = result
        if not spec:
            with suppress(FileNotFoundError):
                self._keep(Finished(nodes={key: self._store.nodes.read(key)}))
        else:
            with suppress(CorruptError):  # the metrics will be computed again
                record = self._store.read_metrics(key, spec)
                if record is not None:
                    self._keep(Finished(metrics={result: record}))
        self._requested[result] = self._num_looks

    def _keep(self, new: Finished) -> None:
        """Keep new records."""
        for known in (self.finished, self._untimed):
            known.nodes.update(new.nodes)
            known.metrics.update(new.metrics)

    def _known_timings(self) -> Timings:
        """Return the timings of all finished models and metrics."""
        for key, record in self._untimed.nodes.items():
            inputs, shape = self._tree[key].inputs, self._shapes[key]
            self._timings.add_node(record, inputs, shape=shape, metrics=())
        for (key, _), metrics in self._untimed.metrics.items():
            inputs, shape = self._tree[key].inputs, self._shapes[key]
            self._timings.add_metrics(metrics, inputs, shape=shape)
        self._untimed = Finished()
        return self._timings

    def _snapshot(
        self, claims: Mapping[str, ClaimInfo], records: tuple[LineageRecord, ...]
    ) -> Snapshot:
        live = {key: claim.progress for key, claim in claims.items() if claim.live}
        training = [p for key, p in live.items() if key in self._tree and p.get("stage") == "train"]
        speed = sum(progress.get("images_per_second", 0.0) for progress in training)
        return Snapshot(
            num_done=len(self.finished.nodes),
            num_models=len(self._tree),
            num_ended=len(self.ended),
            records=records,
            claims=claims,
            images_per_second=speed,
            seconds_left=self._seconds_left(live, speed),
        )

    def _seconds_left(self, live: Mapping[str, Mapping], speed: float) -> float | None:
        """Return a lower bound on the time that the live trials need, or None if it is unknown.

        It follows from recorded timings if they cover all missing training, or else from the
        current training speed.
        """
        missing = self._missing()
        num_trials = len({progress.get("lineage") for progress in live.values() if progress})
        if not missing or not num_trials:
            return None
        shares = {key: 1 - share_done(live.get(key, {})) for key in missing}
        work = {key: remaining(self._work[key], shares[key]) for key in missing}
        timings = self._known_timings()
        estimates = [estimate(work, timings, machine) for machine in timings.machines]
        if complete := [each for each in estimates if not each.untrained]:
            seconds = max(complete, key=lambda each: each.num_timed).seconds
            return max(longest_chain(self._chains, seconds), sum(seconds.values()) / num_trials)
        images = sum(self._tree[key].images_seen * share for key, share in shares.items())
        return images / speed if speed else None

    @cached_property
    def _chains(self) -> list[Chain]:
        return chains_of(self.lineages)

    @cached_property
    def _work(self) -> dict[str, Work]:
        return planned_work(self.lineages, self._tree)

    def _missing(self) -> list[str]:
        """Return the keys of models still to train, excluding those after a diverged one."""
        wanted = {node.key for lineage in self._open_lineages() for node in lineage.nodes}
        return [key for key in self._tree if key in wanted and key not in self.finished.nodes]


def remaining(work: Work, open_share: float) -> Work:
    """Return the work left on a node, given the share of its training that is left."""
    return {
        kind: amount * (open_share if kind.activity == "train" else 1)
        for kind, amount in work.items()
    }
