"""Which lineage to start next, so that no accelerator waits for a model another is training.

Lineages share nodes. One is handed out only when its first missing node is neither being computed
nor about to be by a lineage already running; of those, the one with most work left first. Pure
bookkeeping: must not know Ray, files or clocks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sweep.planning.lineages import PlannedLineage


@dataclass(kw_only=True, slots=True)
class Chain:
    """A lineage as the schedule sees it."""

    id: str
    nodes: list[str]
    """Keys of its nodes, first to last."""
    costs: list[float]
    """Work of each node, in any unit."""


def chains_of(lineages: Iterable[PlannedLineage]) -> list[Chain]:
    """The lineages of a plan; a node's work is the images its training sees."""
    return [
        Chain(
            id=lineage.id,
            nodes=[node.key for node in lineage.nodes],
            costs=[float(node.images_seen) for node in lineage.nodes],
        )
        for lineage in lineages
    ]


@dataclass(slots=True)
class Schedule:
    """Hands out lineages; told what finishes, it says what may start."""

    chains: Iterable[Chain]
    done: set[str] = field(default_factory=set)
    """Keys of finished nodes."""
    _waiting: dict[str, Chain] = field(default_factory=dict)
    _running: dict[str, Chain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._waiting = {chain.id: chain for chain in self.chains}

    def take(self, claimed: Iterable[str] = ()) -> str | None:
        """The next lineage to start, or None while every waiting one would wait for another's node.

        Args:
            claimed: Keys that others (another driver on the same store) are working on.
        """
        busy = set(claimed)
        for chain in self._running.values():
            busy.update(key for key in chain.nodes if key not in self.done)
        free = [chain for chain in self._waiting.values() if self._first_missing(chain) not in busy]
        if not free:
            return None
        chosen = max(free, key=self.work_left)
        self._running[chosen.id] = self._waiting.pop(chosen.id)
        return chosen.id

    def work_left(self, chain: Chain) -> float:
        """Cost of a lineage's missing nodes."""
        return sum(
            cost for key, cost in zip(chain.nodes, chain.costs, strict=True) if key not in self.done
        )

    def finish_node(self, key: str) -> None:
        """A node is done."""
        self.done.add(key)

    def end(self, lineage: str) -> None:
        """A running lineage has ended: done, diverged or failed."""
        self._running.pop(lineage, None)

    @property
    def is_exhausted(self) -> bool:
        """Whether every lineage was handed out."""
        return not self._waiting

    def _first_missing(self, chain: Chain) -> str | None:
        return next((key for key in chain.nodes if key not in self.done), None)
