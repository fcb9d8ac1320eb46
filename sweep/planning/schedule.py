"""Which lineage to start next, so that no accelerator waits for a model that another is training.

Lineages share nodes. A lineage may start unless a running lineage or another process will
compute its first missing node. Among these, the one with the most work left starts first.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter

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


Rank = tuple[float, int, str]
"""Minus the work left of a lineage, its position in the plan, and its id; the lowest is first."""


@dataclass(slots=True)
class Schedule:
    """Decides which lineage may start, given which nodes and lineages have finished.

    Waiting lineages are in sorted queues by their first missing node. The heads of these queues are
    sorted too, so a suggestion looks only at the best head and at heads whose node is busy.
    """

    chains: Iterable[Chain]
    done: set[str] = field(default_factory=set)
    """Keys of finished nodes."""
    _waiting: dict[str, Chain] = field(default_factory=dict)
    _running: dict[str, Chain] = field(default_factory=dict)
    _users: dict[str, list[str]] = field(default_factory=dict)
    """Ids of the lineages that have a node."""
    _num_running: Counter[str] = field(default_factory=Counter)
    """Number of running lineages that have a node."""
    _filed: dict[str, tuple[str | None, Rank]] = field(default_factory=dict)
    """First missing node and rank of each waiting lineage."""
    _queues: dict[str | None, list[Rank]] = field(default_factory=dict)
    """Sorted ranks of the lineages that wait with the same first missing node."""
    _heads: list[tuple[Rank, str | None]] = field(default_factory=list)
    """The first rank of each queue, sorted, with the queue's node."""
    _positions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._waiting = {chain.id: chain for chain in self.chains}
        for position, chain in enumerate(self._waiting.values()):
            self._positions[chain.id] = position
            for key in dict.fromkeys(chain.nodes):
                self._users.setdefault(key, []).append(chain.id)
            self._file(chain)

    def take(self, claimed: Collection[str] = ()) -> str | None:
        """The next lineage to start; None if each would wait for a node computed by another.

        Args:
            claimed: Keys claimed by other processes, such as another driver on the same store.
        """
        free = (rank for rank, node in self._heads if not self._is_busy(node, claimed))
        rank = next(free, None)
        if rank is None:
            return None
        lineage = rank[-1]
        self._unfile(lineage)
        self._running[lineage] = self._waiting.pop(lineage)
        self._num_running.update(self._running[lineage].nodes)
        return lineage

    def work_left(self, chain: Chain) -> float:
        """Total cost of a lineage's missing nodes."""
        return sum(
            cost for key, cost in zip(chain.nodes, chain.costs, strict=True) if key not in self.done
        )

    def finish_node(self, key: str) -> None:
        """Record that a node is done."""
        if key in self.done:
            return
        self.done.add(key)
        for lineage in self._users.get(key, ()):
            if chain := self._waiting.get(lineage):
                self._unfile(lineage)
                self._file(chain)

    def end(self, lineage: str) -> None:
        """Record that a running lineage has ended: done, diverged or failed."""
        if chain := self._running.pop(lineage, None):
            self._num_running.subtract(chain.nodes)

    def put_back(self, lineage: str) -> None:
        """Let a running lineage wait again, because its trial was lost before it began."""
        chain = self._running[lineage]
        self.end(lineage)
        self._waiting[lineage] = chain
        self._file(chain)

    @property
    def is_exhausted(self) -> bool:
        """Whether no lineage waits."""
        return not self._waiting

    def _is_busy(self, node: str | None, claimed: Collection[str]) -> bool:
        return node is not None and (node in claimed or self._num_running[node] > 0)

    def _first_missing(self, chain: Chain) -> str | None:
        return next((key for key in chain.nodes if key not in self.done), None)

    def _file(self, chain: Chain) -> None:
        node = self._first_missing(chain)
        rank = (-self.work_left(chain), self._positions[chain.id], chain.id)
        self._filed[chain.id] = node, rank
        with self._changing(node) as queue:
            insort(queue, rank)

    def _unfile(self, lineage: str) -> None:
        node, rank = self._filed.pop(lineage)
        with self._changing(node) as queue:
            del queue[bisect_left(queue, rank)]

    @contextmanager
    def _changing(self, node: str | None) -> Generator[list[Rank]]:
        """Yield a queue that the block changes, and keep the heads up to date."""
        queue = self._queues.setdefault(node, [])
        before = queue[0] if queue else None
        yield queue
        after = queue[0] if queue else None
        if before == after:
            return
        if before is not None:
            del self._heads[bisect_left(self._heads, before, key=itemgetter(0))]
        if after is not None:
            insort(self._heads, (after, node), key=itemgetter(0))
        else:
            del self._queues[node]
