"""Tracks the progress of a running sweep with few requests to its store.

Finished models stay finished, so each look requests only what may be new since the last one. This
keeps both `sweep run` and `sweep status` in another terminal fast if the store is far away.
A sweep is tracked by the records of its lineages, so that nothing needs to be planned.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from model.errors import printable
from sweep.estimate.timings import format_seconds
from sweep.finished import (
    ENDED,
    Finished,
    NodeAndSpec,
    read_finished,
    specs_of,
    status_at_rest,
)
from sweep.records import LineageRecord
from sweep.status.states import lineage_state
from sweep.store.claims import ClaimInfo
from sweep.store.folder import CorruptError
from sweep.store.store import Store

SECONDS_LEFT = "seconds_left"
"""Entry of a driver's claim: its estimate of the remaining time."""
LEAST_REQUESTS = 16
"""Models and metrics that a look requests even if the store is slow."""
REQUEST_SHARE = 0.02
"""Share of the time since the last look that a look may spend on more requests than those."""


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

    def with_time_left(self, drivers: Iterable[ClaimInfo]) -> "Snapshot":
        """Return the snapshot with the remaining time that the live drivers have estimated."""
        told = [driver.progress.get(SECONDS_LEFT) for driver in drivers]
        known = [seconds for seconds in told if isinstance(seconds, int | float)]
        return replace(self, seconds_left=max(known, default=None))

    def lines(self) -> list[str]:
        """Return one line per live trial."""
        return [describe_claim(claim) for claim in self.at_work if claim.progress]


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
    """Tracks a sweep in its store.

    Args:
        lineages: The records of its lineages, whose statuses do not matter.
        store: The store.
        streams: Maps the key of a node to the keys of the streams that may be drawn from it. If it
            is None, claims on streams are recognised by the lineage that they name, and in a folder
            the claims of all sweeps in it are looked at.
        names: Metric specification -> its metrics in words.
    """

    def __init__(
        self,
        lineages: Sequence[LineageRecord],
        store: Store,
        *,
        streams: Callable[[str], Collection[str]] | None = None,
        names: Mapping[str, str] = {},
    ) -> None:
        self._store = store
        self.lineages = lineages
        self._specs = specs_of(lineages)
        self._streams = streams
        self._names = names
        self.finished = Finished()
        """Finished models and metrics that are known so far."""
        self._requested: dict[NodeAndSpec, int] = {}
        """Number of the last look that requested a model or metrics."""
        self._num_looks = 0
        self._last_look = monotonic()
        self._claimed: set[str] = set()
        self.ended: dict[str, LineageRecord] = {}
        """Lineages that are done or diverged, by id."""

    def look(self) -> Snapshot:
        """Request all claims, and models and metrics that may be new.

        The first look requests everything; later ones LEAST_REQUESTS, and more from a fast store.
        The time left is not estimated.
        """
        now = monotonic()
        seconds, self._last_look = REQUEST_SHARE * (now - self._last_look), now
        if not self._num_looks:
            self._keep(read_finished(self._store, self._specs))
            for lineage in self.lineages:
                self._record(lineage)
        claims = self._read_claims()
        live = {key for key, claim in claims.items() if claim.live}
        released, self._claimed = self._claimed - live, live
        self._num_looks += 1
        if self._num_looks > 1:
            self._request_new(live, released, seconds)
        records = tuple(map(self._record, self.lineages))
        # A dead claim on a finished model was left by a process that died before releasing it.
        done = self.finished.nodes
        claims = {k: v for k, v in claims.items() if v.live or k not in done}
        training = [
            claim.progress
            for key, claim in claims.items()
            if claim.live and key in self._specs and claim.progress.get("stage") == "train"
        ]
        return Snapshot(
            num_done=len(done),
            num_models=len(self._specs),
            num_ended=len(self.ended),
            records=records,
            claims=claims,
            images_per_second=sum(each.get("images_per_second", 0.0) for each in training),
            seconds_left=None,
        )

    def _read_claims(self) -> dict[str, ClaimInfo]:
        """The claims that this sweep's trials may hold now; other sweeps may share the store.

        Nobody works on a lineage that is done, or draws from models that cannot exist yet.
        """
        working = [x for x in self.lineages if x.id not in self.ended or not self._is_done(x)]
        if not working:
            return {}
        nodes = {key for lineage in working for keys in lineage.nodes for key in keys}
        if self._streams is not None:
            drawable = {key for lineage in working for key in self._drawable(lineage)}
            keys = nodes.union(*map(self._streams, drawable))
            return self._store.claims.read_some(keys.__contains__)
        metrics = self.finished.metrics
        settled = self._specs.keys() | {metrics[each].stream for each in metrics}
        settled -= nodes | {metrics[each].stream for each in metrics if each[0] in nodes}
        found = self._store.claims.read_some(lambda key: key not in settled)
        ids = {lineage.id for lineage in working}
        return {k: v for k, v in found.items() if k in nodes or v.progress.get("lineage") in ids}

    def _is_done(self, lineage: LineageRecord) -> bool:
        return self.ended[lineage.id].status == "done"

    def _drawable(self, lineage: LineageRecord) -> Iterator[str]:
        """Yield the models of each generation up to the first that is not known to be finished."""
        for keys in lineage.nodes:
            yield from keys
            if any(key not in self.finished.nodes for key in keys):
                return

    def _record(self, lineage: LineageRecord) -> LineageRecord:
        record = self.ended.get(lineage.id)
        if record is None:
            record = status_at_rest(lineage, self.finished, names=self._names)
            if record.status in ENDED:
                self.ended[lineage.id] = record
        return record

    def _open_lineages(self) -> list[LineageRecord]:
        return [lineage for lineage in self.lineages if lineage.id not in self.ended]

    def _due(self, live: set[str], released: set[str]) -> list[NodeAndSpec]:
        """Return results that may be new and were not requested in this look, likeliest first."""
        results = {result for each in self._open_lineages() for result in self._next_results(each)}
        results = {each for each in results if self._requested.get(each) != self._num_looks}
        # A model that is being trained is not in the store. Metrics have no claims.
        results = {(key, spec) for key, spec in results if spec or key not in live}
        return sorted(results, key=lambda r: (r[0] not in released, self._requested.get(r, 0), r))

    def _next_results(self, lineage: LineageRecord) -> list[NodeAndSpec]:
        """Return the models of a lineage's first missing generation, and its first missing metrics.

        A model is given as its key and an empty specification.
        """
        models: list[NodeAndSpec] = []
        metrics: list[NodeAndSpec] = []
        for keys in lineage.nodes:
            models = [(key, "") for key in keys if key not in self.finished.nodes]
            if models or any(self.finished.nodes[key].status == "diverged" for key in keys):
                break
            results = [(key, spec) for key in keys for spec in self._specs[key]]
            metrics += [result for result in results if result not in self.finished.metrics]
        return models + metrics[:1]

    def _request_new(self, live: set[str], released: set[str], seconds: float) -> None:
        """Request LEAST_REQUESTS results, and more until so many seconds have passed."""
        ends, num_requests = monotonic() + seconds, 0
        while due := self._due(live, released):
            for result in due:
                if num_requests >= LEAST_REQUESTS and monotonic() >= ends:
                    return
                self._request(result)
                num_requests += 1

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
        self.finished.nodes.update(new.nodes)
        self.finished.metrics.update(new.metrics)
