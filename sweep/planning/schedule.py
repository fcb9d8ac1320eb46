"""Which lineage to start next, so that no accelerator waits for a model that another is training.

Lineages share nodes. A lineage may start unless a running lineage or another process will
compute its first missing node. Among these, the one with the most work left starts first.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sweep.planning.lineages import PlannedLineage


@dataclass(kw_only=True, slots=True)
class Chain:
    """A lineage as the scheduler sees it."""

    id: str
    nodes: list[str]
    """Keys of its nodes, first to last."""
    costs: list[float]
    """Work of each node, in arbitrary units."""


def chains_of(lineages: Iterable[PlannedLineage]) -> list[Chain]:
    """The lineages of a plan; the work of a node is the number of images its training sees."""
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
    """Decides which lineage may start, given which nodes and lineages have finished."""

    chains: Iterable[Chain]
    done: set[str] = field(default_factory=set)
    """Keys of finished nodes."""
    _waiting: dict[str, Chain] = field(default_factory=dict)
    _running: dict[str, Chain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._waiting = {chain.id: chain for chain in self.chains}

    def take(self, claimed: Iterable[str] = ()) -> str | None:
        """The next lineage to start; None if each would wait for a node computed by another.

        Args:
            claimed: Keys claimed by other processes, such as another driver on the same store.
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
        """Total cost of a lineage's missing nodes."""
        return sum(
            cost for key, cost in zip(chain.nodes, chain.costs, strict=True) if key not in self.done
        )

    def finish_node(self, key: str) -> None:
        """Record that a node is done."""
        self.done.add(key)

    def end(self, lineage: str) -> None:
        """Record that a running lineage has ended: done, diverged or failed."""
        self._running.pop(lineage, None)

    @property
    def is_exhausted(self) -> bool:
        """Whether every lineage was started."""
        return not self._waiting

    def _first_missing(self, chain: Chain) -> str | None:
        return next((key for key in chain.nodes if key not in self.done), None)
