"""Reads results folders into one tidy table: a row per lineage, generation and member."""

import functools
import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.reading.checks import (
    check_lineage,
    check_names,
    fits_closed_form,
    node_keys,
    read_metrics,
    read_node,
)
from analysis.reading.columns import (
    AT,
    CLASS,
    DIRECTION,
    METRIC_COLUMNS,
    MIXTURE,
    NODE_COLUMNS,
    NODE_IDENTITY,
    RESERVED,
    RUN_COLUMNS,
    SPLIT,
    sort_key,
)
from analysis.reading.floors import FloorReader, is_floor
from analysis.reading.labels import json_identity, spell
from analysis.reading.settings import flatten
from model.errors import UsageError
from sweep.records import (
    Json,
    LineageRecord,
    MetricsRecord,
    NodeRecord,
    load_card,
    load_lineages,
    load_sweep,
)
from sweep.sealed import many_objects

COUNTS = ("num_images", "num_steps", "images_seen", "metric_num_images", "metric_num_reference")

STATUSES = ("done", "diverged", "unmeasured", "running", "queued", "failed", "missing", "pending")
"""Of two statuses of one node, a merged row gets the one that is first in this order. An
`unmeasured` node is done, but its metrics are not; a `missing` node is one of a finished lineage
whose record was not copied."""

SHOWN_AXES = ("pool.alpha", "train.epochs", SPLIT)
"""Settings that have a column even if they do not vary."""

NO_AXES = ("seed", "generations", "metrics.extractor", "metrics.names", "metrics.resolution")
"""Settings that are never axes: results are averaged over seeds, a longer lineage begins with the
models of a shorter one, and each metric is a column, whose name includes the extractor."""

PATH = "data.path"
FINGERPRINT = "data.fingerprint"
"""Name of the axis of data sets that differ only in their contents."""
FINGERPRINT_LENGTH = 12

Located = tuple[str, Path, LineageRecord]
"""A lineage, after the name and the path of its folder."""
Row = tuple[Json, dict[str, float]]
RowsFunction = Callable[[Path, LineageRecord], Iterator[Row]]
"""Maps a lineage of a folder to its rows, as pairs of row and metrics."""


def load_results(dirs: Sequence[Path]) -> pd.DataFrame:
    """Read results folders into one tidy table, sorted by axes, seed, generation and member.

    A node that several lineages or folders share has one row for each combination of axis values
    and seed. The row has the metrics of all its records.

    Args:
        dirs: The --out folders of sweeps, or copies of them.

    Returns:
        The table, with the columns of analysis.reading.columns. Unknown numbers are missing values.

    Raises:
        UsageError: A folder has no lineages, or `dirs` is empty.
        RecordError: A folder is not a results folder, or a record in it is damaged.
    """
    return _load(dirs, functools.partial(_lineage_rows, floors=FloorReader()), ())


def load_class_results(dirs: Sequence[Path]) -> pd.DataFrame:
    """Read the metrics per class of results folders into one tidy table.

    The table is that of load_results, with a row for every class of every model, the axis CLASS,
    and metrics per class instead of the others.

    Args:
        dirs: The --out folders of sweeps, or copies of them.

    Raises:
        UsageError: As in load_results, or no metric per class was measured.
        RecordError: As in load_results.
    """
    lacking = (
        "DIR must have metrics per class, got none; "
        "`sweep evaluate DIR --metrics.names classes` takes some"
    )
    return _load(dirs, _class_rows, (CLASS,), lacking=lacking)


def load_direction_results(dirs: Sequence[Path], *, without: Collection[str] = ()) -> pd.DataFrame:
    """Read the metrics per principal direction of results folders into one tidy table.

    The table is that of load_results, with a row for every direction of every model, the axis
    DIRECTION (1 for the one with most variance), and metrics per direction instead of the others.

    Args:
        dirs: The --out folders of sweeps, or copies of them.
        without: Ids of lineages that are left out.

    Raises:
        UsageError: As in load_results, or no metric per direction was measured.
        RecordError: As in load_results.
    """
    lacking = (
        "DIR must have the metric gain, got none; "
        "`sweep evaluate DIR --metrics.names gain` takes it"
    )
    rows_of = functools.partial(_direction_rows, without=without)
    return _load(dirs, rows_of, (DIRECTION,), lacking=lacking)


@many_objects()
def _load(
    dirs: Sequence[Path], rows_of: RowsFunction, more_axes: tuple[str, ...], *, lacking: str = ""
) -> pd.DataFrame:
    """Build the tidy table of the rows that a function returns; `lacking` is the error for none."""
    if not dirs:
        raise UsageError("DIR must be given at least once, got none; use the --out of a sweep run")
    runs = run_names(dirs)
    lineages = [(run, folder, record) for run, folder in runs.items() for record in _read(folder)]
    settings = _settings(lineages)
    axes = _find_axes(lineages, settings)
    rows: dict[tuple, Json] = {}
    metrics: set[str] = set()
    for (run, folder, record), setting in zip(lineages, settings, strict=True):
        check_names(folder, record, RESERVED, axes)
        values = {axis: setting.get(axis) for axis in axes}
        seed = setting.get("seed")
        setting_id = tuple(map(json_identity, (seed, *values.values())))
        for row, numbers in rows_of(folder, record):
            check_names(folder, record, axes, numbers)
            metrics |= numbers.keys()
            row = {"run": run, "seed": seed, **row, **values, **numbers}
            identity = (setting_id, *(row[name] for name in (*more_axes, *NODE_IDENTITY)))
            rows[identity] = _merge(rows[identity], row) if identity in rows else row
    if lacking and not rows:
        raise UsageError(lacking)
    return _to_frame(rows.values(), [*axes, *more_axes], sorted(metrics))


def _to_frame(rows: Iterable[Json], axes: list[str], metrics: list[str]) -> pd.DataFrame:
    """Arrange rows in a sorted table, with cells of axes that can be told apart."""
    floors = [column for column in metrics if is_floor(column)]
    generated = [column for column in metrics if column not in floors]
    columns = pd.Index(
        [*RUN_COLUMNS, *axes, *NODE_COLUMNS, *generated, *METRIC_COLUMNS, *floors], dtype=object
    )
    rows = list(rows)
    cells = {column: [row.get(column) for row in rows] for column in columns}
    frame = pd.DataFrame(cells, columns=columns, dtype=object)
    for column in (*axes, "seed"):
        frame[column] = pd.Series(spell(frame[column].tolist()), dtype=object)
    places = [_places(frame[column].tolist()) for column in (*axes, "seed", "generation", "member")]
    order = sorted(range(len(frame)), key=list(zip(*places, strict=True)).__getitem__)
    numbers = dict.fromkeys((*NODE_COLUMNS, *metrics), float)
    types = {**numbers, **dict.fromkeys(COUNTS, "Int64"), "generation": int, "closed_form": bool}
    return frame.iloc[order].reset_index(drop=True).astype(types)


def _places(cells: list[Any]) -> list[int]:
    """Return the place of each cell among the sorted unique cells of its column."""
    unique = sorted(set(cells), key=lambda cell: sort_key((cell,)))
    return list(map({cell: place for place, cell in enumerate(unique)}.__getitem__, cells))


def run_names(dirs: Sequence[Path]) -> dict[str, Path]:
    """Map names to unique folders: their last parts, or whole paths if two last parts are equal."""
    unique = {folder.resolve(): folder for folder in dirs}
    by_name = {path.name: folder for path, folder in unique.items()}
    if len(by_name) == len(unique):
        return by_name
    return {folder.as_posix(): folder for folder in unique.values()}


def _read(folder: Path) -> list[LineageRecord]:
    load_sweep(folder)
    records = load_lineages(folder)
    if not records:
        raise UsageError(
            f"{folder / 'lineages'} must hold at least one lineage, got none; "
            "run the sweep that belongs to this folder first"
        )
    for record in records:
        check_lineage(folder, record)
    return records


def _settings(lineages: Sequence[Located]) -> list[Json]:
    """Return the dotted settings of each lineage.

    FINGERPRINT is one of them if the same settings of the data stand for different images, e.g. in
    runs before and after the files at a path were changed. The path is left out if the images are
    known to be the same wherever the other settings are.
    """
    # A setting that is missing from an older record has the value that was implied at that time.
    defaults = {k: v for _, _, record in lineages for k, v in record.key_defaults.items()}
    settings = [{**defaults, **flatten(record.config), **record.axes} for _, _, record in lineages]
    places = [(folder, record.dataset) for _, folder, record in lineages]
    known = {place: _fingerprint(*place) for place in dict.fromkeys(places)}
    prints = [known[place] for place in places]
    named = _determine_images(settings, prints)
    is_path_needed = None in prints or not _determine_images(settings, prints, leave_out=PATH)
    if not named:
        settings = [{**flat, FINGERPRINT: t} for flat, t in zip(settings, prints, strict=True)]
    if not is_path_needed:
        settings = [{k: v for k, v in flat.items() if k != PATH} for flat in settings]
    return settings


def _determine_images(
    settings: Sequence[Json], prints: Sequence[str | None], leave_out: str = ""
) -> bool:
    """Whether equal settings of the data stand for equal images; None may be any images."""
    if len(set(prints) - {None}) < 2:
        return True
    known = set()
    for flat, fingerprint in zip(settings, prints, strict=True):
        if fingerprint is not None:
            names = sorted(k for k in flat if k.startswith("data.") and k != leave_out)
            known.add((tuple((k, json_identity(flat[k])) for k in names), fingerprint))
    return len({of_data for of_data, _ in known}) == len(known)


def _fingerprint(folder: Path, dataset: str) -> str | None:
    """Return the start of the fingerprint of a data set, or None if it is unknown."""
    card = load_card(folder, dataset)
    return card.fingerprint[:FINGERPRINT_LENGTH] if card and card.fingerprint else None


def _find_axes(lineages: Sequence[Located], settings: list[Json]) -> list[str]:
    """Return SHOWN_AXES and the settings that vary, of which the axes of the sweeps come first."""
    sweep_axes = dict.fromkeys(axis for _, _, record in lineages for axis in record.axes)
    candidates = dict.fromkeys(
        [*SHOWN_AXES, *sweep_axes, *(key for flat in settings for key in flat)]
    )
    axes = []
    for axis in candidates:
        shown = axis in SHOWN_AXES and any(axis in flat for flat in settings)
        if axis not in NO_AXES and (shown or _vary([flat.get(axis) for flat in settings])):
            axes.append(axis)
    return axes


def _vary(values: Sequence[Any]) -> bool:
    """Whether there are different values; most lists hold one object throughout."""
    is_one_object = not any(map(operator.is_not, values, itertools.repeat(values[0])))
    return not is_one_object and len(set(map(json_identity, values))) > 1


def _lineage_rows(folder: Path, record: LineageRecord, floors: FloorReader) -> Iterator[Row]:
    """Yield a row, the metrics and their floors for each generation and member of a lineage."""
    for row, metrics in _measured_rows(folder, record):
        numbers: dict[str, float] = {}
        for measured, suffix in _with_suffixes(metrics):
            for name, number in measured.values.items():
                numbers.setdefault(name + suffix, number)
            numbers = floors.columns(folder, record.dataset, measured, suffix) | numbers
        yield row, numbers


def _class_rows(folder: Path, record: LineageRecord) -> Iterator[Row]:
    """Yield a row and the metrics of each class that has metrics."""
    return _part_rows(folder, record, CLASS, lambda measured: measured.classes)


def _direction_rows(folder: Path, record: LineageRecord, without: Collection[str]) -> Iterator[Row]:
    """Yield a row and the metrics of each principal direction that has metrics."""
    if record.id in without:
        return iter(())
    return _part_rows(
        folder,
        record,
        DIRECTION,
        lambda measured: {k: dict(enumerate(v, start=1)) for k, v in measured.directions.items()},
    )


def _part_rows(
    folder: Path,
    record: LineageRecord,
    axis: str,
    parts_of: Callable[[MetricsRecord], Mapping[str, Mapping[Any, float]]],
) -> Iterator[Row]:
    """Yield a row and the metrics of each class or direction, which is the value of an axis."""
    for row, metrics in _measured_rows(folder, record):
        by_part: dict[Any, dict[str, float]] = {}
        for measured, suffix in _with_suffixes(metrics):
            for name, values in parts_of(measured).items():
                for part, number in values.items():
                    by_part.setdefault(part, {}).setdefault(name + suffix, number)
        for part, numbers in by_part.items():
            yield {**row, axis: part}, numbers


def _measured_rows(
    folder: Path, record: LineageRecord
) -> Iterator[tuple[Json, list[MetricsRecord]]]:
    """Yield a row and the metric records of each generation and member."""
    diverged = False
    closed_form: dict[int, bool] = {}
    for generation, keys in enumerate(node_keys(record), start=1):
        where = {"lineage": record.id, "generation": generation}
        for member, key in enumerate(keys):
            node = read_node(folder, key) if key else None
            specs = record.specs(member) if node else []
            metrics = _read_metrics(folder, key, specs)
            diverged = diverged or (node is not None and node.status == "diverged")
            is_measured = bool(metrics) or not specs
            status = "diverged" if diverged else _row_status(record, node, is_measured)
            if member not in closed_form:
                closed_form[member] = fits_closed_form(folder, record, member)
            row = where | {"member": member, "node": key, "status": status}
            row["closed_form"] = closed_form[member]
            row |= _environments([*([node] if node else []), *metrics])
            yield row | _node_numbers(node) | _metric_sizes(metrics), metrics
        mixture = record.mixture_specs[generation - 1] if record.mixture_specs else []
        if mixture and (metrics := _read_metrics(folder, keys[0], mixture)):
            status = "diverged" if diverged else "done"
            row = {"member": MIXTURE, "node": keys[0], "status": status, "closed_form": False}
            yield where | row | _metric_sizes(metrics) | _environments(metrics), metrics


def _environments(records: Sequence[NodeRecord | MetricsRecord]) -> Json:
    """The different environments in which records were computed."""
    lines = dict.fromkeys(line for record in records for line in record.environments())
    return {"environments": tuple(lines) or None}


def _read_metrics(folder: Path, key: str | None, specs: Sequence[str]) -> list[MetricsRecord]:
    """Read the metric records that a node has for some specifications."""
    records = [read_metrics(folder, key, spec) for spec in specs] if key else []
    return [record for record in records if record is not None]


def _with_suffixes(metrics: list[MetricsRecord]) -> Iterator[tuple[MetricsRecord, str]]:
    """Yield (record, suffix of its columns): @n if n images differ from the first record's n."""
    for record in metrics:
        same = record.num_images == metrics[0].num_images
        yield record, "" if same else f"{AT}{record.num_images}"


def _row_status(record: LineageRecord, node: NodeRecord | None, is_measured: bool) -> str:
    if node is not None:
        return node.status if is_measured else "unmeasured"
    return "missing" if record.status in ("done", "unmeasured") else record.status


def _node_numbers(node: NodeRecord | None) -> Json:
    if node is None:
        return {}
    numbers = {name: getattr(node, name) for name in NODE_COLUMNS if name != "real_share"}
    known = "-1" not in node.origins  # the origins of a diverged model's pool may be unknown
    return numbers | ({"real_share": node.origins.get("0", 0) / node.num_images} if known else {})


def _metric_sizes(metrics: list[MetricsRecord]) -> Json:
    if not metrics:
        return {}
    warnings = dict.fromkeys(text for record in metrics for text in record.warnings)
    return {
        "metric_num_images": metrics[0].num_images,
        "metric_num_reference": metrics[0].num_reference,
        "metric_warnings": tuple(warnings) or None,
    }


def _merge(first: Json, second: Json) -> Json:
    """Merge two rows of one node; values that the first one lacks come from the second."""
    known = {name: value for name, value in first.items() if value is not None}
    status = min(first["status"], second["status"], key=status_rank)
    return {**second, **known, "status": status}


def status_rank(status: str) -> tuple[int, str]:
    """Return the place of a status in STATUSES; statuses of other versions follow in order."""
    return (STATUSES.index(status) if status in STATUSES else len(STATUSES), status)
