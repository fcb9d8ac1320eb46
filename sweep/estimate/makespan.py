"""How long a sweep takes with so many trials at once, by playing its schedule with known times.

Lineages share models and each is a chain, so that the time is not the work divided by the trials.
Must not know Ray, files or clocks.
"""

import heapq
from collections.abc import Iterable, Mapping

from sweep.planning.schedule import Chain, Schedule


def total_seconds(seconds: Mapping[str, float]) -> float:
    """Time of all nodes, one after the other."""
    return sum(seconds.values())


def longest_chain(chains: Iterable[Chain], seconds: Mapping[str, float]) -> float:
    """Time of the lineage with most left: what any number of trials takes at least."""
    return max((sum(seconds.get(key, 0.0) for key in x.nodes) for x in chains), default=0.0)


def makespan(chains: list[Chain], seconds: Mapping[str, float], *, num_slots: int) -> float:
    """Time from the first trial's start to the last one's end.

    Args:
        chains: The lineages.
        seconds: Of each missing node; a node that is not in it is done.
        num_slots: Trials at once.
    """
    game = _Game(chains, seconds, num_slots)
    game.start_trials()
    while game.computing:
        game.finish_next()
        game.start_trials()
    return game.clock


class _Game:
    """Trials that compute lineages node by node, as `sweep run` hands them out."""

    def __init__(self, chains: list[Chain], seconds: Mapping[str, float], num_slots: int) -> None:
        every = {key for chain in chains for key in chain.nodes}
        self._schedule = Schedule(chains, every - seconds.keys())
        self._nodes = {chain.id: chain.nodes for chain in chains}
        self._seconds, self._num_slots = seconds, num_slots
        self._running: dict[str, str | None] = {}
        """Lineage -> the node that its trial computes; None while it waits for another's."""
        self.computing: list[tuple[float, str]] = []
        """Heap of (end, node)."""
        self.clock = 0.0

    def start_trials(self) -> None:
        """Let running trials go on, and fill the free slots, until nothing more can start."""
        self._advance()
        while len(self._running) < self._num_slots:
            claimed = [node for _, node in self.computing]
            lineage = None if self._schedule.is_exhausted else self._schedule.take(claimed)
            if lineage is None:
                return
            self._running[lineage] = None
            self._advance()

    def finish_next(self) -> None:
        """Go on to the next moment at which a node is done."""
        self.clock, done = heapq.heappop(self.computing)
        self._schedule.finish_node(done)
        for lineage, node in self._running.items():
            if node == done:
                self._running[lineage] = None

    def _advance(self) -> None:
        """Let every trial that is at no node begin its next one, or end."""
        at_work = {node for _, node in self.computing}
        for lineage, node in list(self._running.items()):
            if node is not None:
                continue
            missing = [key for key in self._nodes[lineage] if key not in self._schedule.done]
            if not missing:
                del self._running[lineage]
                self._schedule.end(lineage)
            elif missing[0] not in at_work:
                at_work.add(missing[0])
                self._running[lineage] = missing[0]
                end = self.clock + self._seconds[missing[0]]
                heapq.heappush(self.computing, (end, missing[0]))
