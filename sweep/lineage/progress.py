"""Progress and claims of a running lineage, and the saved states of its trainings."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from model.errors import UsageError
from model.job import Progress
from sweep.environment import differing_facts, plugin_facts
from sweep.files import Json
from sweep.lineage.saved_states import HEAD, STATE
from sweep.planning.nodes import NodePlan
from sweep.store.claims import Claim, ClaimLost
from sweep.store.heartbeat import Heartbeat
from sweep.store.store import Store

WAIT_SECONDS = 0.5
"""Pause between polls for a result that another process is computing."""


class NodeScratch:
    """A training's saved state in the store (model.job.Scratch)."""

    def __init__(self, store: Store, key: str, environment: str, *, same: bool = False) -> None:
        self.store, self.key, self._environment = store, key, environment
        self._same = same
        self.resumed_from: list[str] = []
        """Other environments in which a part of the training has run."""

    def load(self) -> bytes | None:
        """The newest undamaged state saved by any process, with the same source of plug-ins.

        Raises:
            UsageError: It comes from another environment, and only the same one is allowed.
        """
        data = self.store.load_scratch(self.key, STATE)
        if data is None or not data.startswith(HEAD):
            return data
        head, _, state = data.partition(b"\n")
        past = json.loads(head)["environments"]
        now = self._environment
        if any(plugin_facts(each) != plugin_facts(now) for each in past):
            return None  # begun with other source of a plug-in
        self.resumed_from = [each for each in past if differing_facts([each, now])]
        if self.resumed_from and self._same:
            differing = differing_facts([*self.resumed_from, self._environment])
            raise UsageError(
                f"--require-same-environment must find one environment, got {differing} (saved "
                "states of a training); go on in the environment of the first ones, use sweep "
                "clean --checkpoints to start the training over, or leave the option out"
            )
        return state

    def save(self, data: bytes) -> None:
        """Save a state."""
        head = {"environments": [*self.resumed_from, self._environment]}
        self.store.save_scratch(self.key, STATE, json.dumps(head).encode() + b"\n" + data)


@dataclass(kw_only=True, slots=True)
class LineageProgress:
    """The claims of one lineage, and how far it has come."""

    store: Store
    name: str
    """Name of the lineage, shown with its progress."""
    generations: int
    on_progress: Callable[[Json], None] | None = None
    """Called in the trial's thread at each progress update; tests may raise here to interrupt."""
    _position: Json = field(default_factory=dict)
    """The latest progress, which the heartbeat writes into the claim."""
    _heartbeat: Heartbeat | None = None
    """Heartbeat of the innermost held claim."""

    @contextmanager
    def on(self, key: str, node: NodePlan, stage: str) -> Generator[Claim | None]:
        """Hold the claim on a key with a heartbeat; yields None if another process holds it."""
        claim = self.store.claims.take(key)
        if claim is None:
            self.report(node, "wait")
            yield None
            return
        outer = self._position, self._heartbeat
        self._position = dict(self._position)
        with claim, Heartbeat(claim, self._position) as heartbeat:
            self._heartbeat = heartbeat
            try:
                self.report(node, stage)
                yield claim
            except ClaimLost:
                pass  # whoever took over publishes the same results; the caller looks again
            finally:
                self._position, self._heartbeat = outer

    def report_training(self, node: NodePlan, progress: Progress) -> None:
        """Report a training's progress; raises StoreError to stop it if its claim was lost."""
        self.report(node, "train", **asdict(progress))
        if self._heartbeat is not None and self._heartbeat.lost is not None:
            raise self._heartbeat.lost

    def report(self, node: NodePlan, stage: str, **numbers: float) -> None:
        """Report the generation and the stage that the lineage is in, with the stage's numbers."""
        position = {
            "lineage": self.name,
            "generation": node.generation,
            "generations": self.generations,
            "stage": stage,
            "num_images": node.num_images,
            **numbers,
        }
        self._position.update(position)
        if self.on_progress is not None:
            self.on_progress(position)
