"""The results folder: opens or extends one, and fills it from the store.

Everything written here follows from sweep.json and the store, so repeating it at any time is safe.
"""

import logging
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.config import DataConfig, MetricsConfig
from model.errors import UsageError
from model.programs.settings import FAMILY
from model.training.initial import with_digest
from sweep.config import (
    LineageConfig,
    ResourcesConfig,
    SweepConfig,
    checked_grids,
    flatten,
    restored,
    to_json,
    unflatten,
    unique,
    updated,
)
from sweep.environment import versions
from sweep.files import Json, RecordError, complete, write_bytes
from sweep.finished import Finished, lineage_status, look_up
from sweep.lineage.datasets import KnownData
from sweep.planning.lineages import PlannedLineage
from sweep.records import (
    HYPOTHESES,
    LineageRecord,
    NodeRecord,
    PreparedData,
    SweepRecord,
    load_lineages,
    load_sweep,
    node_dir,
)
from sweep.specifications import floor_name
from sweep.store.bucket import QUESTIONS
from sweep.store.folder import Folder
from sweep.store.inventory import FOLDERS
from sweep.store.store import Store

COPIED = ("config.json", "pool.json", "curves.npz", "preview.png")
"""Files of a node that analysis reads, in addition to record.json and metrics/."""

EXTENDABLE = (
    *("generations", "data.path", "train.initial_checkpoint"),
    *("train.command_seconds", "train.command_resumes", "sample.command_seconds", "model.program"),
)
"""Base settings that may differ when a results folder is extended. They change no existing node: a
path may differ only if it holds the same data or weights, and a program only if its files are the
same."""

LOGGER = logging.getLogger(__name__)
LOG = "log.txt"
"""Name of the log of the commands that filled a results folder."""

OURS = (
    *(*FOLDERS, LOG, HYPOTHESES, "claims", "figures", "lineages", "logs", "sweeps"),
    *("tensorboard", "tune"),
)
"""What a results folder may contain if its sweep.json is deleted or not yet written."""


def check_out(out: Path) -> None:
    """Check that `out` can be the results folder of a sweep.

    Raises:
        UsageError: It is a file, contains something other than a sweep, or is not writable.
    """
    Folder(out).check("--out")
    if out.is_dir() and not (out / "sweep.json").exists():
        foreign = [path.name for path in out.iterdir() if path.name not in OURS]
        if foreign:
            raise UsageError(
                f"--out must be new, empty or a sweep's folder, got {out} holding {foreign[0]!r}; "
                "choose another folder"
            )


def check_place(out: Path, sweep: SweepConfig) -> None:
    """Raise UsageError if `out` lies in another results folder, or in a folder of data."""
    place = out.resolve()
    for outer in place.parents:
        if (outer / "sweep.json").exists():
            raise UsageError(
                f"--out must not be inside the results folder {outer}, got {out}; "
                "choose a folder beside it"
            )
    values = [each for grid in sweep.grids for each in grid.get("data.path", ())]
    for text in filter(None, (sweep.base.data.path, *values)):
        data = Path(text).expanduser().resolve()
        if data == place or (data in place.parents and data.is_dir()):
            raise UsageError(
                f"--out must not be in the folder of the data (data.path={text}), got {out}; "
                "choose a folder beside it"
            )


def extend(sweep: SweepConfig, out: Path) -> SweepConfig:
    """Merge the sweep with the one in `out`, if there is one: the result has the grids of both.

    Raises:
        UsageError: A base setting differs from the folder's; the message gives both values.
        RecordError: The folder's sweep.json is damaged.
    """
    old = read_sweep(out) if (out / "sweep.json").exists() else None
    if "train.initial_checkpoint" not in sweep.axes():  # else plans look at each point's file
        train = with_digest(sweep.base.train, None if old is None else old.base.train)
        sweep = replace(sweep, base=replace(sweep.base, train=train))
    if old is None:
        return sweep
    if changed := differing(old, sweep):
        name, before, now = changed
        raise UsageError(
            f"{name} must be {before!r} as in {out / 'sweep.json'}, got {now!r}; "
            f"use another --out, or --axis {name}=... to add points beside the old ones"
        )
    free = {name: value for name, value in flatten(to_json(sweep.base)) if name in EXTENDABLE}
    free["generations"] = max(old.base.generations, sweep.base.generations)
    grids = unique((*old.grids, *sweep.grids))
    base = updated(old.base, unflatten(free))
    return replace(old, base=base, grids=tuple(grids), resources=sweep.resources)


def store_location(out: Path, store: str | None = None) -> str:
    """Where the store of a results folder is: `store`, or what its sweep.json names, or `out`.

    A line on standard error says if sweep.json names it.

    Raises:
        UsageError: sweep.json names a folder that does not exist.
        RecordError: The folder's sweep.json is damaged.
    """
    recorded = load_sweep(out).store if (out / "sweep.json").exists() else ""
    if store is not None or not recorded:
        return store or str(out)
    if "://" not in recorded and not Path(recorded).is_dir():
        raise UsageError(
            f"--store must be set, because {out / 'sweep.json'} names the store {recorded}, which "
            f"does not exist here; use its new place, or --store {out} for what {out} itself holds"
        )
    LOGGER.warning("using the store %s, as in %s", recorded, out / "sweep.json")
    return recorded


def check_store(out: Path, store: Store) -> None:
    """Raise UsageError if a store lacks models of a results folder, so that none is trained twice.

    A line on standard error says if the store is another one than in earlier runs. The store of
    earlier runs may lack some models, which `sweep clean` may have deleted, but not all of them.
    """
    if not (out / "sweep.json").exists():
        return
    before = load_sweep(out).store or str(out)
    is_moved = before != store.location
    if store.location == str(out) and not is_moved:
        return
    finished = {
        key
        for record in load_lineages(out)
        for members in record.nodes[: record.num_done]
        for key in members
    }
    missing = finished - store.nodes.done(finished)
    if missing and (is_moved or missing == finished):
        raise UsageError(
            f"--store must hold the finished models of {out}, whose store is {before}, got "
            f"{store.location} without {len(missing)} of {len(finished)}; use the place where the "
            "store is now, copy it there, or use another --out"
        )
    if is_moved:
        LOGGER.warning("the store of %s is now %s, not %s", out, store.location, before)


def differing(old: SweepConfig, new: SweepConfig) -> tuple[str, Any, Any] | None:
    """The first base setting that differs and is not an axis of every grid, with both values."""
    before, now = (dict(flatten(to_json(sweep.base))) for sweep in (old, new))
    free = set(EXTENDABLE)
    if now["train.precision"] == "auto":  # the folder contains the resolved value
        free.add("train.precision")
    for name in before:
        in_all = all(name in grid for sweep in (old, new) for grid in sweep.grids)
        if name not in free and not in_all and before[name] != now[name]:
            return name, before[name], now[name]
    return None


def read_sweep(out: Path) -> SweepConfig:
    """The sweep of a results folder.

    Raises:
        RecordError: sweep.json is missing, damaged, or holds settings that are not allowed.
    """
    return sweep_from_record(load_sweep(out), out / "sweep.json")


def sweep_from_record(record: SweepRecord, path: Path | str) -> SweepConfig:
    """The sweep in a sweep.json; raises RecordError, naming `path`, if a setting is not allowed."""
    try:
        return SweepConfig(
            name=str(record.name),
            description=str(record.description),
            base=restored(LineageConfig(), complete(record.base)),
            grids=checked_grids(record.grids),
            resources=updated(ResourcesConfig(), record.resources, "resources."),
            evaluations=tuple(
                restored(MetricsConfig(), metrics, "metrics.") for metrics in record.evaluations
            ),
        )
    except UsageError as error:
        raise RecordError(f"{path} must hold a sweep's settings: {error}") from None


def recorded_data(record: SweepRecord, lineages: Iterable[LineageRecord] = ()) -> KnownData:
    """The keys of a sweep's prepared data sets, by their settings.

    Args:
        record: Its sweep.json, or a note of it in a store.
        lineages: Its lineages, which name the data sets of a sweep.json of an earlier version.
    """
    known = [(each.settings, each.key) for each in record.datasets]
    known = known or [(each.config["data"], each.dataset) for each in lineages]
    return {restored(DataConfig(), settings, "data."): key for settings, key in known}


def load_recorded_data(out: Path) -> KnownData:
    """The keys of a results folder's prepared data sets; none if the folder is new."""
    if not (out / "sweep.json").exists():
        return {}
    return recorded_data(load_sweep(out), load_lineages(out))


def write_sweep(
    out: Path,
    sweep: SweepConfig,
    command: str,
    *,
    store: str = "",
    lineages: Iterable[PlannedLineage] = (),
) -> None:
    """Write sweep.json and keep the commands of an earlier one.

    Args:
        out: The results folder.
        sweep: The sweep.
        command: The command line.
        store: Location of its store; empty if that is `out`.
        lineages: All lineages of the sweep.
    """
    commands = load_sweep(out).commands if (out / "sweep.json").exists() else []
    lineages = list(lineages)
    cards = {lineage.config.data: lineage.card.key for lineage in lineages}
    SweepRecord(
        name=sweep.name,
        description=sweep.description,
        base=to_json(sweep.base),
        grids=[dict(grid) for grid in sweep.grids],
        resources=to_json(sweep.resources),
        environment=versions("collapse-sweep", "torch", "numpy", "ray") | git_commit(),
        commands=commands if command in commands else [*commands, command],
        evaluations=[to_json(metrics) for metrics in sweep.evaluations],
        store="" if store == str(out.absolute()) else store,
        lineages=[lineage.id for lineage in lineages],
        datasets=[PreparedData(settings=to_json(data), key=key) for data, key in cards.items()],
    ).save(out / "sweep.json")


def git_commit() -> Json:
    """Commit of this project's source tree; empty if it is not installed from a git checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return {}
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git_commit": answer.stdout.strip()}


def check_lineages(out: Path, lineages: Iterable[PlannedLineage]) -> None:
    """Raise UsageError if the folder has a lineage that the sweep does not have.

    Nothing of a results folder is replaced because its settings or data are others now.
    """
    planned = {lineage.id for lineage in lineages}
    for record in load_lineages(out):
        if record.id not in planned:
            is_program = record.config.get("model", {}).get("family") == FAMILY
            what = "settings, data or files of model.program" if is_program else "settings or data"
            raise UsageError(
                f"--out must hold only lineages of this sweep, got {out} with {record.id}, which "
                f"had other {what}; use another --out"
            )


def fill(
    out: Path,
    lineages: list[PlannedLineage],
    store: Store,
    *,
    errors: Mapping[str, str] = {},
    finished: Finished | None = None,
) -> list[LineageRecord]:
    """Write each lineage's record; if the store is elsewhere, copy what analysis needs from it.

    Args:
        out: The results folder.
        lineages: All or some lineages of the sweep.
        store: The store with their nodes.
        errors: Reasons why lineages failed, by id.
        finished: Their finished models and metrics; None looks them up.

    Returns:
        The lineages' records, in order.
    """
    records = []
    finished = look_up(store, lineages) if finished is None else finished
    for lineage in lineages:
        record = lineage_status(lineage, finished, error=errors.get(lineage.id))
        path = out / "lineages" / f"{lineage.id}.json"
        if not path.exists() or LineageRecord.load(path) != record:
            record.save(path)
        records.append(record)
    if store.location != str(out.absolute()):
        for key in sorted({lineage.card.key for lineage in lineages}):
            copy_dataset(out, key, store)
        copy_floors(out, planned_floors(lineages), store)
        with ThreadPoolExecutor(QUESTIONS) as pool:
            list(pool.map(lambda record: copy_files(out, record, store), finished.nodes.values()))
        for (key, spec), metrics in finished.metrics.items():
            path = node_dir(out, key) / "metrics" / f"{spec}.json"
            if metrics.nearest_sha256:
                write_bytes(path.with_suffix(".png"), store.read_sheet(key, spec, metrics))
            metrics.save(path)
    return records


def copy_files(out: Path, record: NodeRecord, store: Store) -> None:
    """Copy a node's record and small files (no weights) into the results folder."""
    folder = node_dir(out, record.key)
    for name in COPIED:
        if name in record.files and not (folder / name).exists():
            write_bytes(folder / name, store.nodes.read_file(record.key, name))
    if not (folder / "record.json").exists():
        record.save(folder / "record.json")


def planned_floors(lineages: Iterable[PlannedLineage]) -> set[tuple[str, str]]:
    """Data set and name of the floors of lineages."""
    return {
        (lineage.card.key, floor_name(plan.inputs))
        for lineage in lineages
        for node in lineage.nodes
        for plan in node.all_metrics
    }


def copy_floors(out: Path, names: Iterable[tuple[str, str]], store: Store) -> None:
    """Copy floors, given by data set and name, into the results folder."""
    for key, name in sorted(names):
        path = out / "datasets" / key / "metrics" / f"{name}.json"
        if not path.exists() and (record := store.read_floor(key, name)) is not None:
            record.save(path)


def copy_dataset(out: Path, key: str, store: Store) -> None:
    """Copy a data set's card and preview (no pixels) into the results folder."""
    folder = out / "datasets" / key
    if store.datasets.has(key) and not (folder / "card.json").exists():
        write_bytes(folder / "preview.png", store.datasets.read_file(key, "preview.png"))
        store.datasets.read(key).save(folder / "card.json")
