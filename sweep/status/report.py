"""The output of `sweep status`."""

import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.commands.output import pasteable
from model.config import MetricsConfig
from model.errors import printable
from sweep.config import SweepConfig, restored
from sweep.environment import differing_facts
from sweep.files import Json
from sweep.finished import environments_of, name_metrics, record_of
from sweep.lineage.datasets import KnownData, finder_of_recorded
from sweep.planning.lineages import plan_sweep
from sweep.records import LineageRecord, load_lineages, load_sweep
from sweep.results_folder import recorded_data, store_location, sweep_from_record
from sweep.sealed import many_objects
from sweep.status.drivers import run_key, running
from sweep.status.states import RESUMABLE, started_lineages
from sweep.status.tracker import Snapshot, Tracker
from sweep.store.claims import ClaimInfo
from sweep.store.store import Store, existing_store

CELL_WIDTH = 60
"""Longest text in a cell of the table."""


@many_objects()
def print_status(out: Path, *, store: str | None, as_json: bool = False) -> None:
    """Print the state of each lineage, the running trials, and how to resume if nobody works.

    Args:
        out: A results folder.
        store: Store of its models, if that is not the one in its sweep.json.
        as_json: Print one JSON object, for programs.

    Raises:
        RecordError: `out` is not a results folder, or its sweep.json is damaged.
    """
    followed = track(out, store=store)
    drivers, snapshot = followed.look()
    if as_json:
        facts = status_facts(out, followed, snapshot, drivers)
        print(json.dumps(facts, indent=1, allow_nan=False))
        return
    states = print_lineages(followed, snapshot, drivers, followed.errors)
    if differing := differing_facts(environments_of(followed.tracker.finished)):
        print(f"\nresults come from different environments: {printable(differing)}")
    if lines := snapshot.lines():
        print("\nrunning now:")
        print("\n".join(f"  {line}" for line in lines))
    if not (drivers or snapshot.at_work) and set(states.values()) & set(RESUMABLE):
        print(f"\n{resuming(out)}")


def status_facts(
    out: Path, followed: "Followed", snapshot: Snapshot, drivers: Sequence[ClaimInfo]
) -> Json:
    """What print_status says, as JSON; docs/guide.md describes it."""
    states = snapshot.states(started_lineages(drivers), followed.errors)
    return {
        "name": followed.name,
        "num_models": snapshot.num_models,
        "num_models_done": snapshot.num_done,
        "images_per_second": snapshot.images_per_second,
        "seconds_left": snapshot.seconds_left,
        "is_running": bool(drivers or snapshot.at_work),
        "lineages": [
            {
                "id": each.id,
                "status": states[each.id],
                "num_generations": len(each.nodes),
                "num_generations_done": each.num_done,
                "error": followed.errors.get(each.id) or each.error,
            }
            for each in snapshot.records
        ],
        "trials": [
            {"host": claim.host, "pid": claim.pid, **finite(claim.progress)}
            for claim in snapshot.at_work
        ],
        "resume": resuming_command(out),
    }


def finite(progress: Mapping[str, Any]) -> Json:
    """A claim's progress with None for numbers that JSON does not have, such as a loss of nan."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in progress.items()
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """A sweep whose progress is tracked."""

    name: str
    key: str
    store: Store
    tracker: Tracker
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why lineages have failed, by id, as recorded when tracking began."""

    def look(self) -> tuple[list[ClaimInfo], Snapshot]:
        """Return the live drivers of the sweep, and its progress."""
        drivers = running(self.store, self.key)
        return drivers, self.tracker.look().with_time_left(drivers)


def track(out: Path, *, store: str | None) -> Followed:
    """Track the sweep of a results folder by the records of its lineages.

    It is planned only if a record is missing or older than the sweep's evaluations, because a run
    or an evaluation has just begun or was written by an earlier version.
    """
    record, records = load_sweep(out), load_lineages(out)
    sweep = sweep_from_record(record, out / "sweep.json")
    kept = existing_store(store_location(out, store), sweep.resources)
    by_id = {each.id: each for each in records}
    is_recorded = record.lineages and by_id.keys() == set(record.lineages)
    num_added = len(record.evaluations)
    if is_recorded and all(
        each.nodes and len(each.evaluation_specs) == num_added for each in records
    ):
        lineages = [by_id[name] for name in record.lineages]
    else:
        lineages = planned(sweep, kept, recorded_data(record, records))
    tracker = Tracker(lineages, kept, names=name_specs(lineages, sweep.evaluations))
    return Followed(
        name=sweep.name,
        key=run_key(out, sweep),
        store=kept,
        tracker=tracker,
        errors=errors_of(records),
    )


def name_specs(
    lineages: Iterable[LineageRecord], evaluations: Sequence[MetricsConfig]
) -> dict[str, str]:
    """The metrics in words of each specification that lineages share."""
    added = [name_metrics(config) for config in evaluations]
    names: dict[str, str] = {}
    for each in lineages:
        if each.metrics_spec and each.metrics_spec not in names:
            own = restored(MetricsConfig(), each.config["metrics"], "metrics.")
            names[each.metrics_spec] = name_metrics(own)
        if len(each.evaluation_specs) == len(added):
            names.update(zip(each.evaluation_specs, added, strict=True))
    return names


def planned(sweep: SweepConfig, store: Store, data: KnownData) -> list[LineageRecord]:
    """The records of the lineages that a sweep's settings stand for."""
    return [record_of(each) for each in plan_sweep(sweep, finder_of_recorded(store, data))]


def print_lineages(
    followed: Followed,
    snapshot: Snapshot,
    drivers: Iterable[ClaimInfo],
    errors: Mapping[str, str],
) -> dict[str, str]:
    """Print the state of each lineage, then its error if it has one; returns the states by id."""
    from tabulate import tabulate

    states = snapshot.states(started_lineages(drivers), errors)
    reasons = {each.id: errors.get(each.id) or each.error or "" for each in snapshot.records}
    shown = {name: printable(" ".join(reason.split())) for name, reason in reasons.items()}
    rows = [
        [each.id, states[each.id], f"{each.num_done} of {len(each.nodes)}", cell(shown[each.id])]
        for each in snapshot.records
    ]
    print(f"{printable(followed.name)}: {snapshot.summary()}\n")
    print(tabulate(rows, ["lineage", "status", "generations", ""], disable_numparse=True))
    for name, reason in shown.items():
        if len(reason) > CELL_WIDTH:
            print(f"\n{name}: {reason}")
    return states


def recorded_errors(out: Path) -> dict[str, str]:
    """Why lineages have failed, by id, as the last run recorded it."""
    return errors_of(load_lineages(out))


def errors_of(records: Iterable[LineageRecord]) -> dict[str, str]:
    """Why lineages have failed, by id."""
    return {each.id: each.error for each in records if each.error and each.status != "diverged"}


def cell(text: str) -> str:
    """The text, cut to the width of a cell."""
    return text if len(text) <= CELL_WIDTH else f"{text[: CELL_WIDTH - 3]}..."


def resuming(out: Path) -> str:
    """Return the line for a sweep that nobody works on, with the command that resumes it."""
    return f"not running; resume with: {printable(pasteable(resuming_command(out)))}"


def resuming_command(out: Path) -> str:
    """Return the last command that ran a sweep."""
    commands = [line for line in load_sweep(out).commands if line.startswith("sweep run")]
    return commands[-1] if commands else f"sweep run ... --out {shlex.quote(str(out))}"
