"""Notes in a store about its sweeps, for users who have the store but no results folders.

The settings of a run are noted under a hash of their contents. So machines that each run a part
of a sweep never write the same note, and readers join the parts.
"""

from collections.abc import Sequence
from dataclasses import replace

from model.errors import OneLineError
from sweep.config import ResourcesConfig, unique
from sweep.files import dump_json
from sweep.records import SweepRecord
from sweep.results_folder import recorded_data, sweep_from_record
from sweep.status.drivers import running
from sweep.status.report import planned
from sweep.status.tracker import Tracker
from sweep.store.folder import sha256
from sweep.store.store import Store, existing_store

NAME_DIGITS = 8
"""Digits of the hash that tells the notes of one sweep apart."""


def note(store: Store, key: str, record: SweepRecord) -> None:
    """Note the settings of a run in its store."""
    facts = [record.base, record.grids, record.evaluations, record.commands]
    store.note_sweep(f"{key}.{sha256(dump_json({'facts': facts}))[:NAME_DIGITS]}", record)


def print_sweeps(place: str) -> None:
    """Print each sweep noted in a store: its progress, the hosts that run it, and its commands.

    If a sweep cannot be read or planned here (its data are elsewhere, or a newer version wrote it),
    an error is printed for it.

    Args:
        place: The store: a folder, or the URL of a bucket.

    Raises:
        UsageError: The store does not exist.
    """
    store = existing_store(place, ResourcesConfig())
    parts: dict[str, list[SweepRecord]] = {}
    names = store.list_sweeps()
    if not names:
        print(f"{place} has no record of a sweep; sweep run ... --store {place} adds one")
    for name in names:
        try:
            record = store.read_sweep(name)
        except OneLineError as error:
            print(error)
        else:
            parts.setdefault(name.rpartition(".")[0], []).append(record)
    for key, records in sorted(parts.items(), key=lambda item: (item[1][0].name, item[0])):
        record = joined(records)
        try:
            print("\n".join(lines_of(store, key, record)))
        except OneLineError as error:
            print(f"{record.name}: {error}")


def joined(records: Sequence[SweepRecord]) -> SweepRecord:
    """Join the notes of a sweep's runs: all grids, evaluations and commands, once each."""
    longest = max(records, key=lambda record: record.base.get("generations", 0))
    return replace(
        longest,
        grids=unique(grid for record in records for grid in record.grids),
        evaluations=unique(metrics for record in records for metrics in record.evaluations),
        commands=unique(command for record in records for command in record.commands),
        datasets=unique(data for record in records for data in record.datasets),
    )


def lines_of(store: Store, key: str, record: SweepRecord) -> list[str]:
    """Return a sweep's progress, the hosts that run it, and its commands."""
    sweep = sweep_from_record(record, f"sweeps/{key} of {store.location}")
    tracker = Tracker(planned(sweep, store, recorded_data(record)), store)
    drivers = running(store, key)
    hosts = sorted({driver.host for driver in drivers})
    return [
        f"{record.name}: {tracker.look().with_time_left(drivers).summary()}",
        f"  {'running on ' + ', '.join(hosts) if hosts else 'not running'}; to resume, "
        "or to fill a results folder:",
        *(f"  {command}" for command in record.commands if command.startswith("sweep run")),
    ]
