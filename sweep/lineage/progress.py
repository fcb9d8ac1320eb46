"""Progress and claims of a running lineage, and the saved states of its trainings."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from model.job import Progress
from sweep.files import Json
from sweep.planning.lineages import NodePlan
from sweep.store.claims import Claim, ClaimLost
from sweep.store.heartbeat import Heartbeat
from sweep.store.store import Store

WAIT_SECONDS = 0.5
"""Pause between polls for a result that another process is computing."""
STATE = "training.safetensors"
"""Name of a training's saved state in scratch."""


class NodeScratch:
    """A training's saved state in the store (model.job.Scratch)."""

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key = store, key

    def load(self) -> bytes | None:
        """The newest undamaged state saved by any process."""
        return self.store.load_scratch(self.key, STATE)

    def save(self, data: bytes) -> None:
        """Save a state."""
        self.store.save_scratch(self.key, STATE, data)


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
