"""The sweeps that a store knows, for one who has the store and not their results folders.

Must not import torch or ray.
"""

from dataclasses import replace
from pathlib import Path

from sweep.config import ResourcesConfig
from sweep.folder import sweep_from_record
from sweep.places import existing_store
from sweep.records import SweepRecord
from sweep.report import follow
from sweep.store import Store


def note(store: Store, key: str, record: SweepRecord) -> None:
    """Keep what a sweep asks for in its store, joined with what was noted of it before."""
    before = store.read_sweeps().get(key)
    grids = list(record.grids)
    if before is not None:
        grids += [grid for grid in before.grids if grid not in grids]
    store.note_sweep(key, replace(record, grids=grids))


def print_sweeps(place: str) -> None:
    """Print each sweep that a store knows: how far it is, who runs it, and its last command.

    Args:
        place: The store: a folder, or the URL of a bucket.

    Raises:
        ValueError: There is no such store.
        RecordError: What was noted is damaged.
    """
    store = existing_store(Path(place), None, ResourcesConfig())
    sweeps = store.read_sweeps()
    if not sweeps:
        print(f"{place} knows no sweep; sweep run ... --store {place} makes one known")
    for key, record in sorted(sweeps.items(), key=lambda item: (item[1].name, item[0])):
        sweep = sweep_from_record(record, f"sweeps/{key}.json of {place}")
        followed = follow(sweep, store, key)
        hosts = sorted({driver.host for driver in followed.drivers()})
        print(f"{sweep.name}: {followed.tracker.look().summary()}")
        print(f"  run by {', '.join(hosts) or 'nobody'}; last command:")
        print(f"  {record.commands[-1]}")
