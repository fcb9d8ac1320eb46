"""Ray Tune's view of the schedule: a Searcher that suggests lineages.

Tune requests configurations from it. It returns a lineage's id, None while no lineage may start,
or FINISHED at the end.
"""

import json
import time
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from sweep.planning.schedule import Schedule
from sweep.store.store import Store

CLAIMS_SECONDS = 1.0
"""How long a reading of the claims is used, because Tune asks for lineages far more often."""


class LineageSearcher(Searcher):
    """Suggests {"lineage": id, "silences": ...} in the schedule's order."""

    def __init__(self, schedule: Schedule, store: Store) -> None:
        super().__init__(metric=None, mode=None)
        self._schedule = schedule
        self._store = store
        self._patience = store.patience()
        self._lineages: dict[str, str] = {}
        self._unstarted: set[str] = set()
        """Trials that were suggested and have neither started nor ended."""
        self._lost: dict[str, str] = {}
        """Trial that was lost before it started, by lineage."""
        self._claimed: frozenset[str] = frozenset()
        self._claims_end = float("-inf")
        """When the claims must be read again, by the monotonic clock."""

    def suggest(self, trial_id: str) -> Any:
        """Return a lineage, None while none may start, or FINISHED after the last one.

        Raises:
            StoreError: The store has failed for too long.
        """
        if self._schedule.is_exhausted:
            return None if self._unstarted else Searcher.FINISHED
        if not self._has_claims():
            return None  # Tune calls suggest again
        lineage = self._schedule.take(self._claimed)
        if lineage is None:
            return None
        self._lineages[trial_id] = lineage
        self._unstarted.add(trial_id)
        # With the silences, the trial does not have to watch a dead claim for a whole lease.
        return {"lineage": lineage, "silences": self._store.claims.silences()}

    def _has_claims(self) -> bool:
        """Read what other drivers have claimed, unless that is recent; False if that fails."""
        if (now := time.monotonic()) < self._claims_end:
            return True
        with self._patience.attempt():
            claims = self._store.claims.read().items()
            self._claimed = frozenset(key for key, claim in claims if claim.live)
            self._claims_end = now + CLAIMS_SECONDS
        return now < self._claims_end

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record a finished generation, so that lineages that wait for its node may start."""
        if "node" in result:
            self._schedule.finish_node(result["node"])

    def on_trial_start(self, trial_id: str) -> None:
        """Record that a process works on a trial."""
        self._unstarted.discard(trial_id)

    def is_lost(self, trial_id: str) -> bool:
        """Whether a trial was lost before it started, and its lineage is suggested again."""
        return trial_id in self._lost.values()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record that a trial has ended.

        If the idle process to which Tune gives a trial has died, Tune does not retry the trial: its
        lineage is then suggested once more.
        """
        lineage = self._lineages.get(trial_id, "")
        if error and trial_id in self._unstarted and lineage not in self._lost:
            self._lost[lineage] = trial_id
            self._schedule.put_back(lineage)
        self._unstarted.discard(trial_id)
        if result is not None:
            self.on_trial_result(trial_id, result)
        self._schedule.end(lineage)

    def save(self, checkpoint_path: str) -> None:
        """Write the file that Tune expects. Nothing restores it: the store records progress."""
        Path(checkpoint_path).write_text(json.dumps(self._lineages))

    def restore(self, checkpoint_path: str) -> None:
        """Raise an error, because a sweep is resumed from the store, by the same command."""
        raise NotImplementedError("run the same sweep command again to resume")
