"""Ray Tune's view of the schedule: a Searcher that suggests lineages.

Tune asks it for configurations; it answers with a lineage's id, with None while nothing may start,
and with FINISHED at the end.
"""

import json
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from sweep.planning.schedule import Schedule
from sweep.store.folder import StoreError
from sweep.store.store import Store


class LineageSearcher(Searcher):
    """Suggests {"lineage": id, "silences": ...} in the schedule's order."""

    def __init__(self, schedule: Schedule, store: Store) -> None:
        super().__init__(metric=None, mode=None)
        self._schedule = schedule
        self._store = store
        self._lineages: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """A lineage, None while none may start, FINISHED when all were handed out."""
        if self._schedule.is_exhausted:
            return Searcher.FINISHED
        # A claim of another driver on the store holds its node's lineages back too.
        try:
            claimed = [key for key, claim in self._store.claims.read().items() if claim.live]
        except StoreError:  # away for a while: Tune asks again
            return None
        lineage = self._schedule.take(claimed)
        if lineage is None:
            return None
        self._lineages[trial_id] = lineage
        # The trial takes over what this driver has seen dead, instead of watching it for a lease.
        return {"lineage": lineage, "silences": self._store.claims.silences()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A generation is done: whoever waited for its node may start."""
        if "node" in result:
            self._schedule.finish_node(result["node"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended."""
        if result is not None:
            self.on_trial_result(trial_id, result)
        self._schedule.end(self._lineages.get(trial_id, ""))

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; nothing is ever restored from it, as the store tells what is done."""
        Path(checkpoint_path).write_text(json.dumps(self._lineages))

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a sweep resumes by the same command, from the store."""
        raise NotImplementedError("run the same sweep command again to resume")
