"""Simulates a sweep's schedule with known times, to find how long a number of trials takes.

Lineages share models and each is a chain, so the duration is not simply the total work divided by
the number of trials.
"""

from collections.abc import Iterable, Mapping

from sweep.planning.schedule import Chain, Schedule


def longest_chain(chains: Iterable[Chain], seconds: Mapping[str, float]) -> float:
    """Return the time of the lineage with the most work left, a lower bound."""
    return max((sum(seconds.get(key, 0.0) for key in x.nodes) for x in chains), default=0.0)


def makespan(chains: list[Chain], seconds: Mapping[str, float], *, num_slots: int) -> float:
    """Return the time from the start of the first trial to the end of the last.

    The trials compute lineages node by node in the order of `sweep run`.

    Args:
        chains: The lineages.
        seconds: Seconds of each missing node by key. All other nodes are done.
        num_slots: Number of parallel trials.
    """
    nodes = {chain.id: chain.nodes for chain in chains}
    every = {key for chain in chains for key in chain.nodes}
    schedule = Schedule(chains, every - seconds.keys())
    clock = 0.0
    trials: list[str] = []
    """Lineages that have a trial."""
    ends: dict[str, float] = {}
    """When each node that a trial computes will be done."""
    while True:
        for lineage in list(trials):
            node = next((key for key in nodes[lineage] if key not in schedule.done), None)
            if node is None:
                trials.remove(lineage)
                schedule.end(lineage)
            elif node not in ends:  # else the trial computes it, or waits for another that does
                ends[node] = clock + seconds[node]
        lineage = schedule.take(ends) if len(trials) < num_slots else None
        if lineage is not None:
            trials.append(lineage)
        elif ends:
            done = min(ends, key=lambda key: (ends[key], key))
            clock = ends.pop(done)
            schedule.finish_node(done)
        else:
            return clock
