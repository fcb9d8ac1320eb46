"""The output of `sweep status`."""

from dataclasses import dataclass
from pathlib import Path

from sweep.config import SweepConfig
from sweep.finished import lineage_status
from sweep.lineage.datasets import KnownData, finder_of_recorded
from sweep.planning.lineages import plan_sweep
from sweep.records import LineageRecord, load_lineages
from sweep.results_folder import load_recorded_data, read_sweep
from sweep.status.drivers import run_key, running
from sweep.status.tracker import Snapshot, Tracker
from sweep.store.claims import ClaimInfo
from sweep.store.store import Store, existing_store


def print_status(out: Path, *, store: str | None) -> None:
    """Print the status of each lineage, and the running trials.

    Raises:
        RecordError: `out` is not a results folder, or its sweep.json is damaged.
    """
    followed = track(out, store=store)
    snapshot = followed.tracker.look()
    print_lineages(followed, snapshot, out=out)
    if lines := snapshot.lines():
        print("\nrunning now:")
        print("\n".join(f"  {line}" for line in lines))


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """A sweep whose progress is tracked."""

    name: str
    key: str
    store: Store
    tracker: Tracker

    def drivers(self) -> list[ClaimInfo]:
        """Return the live drivers of the sweep."""
        return running(self.store, self.key)


def track(out: Path, *, store: str | None) -> Followed:
    """Track the sweep of a results folder."""
    sweep = read_sweep(out)
    kept = existing_store(out, store, sweep.resources)
    return follow(sweep, kept, run_key(out, sweep), load_recorded_data(out))


def follow(sweep: SweepConfig, store: Store, key: str, data: KnownData) -> Followed:
    """Track a sweep in a store, given the key of its runs there and those of its data sets."""
    lineages = plan_sweep(sweep, finder_of_recorded(store, data))
    return Followed(name=sweep.name, key=key, store=store, tracker=Tracker(lineages, store))


def print_lineages(followed: Followed, snapshot: Snapshot, *, out: Path) -> list[LineageRecord]:
    """Print the status of each lineage, and return their records."""
    from tabulate import tabulate

    errors = {record.id: record.error for record in load_lineages(out) if record.error}
    tracker = followed.tracker
    records = [
        lineage_status(lineage, tracker.finished, error=errors.get(lineage.id))
        for lineage in tracker.lineages
    ]
    rows = [
        [each.id, each.status, f"{each.num_done} of {len(each.nodes)}", each.error or ""]
        for each in records
    ]
    print(f"{followed.name}: {snapshot.summary()}\n")
    print(tabulate(rows, ["lineage", "status", "generations", ""], disable_numparse=True))
    return records
