"""The state of a lineage, as every command shows it.

At rest, a lineage is what its models and measurements say (`sweep.finished.lineage_status`):

    done         every model is trained and measured
    diverged     a model diverged, which ends the lineage
    failed       its trial ended with an error
    unmeasured   every model is trained, but a measurement is missing
    pending      it has models to train

While somebody works on the sweep, it may be one of these instead:

    running      a trial works on it
    queued       it waits for a free trial, or for a model that another one is computing
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from sweep.records import LineageRecord
from sweep.store.claims import ClaimInfo

STATES = ("running", "queued", "pending", "unmeasured", "failed", "diverged", "done")
"""All states, in the order in which they are counted."""
RESUMABLE = ("pending", "unmeasured", "failed")
"""States that the same command may still change."""


def lineage_state(
    record: LineageRecord,
    claims: Mapping[str, ClaimInfo],
    started: Collection[str] | None,
    *,
    has_failed: bool = False,
) -> str:
    """The state of a lineage now.

    Args:
        record: Its record, with its status at rest.
        claims: Claims on the sweep's models and streams, by key.
        started: Ids of the lineages whose trials the live drivers have started; None if no driver
            is alive.
        has_failed: Whether its last trial ended with an error.
    """
    if record.status in ("done", "diverged"):
        return record.status
    live = {key: claim for key, claim in claims.items() if claim.live}
    if any(is_at_work(claim, record.id) for claim in live.values()):
        return "running"
    if started is not None and record.id in started:
        next_models = [key for keys in record.nodes[record.num_done :][:1] for key in keys]
        return "queued" if any(key in live for key in next_models) else "running"
    if has_failed and record.status != "unmeasured":
        return "failed"
    return record.status if started is None or has_failed else "queued"


def is_at_work(claim: ClaimInfo, lineage: str) -> bool:
    """Whether a claim is held by a trial of the lineage that does not merely wait."""
    progress = claim.progress
    return progress.get("lineage") == lineage and progress.get("stage") != "wait"


def started_lineages(drivers: Iterable[ClaimInfo]) -> set[str] | None:
    """Ids of the lineages whose trials some live drivers have started; None without a driver."""
    listed = [driver.progress.get("lineages") for driver in drivers]
    if not listed:
        return None
    return {str(name) for names in listed if isinstance(names, list) for name in names}


def counts(states: Iterable[str]) -> str:
    """How many lineages are in each state, such as `1 running, 2 queued`."""
    numbers = Counter(states)
    return ", ".join(f"{numbers[state]} {state}" for state in STATES if numbers[state])
