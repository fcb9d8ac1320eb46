"""Where a running sweep stands, looked at again and again with few questions to its store.

What is done stays done: only what may have come since the last look is asked for. So `sweep run`
and `sweep status` in another terminal see the same, also where a store is far away. Must not
import torch or ray.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from sweep.estimate.costs import Work, estimate, planned_work, samplers
from sweep.estimate.makespan import longest_chain, total_seconds
from sweep.estimate.timings import Timings, format_seconds
from sweep.finished import Finished, Place, lineage_status, look_up
from sweep.planning.keys import stream_key
from sweep.planning.lineages import NodePlan, PlannedLineage, by_generation, unique_nodes
from sweep.planning.schedule import chains_of
from sweep.records import LineageRecord
from sweep.store.claims import ClaimInfo
from sweep.store.folder import CorruptError
from sweep.store.store import Store

MOST_ASKED = 16
"""Models and metrics that a look asks for, but for the first one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Where a sweep stands at one moment."""

    num_done: int
    num_models: int
    num_ended: int
    """Lineages that are done or diverged."""
    claims: Mapping[str, ClaimInfo]
    """Of this sweep's trials, dead ones included, by key."""
    images_per_second: float
    """Of all trials that train."""
    seconds_left: float | None

    @property
    def at_work(self) -> list[ClaimInfo]:
        """Claims of trials that are alive."""
        return [claim for claim in self.claims.values() if claim.live]

    def summary(self) -> str:
        """Models done, speed and time left, in a line."""
        text = f"{self.num_done} of {self.num_models} models done"
        if self.images_per_second > 0:
            text += f", {self.images_per_second:,.0f} training images/s"
        if self.seconds_left is not None:
            text += f", about {format_seconds(self.seconds_left)} left"
        return text

    def lines(self) -> list[str]:
        """One line per trial at work."""
        return [describe_claim(claim) for claim in self.at_work if claim.progress]


def share_done(progress: Mapping) -> float:
    """Share of a node's training that is over."""
    if progress.get("stage") != "train" or not progress.get("num_steps"):
        return 0.0
    return progress.get("step", 0) / progress["num_steps"]


def describe_claim(claim: ClaimInfo) -> str:
    """What a trial is doing: lineage, generation, stage, step, speed, time left."""
    at = claim.progress
    text = (
        f"{at.get('lineage', '?')}  V_{at.get('generation', '?')} of {at.get('generations', '?')}"
        f"  {at.get('stage', '?')}"
    )
    if "step" in at:
        text += f"  step {at['step']:,}/{at['num_steps']:,}"
    if at.get("images_per_second"):
        text += f"  {at['images_per_second']:,.0f} images/s"
    if at.get("stage") == "train" and at.get("step") and at.get("images_per_second"):
        text += f"  loss {at['loss']:.4f}"
    return text


class Tracker:
    """Follows a sweep in its store."""

    def __init__(self, lineages: list[PlannedLineage], store: Store) -> None:
        self._store = store
        self.lineages = lineages
        self._tree = unique_nodes(lineage.nodes for lineage in lineages)
        self._shapes = {n.key: lineage.card.shape for lineage in lineages for n in lineage.nodes}
        self._generations = {lineage.id: by_generation(lineage.nodes) for lineage in lineages}
        self._ours = self._tree.keys() | {
            stream_key(node.key, sample)
            for node in self._tree.values()
            for sample in samplers(node)
        }
        """Keys that trials of this sweep claim; others may share the store."""
        self._chains = chains_of(lineages)
        self._work = planned_work(lineages, self._tree)
        self._timings = Timings()
        self.finished = Finished()
        """As far as it was looked up."""
        self._asked: dict[Place, int] = {}
        """The look in which something was last asked for in vain."""
        self._num_looks = 0
        self._claimed: set[str] = set()
        self.ended: dict[str, LineageRecord] = {}
        """Lineages that are done or diverged, by id."""

    def look(self) -> Snapshot:
        """Ask for what may be new: a call for all claims, and one each for a few places.

        The first time everything is asked for.
        """
        claims = {k: v for k, v in self._store.claims.read().items() if k in self._ours}
        live = {key for key, claim in claims.items() if claim.live}
        released, self._claimed = self._claimed - live, live
        left = MOST_ASKED if self._num_looks else 0
        if not self._num_looks:
            self._keep(look_up(self._store, self.lineages))
        self._num_looks += 1
        while left and (due := self._due(live, released)):
            for place in due[:left]:
                self._ask(place)
            left -= len(due[:left])
        for lineage in self.lineages:
            if lineage.id not in self.ended:
                record = lineage_status(lineage, self.finished, error=None)
                if record.status in ("done", "diverged"):
                    self.ended[lineage.id] = record
        # A claim of a finished model is left over from a process that died before it let go.
        done = self.finished.nodes
        return self._snapshot({k: v for k, v in claims.items() if v.live or k not in done})

    def _due(self, live: set[str], released: set[str]) -> list[Place]:
        """What may have come and was not asked for in this look, the likeliest first."""
        places = {place for lineage in self.lineages for place in self._next_places(lineage)}
        places = {p for p in places if self._asked.get(p) != self._num_looks}
        # A model that is being trained is not there; what was measured has no claim.
        places = {p for p in places if p[1] or p[0] not in live}
        return sorted(places, key=lambda p: (p[0] not in released, self._asked.get(p, 0), p))

    def _next_places(self, lineage: PlannedLineage) -> Iterator[Place]:
        """The first model that a lineage lacks, and the first numbers of those it has.

        For the model itself the specification is empty.
        """
        if lineage.id in self.ended:
            return
        measured = True
        for members in self._generations[lineage.id]:
            lacking = [node.key for node in members if node.key not in self.finished.nodes]
            if lacking:
                yield from ((key, "") for key in lacking)
                return
            if any(self.finished.nodes[node.key].status == "diverged" for node in members):
                return
            for place in places_of(members):
                if measured and place not in self.finished.metrics:
                    measured = False
                    yield place

    def _ask(self, place: Place) -> None:
        key, spec = place
        if not spec:
            with suppress(FileNotFoundError):
                self._keep(Finished(nodes={key: self._store.nodes.read(key)}))
        else:
            with suppress(CorruptError):  # it will be measured again
                found = self._store.read_metrics(key, spec)
                if found is not None:
                    self._keep(Finished(metrics={place: found}))
        self._asked[place] = self._num_looks

    def _keep(self, new: Finished) -> None:
        """Remember what was looked up, and how long it took."""
        for key, record in new.nodes.items():
            node, shape = self._tree[key], self._shapes[key]
            self.finished.nodes[key] = record
            self._timings.add_node(record, node.inputs, shape=shape, metrics=())
        for place, found in new.metrics.items():
            node, shape = self._tree[place[0]], self._shapes[place[0]]
            self.finished.metrics[place] = found
            self._timings.add_metrics(found, node.inputs, shape=shape)

    def _snapshot(self, claims: Mapping[str, ClaimInfo]) -> Snapshot:
        live = {key: claim.progress for key, claim in claims.items() if claim.live}
        training = [p for key, p in live.items() if key in self._tree and p.get("stage") == "train"]
        speed = sum(progress.get("images_per_second", 0.0) for progress in training)
        return Snapshot(
            num_done=len(self.finished.nodes),
            num_models=len(self._tree),
            num_ended=len(self.ended),
            claims=claims,
            images_per_second=speed,
            seconds_left=self._seconds_left(live, speed),
        )

    def _seconds_left(self, live: Mapping[str, Mapping], speed: float) -> float | None:
        """Time that so many trials as are alive will take at least; None where it is not known.

        By the recorded times where all that is missing was timed, else by the training's speed now.
        """
        missing = self._missing()
        num_trials = len({progress.get("lineage") for progress in live.values() if progress})
        if not missing or not num_trials:
            return None
        open_shares = {key: 1 - share_done(live.get(key, {})) for key in missing}
        work = {key: remaining(self._work[key], open_shares[key]) for key in missing}
        estimates = [estimate(work, self._timings, each) for each in self._timings.machines]
        if complete := [each for each in estimates if not each.untrained]:
            seconds = max(complete, key=lambda each: each.num_timed).seconds
            return max(longest_chain(self._chains, seconds), total_seconds(seconds) / num_trials)
        images = sum(self._tree[key].images_seen * share for key, share in open_shares.items())
        return images / speed if speed else None

    def _missing(self) -> list[str]:
        """Keys of models that are still to come: not those behind one that diverged."""
        wanted = {
            node.key
            for lineage in self.lineages
            if lineage.id not in self.ended
            for node in lineage.nodes
        }
        return [key for key in self._tree if key in wanted and key not in self.finished.nodes]


def remaining(work: Work, open_share: float) -> Work:
    """A node's work once its training is over but for a share."""
    return {
        kind: amount * (open_share if kind.activity == "train" else 1)
        for kind, amount in work.items()
    }


def places_of(members: Iterable[NodePlan]) -> Iterator[Place]:
    """What is measured of a generation."""
    for node in members:
        yield from ((node.key, plan.spec) for plan in node.all_metrics)
