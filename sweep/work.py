"""What a running lineage shows of itself, and its claims on what it computes.

Must not know what is computed, nor Ray.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from model.job import Progress
from sweep.claims import Claim, ClaimLost
from sweep.heartbeat import Heartbeat
from sweep.plan import NodePlan
from sweep.records import Json
from sweep.store import Store

WAIT_SECONDS = 0.5
"""Between looks at something that somebody else is computing."""


@dataclass(kw_only=True, slots=True)
class Work:
    """The claims and the position of one lineage."""

    store: Store
    name: str
    """The lineage, shown beside its progress."""
    generations: int
    heartbeat_seconds: float = 1.0
    on_progress: Callable[[Json], None] | None = None
    """Called in the trial's thread with each progress; a test may raise here to interrupt."""
    _position: Json = field(default_factory=dict)
    _heartbeat: Heartbeat | None = None
    """Of the innermost claim that is held."""

    @contextmanager
    def on(self, key: str, node: NodePlan, stage: str) -> Generator[Claim | None]:
        """Hold the claim on a key with a heartbeat, or yield None where somebody else has it."""
        claim = self.store.claim(key)
        if claim is None:
            self.progress(node, "wait")
            yield None
            return
        outer = self._position, self._heartbeat
        self._position = dict(self._position)
        with claim, Heartbeat(claim, self._position, self.heartbeat_seconds) as heartbeat:
            self._heartbeat = heartbeat
            try:
                self.progress(node, stage)
                yield claim
            except ClaimLost:
                pass  # whoever took over publishes the same numbers; look again
            finally:
                self._position, self._heartbeat = outer

    def train_progress(self, node: NodePlan, progress: Progress) -> None:
        """Pass on a training's progress, and stop it where its claim was lost."""
        self.progress(node, "train", **asdict(progress))
        if self._heartbeat is not None and self._heartbeat.lost is not None:
            raise self._heartbeat.lost

    def progress(self, node: NodePlan, stage: str, **numbers: float) -> None:
        """Say where the lineage stands: lineage, generation, stage, and numbers of the stage."""
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
