"""Estimates the time that a running sweep still needs, from its plan."""

from collections.abc import Collection, Mapping
from functools import cached_property

from sweep.estimate.costs import Work, estimate, planned_work
from sweep.estimate.makespan import longest_chain
from sweep.estimate.timings import Timings
from sweep.finished import Finished
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import unique_nodes
from sweep.planning.schedule import Chain, chains_of
from sweep.status.tracker import Snapshot, Tracker


class TimeLeft:
    """The remaining time of a sweep, whose finished models are timed once each."""

    def __init__(self, lineages: list[PlannedLineage]) -> None:
        self._lineages = lineages
        self._tree = unique_nodes(lineage.nodes for lineage in lineages)
        self._shapes = {n.key: lineage.card.shape for lineage in lineages for n in lineage.nodes}
        self._timings = Timings()
        self._timed = Finished()
        """Finished models and metrics that are in the timings."""
        self._streams: dict[str, Collection[str]] = {}

    def streams(self, key: str) -> Collection[str]:
        """Keys of the streams that may be drawn from a node."""
        if key not in self._streams:
            self._streams[key] = self._tree[key].sampled.keys()
        return self._streams[key]

    def seconds(self, tracker: Tracker, snapshot: Snapshot) -> float | None:
        """A lower bound on the time that the live trials need, or None if it is unknown.

        It follows from recorded timings if they cover all missing training, or else from the
        current training speed.
        """
        live = {key: claim.progress for key, claim in snapshot.claims.items() if claim.live}
        missing = self._missing(tracker)
        num_trials = len({progress.get("lineage") for progress in live.values() if progress})
        if not missing or not num_trials:
            return None
        shares = {key: 1 - share_done(live.get(key, {})) for key in missing}
        work = {key: remaining(self._work[key], shares[key]) for key in missing}
        timings = self._known_timings(tracker.finished)
        estimates = [estimate(work, timings, machine) for machine in timings.machines]
        if complete := [each for each in estimates if not each.untrained]:
            seconds = max(complete, key=lambda each: each.num_timed).seconds
            return max(longest_chain(self._chains, seconds), sum(seconds.values()) / num_trials)
        images = sum(self._tree[key].images_seen * share for key, share in shares.items())
        return images / snapshot.images_per_second if snapshot.images_per_second else None

    def _known_timings(self, finished: Finished) -> Timings:
        """Return the timings of all finished models and metrics."""
        for key in [each for each in finished.nodes if each not in self._timed.nodes]:
            record, inputs = finished.nodes[key], self._tree[key].inputs
            self._timings.add_node(record, inputs, shape=self._shapes[key], metrics=())
        for key, spec in [each for each in finished.metrics if each not in self._timed.metrics]:
            record, inputs = finished.metrics[key, spec], self._tree[key].inputs
            self._timings.add_metrics(record, inputs, shape=self._shapes[key])
        self._timed.nodes.update(finished.nodes)
        self._timed.metrics.update(finished.metrics)
        return self._timings

    @cached_property
    def _chains(self) -> list[Chain]:
        return chains_of(self._lineages)

    @cached_property
    def _work(self) -> dict[str, Work]:
        return planned_work(self._lineages, self._tree)

    def _missing(self, tracker: Tracker) -> list[str]:
        """Return the keys of models still to train, excluding those after a diverged one."""
        unended = [lineage for lineage in self._lineages if lineage.id not in tracker.ended]
        wanted = {node.key for lineage in unended for node in lineage.nodes}
        return [key for key in self._tree if key in wanted and key not in tracker.finished.nodes]


def share_done(progress: Mapping) -> float:
    """Return the fraction of a node's training that is done."""
    if progress.get("stage") != "train" or not progress.get("num_steps"):
        return 0.0
    return progress.get("step", 0) / progress["num_steps"]


def remaining(work: Work, open_share: float) -> Work:
    """Return the work left on a node, given the share of its training that is left."""
    return {
        kind: amount * (open_share if kind.activity == "train" else 1)
        for kind, amount in work.items()
    }
