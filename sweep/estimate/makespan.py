"""Simulates a sweep's schedule with known times, to find how long a number of trials takes.

Lineages share models and each is a chain, so the duration is not simply the total work divided by
the number of trials.
"""

import heapq
from collections.abc import Iterable, Mapping

from sweep.planning.schedule import Chain, Schedule


def total_seconds(seconds: Mapping[str, float]) -> float:
    """Return the time of all nodes, one after the other."""
    return sum(seconds.values())


def longest_chain(chains: Iterable[Chain], seconds: Mapping[str, float]) -> float:
    """Return the time of the lineage with the most work left, a lower bound."""
    return max((sum(seconds.get(key, 0.0) for key in x.nodes) for x in chains), default=0.0)


def makespan(chains: list[Chain], seconds: Mapping[str, float], *, num_slots: int) -> float:
    """Return the time from the start of the first trial to the end of the last.

    Args:
        chains: The lineages.
        seconds: Seconds of each missing node by key. All other nodes are done.
        num_slots: Number of parallel trials.
    """
    game = _Game(chains, seconds, num_slots)
    game.start_trials()
    while game.computing:
        game.finish_next()
        game.start_trials()
    return game.clock


class _Game:
    """Simulated trials, which compute lineages node by node in the order of `sweep run`."""

    def __init__(self, chains: list[Chain], seconds: Mapping[str, float], num_slots: int) -> None:
        every = {key for chain in chains for key in chain.nodes}
        self._schedule = Schedule(chains, every - seconds.keys())
        self._nodes = {chain.id: chain.nodes for chain in chains}
        self._seconds, self._num_slots = seconds, num_slots
        self._running: dict[str, str | None] = {}
        """Lineage -> the node that its trial computes, or None while it waits for another."""
        self.computing: list[tuple[float, str]] = []
        """Heap of (end, node)."""
        self.clock = 0.0

    def start_trials(self) -> None:
        """Continue running trials and fill free slots, until nothing more can start."""
        self._advance()
        while len(self._running) < self._num_slots:
            claimed = [node for _, node in self.computing]
            lineage = None if self._schedule.is_exhausted else self._schedule.take(claimed)
            if lineage is None:
                return
            self._running[lineage] = None
            self._advance()

    def finish_next(self) -> None:
        """Advance the clock until the next node is done."""
        self.clock, done = heapq.heappop(self.computing)
        self._schedule.finish_node(done)
        for lineage, node in self._running.items():
            if node == done:
                self._running[lineage] = None

    def _advance(self) -> None:
        """Let every idle trial begin its next node, or end."""
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
