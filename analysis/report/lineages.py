"""The tree of models and the lineages through it, with the origins of each pool, as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.reading.checks import image_size, read_node
from analysis.reading.columns import MIXTURE, group_positions, is_missing
from analysis.reading.labels import short_names
from analysis.reading.settings import BASE
from analysis.report.curves import name_setting, rows_of_units
from analysis.tables.build import Part
from model.errors import printable
from sweep.records import LineageRecord, NodeRecord, node_dir

Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A lineage of one setting, seed and member."""

    setting: int
    """Position among the settings of the curves."""
    values: dict[str, Any]
    unit: str
    nodes: list[str]
    """Keys of its models by generation."""
    record: LineageRecord
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """All models and lineages."""

    data: dict[str, Any]
    lines: list[Line]
    sheets: list[tuple[str, Path]]
    """Name and path of each picture, those of one seed of each setting first."""


def read_tree(
    part: Part,
    runs: dict[str, Path],
    records: dict[tuple[str, str], LineageRecord],
    metrics: Sequence[str],
) -> Tree:
    """Read the lineages of a table and their models.

    Args:
        part: The whole table, by the settings that vary.
        runs: Results folders by the names that the table has for them.
        records: Lineages by the name of their folder and their id.
        metrics: Columns whose numbers are shown beside a model.

    Raises:
        RecordError: A record is damaged.
    """
    lines = list(_lines(part, runs, records))
    known: dict[str, dict[str, Any]] = {}
    frame = part.frame[part.frame["member"] != MIXTURE]
    rows = {row["node"]: row for row in frame[["node", "status", *metrics]].to_dict("records")}
    positions: dict[str, int] = {}
    for line in lines:
        parent = None
        for generation, key in enumerate(line.nodes, start=1):
            if key not in known:
                positions[key] = len(known)
                known[key] = _node(rows[key], generation, parent, runs, metrics)
            parent = positions[key]
    for number, line in enumerate(lines):
        for key in line.nodes:
            known[key]["lines"].append(number)
    _name_nodes(part, lines, known)
    data = {
        "nodes": list(known.values()),
        "lines": [_line(part, line, positions) for line in lines],
    }
    return Tree(data=data, lines=lines, sheets=_sheets(lines, runs))


def _lines(
    part: Part, runs: dict[str, Path], records: dict[tuple[str, str], LineageRecord]
) -> Iterator[Line]:
    """The lineages of each setting, seed and member."""
    names = ("run", "lineage", "member", "generation", "node")
    run, lineage, member, generation, node = (part.frame[name].tolist() for name in names)
    settings = group_positions(part.frame, part.by)
    for setting, ((values, _), units) in enumerate(zip(settings, rows_of_units(part), strict=True)):
        for unit, rows in units.items():
            of_member: dict[Any, list[int]] = {}
            for i in rows:
                if member[i] != MIXTURE and not is_missing(node[i]):
                    of_member.setdefault(member[i], []).append(i)
            for own in of_member.values():
                own.sort(key=generation.__getitem__)
                yield Line(
                    setting=setting,
                    values=values,
                    unit=unit,
                    nodes=[node[i] for i in own],
                    record=records[run[own[-1]], lineage[own[-1]]],
                    folder=runs[run[own[-1]]],
                )


def _node(
    row: dict[Any, Any],
    generation: int,
    parent: int | None,
    runs: dict[str, Path],
    metrics: Sequence[str],
) -> dict[str, Any]:
    record = _read(row["node"], runs)
    numbers = [None if is_missing(row[name]) else float(f"{row[name]:.4g}") for name in metrics]
    return {
        "key": row["node"][:12],
        "generation": generation,
        "parent": parent,
        "status": printable(row["status"]),
        "reason": printable(record.reason or "" if record else ""),
        "numbers": numbers,
        "images": record.num_images if record else None,
        "origins": _origins(record),
        "lines": [],
    }


def _read(key: str, runs: dict[str, Path]) -> NodeRecord | None:
    for folder in runs.values():
        if (node := read_node(folder, key)) is not None:
            return node
    return None


def _origins(record: NodeRecord | None) -> list[tuple[int, int]]:
    """Generation and number of the images of a pool, in order; 0 is real data, -1 unknown."""
    origins = record.origins if record else {}
    return sorted((int(n), count) for n, count in origins.items())


def _name_nodes(part: Part, lines: Sequence[Line], known: dict[str, dict[str, Any]]) -> None:
    """Name each model by what its lineages share and those of its parent do not."""
    short, every = short_names(part.by), list(known.values())
    labels = [
        {
            **{short[a]: part.labels.name(a, v) for a, v in line.values.items()},
            "seed": line.unit.removeprefix("seed "),
        }
        for line in lines
    ]
    usual = part.usual.values if part.usual else {}
    unnamed = {(short[a], part.labels.name(a, v)) for a, v in usual.items()}
    shared: list[dict[str, str]] = []
    for node in every:
        first, *others = (labels[number] for number in node["lines"])
        shared.append({a: v for a, v in first.items() if all(x[a] == v for x in others)})
    varying = {a for each in labels for a in each if len({x[a] for x in labels}) > 1}
    for node, own in zip(every, shared, strict=True):
        above = shared[node["parent"]] if node["parent"] is not None else {}
        new = [(a, v) for a, v in own.items() if a not in above and a in varying]
        words = [f"{a} = {v}" for a, v in new if (a, v) not in unnamed]
        is_base = bool(usual and new) and not any(a != "seed" for a, v in set(new) - unnamed)
        node["name"] = printable(", ".join([*([BASE] if is_base else []), *words]))


def _line(part: Part, line: Line, positions: dict[str, int]) -> dict[str, Any]:
    return {
        "name": printable(f"{name_setting(part, line.values)}, {line.unit}"),
        "setting": line.setting,
        "nodes": [positions[key] for key in line.nodes],
        "size": image_size(line.folder, line.record),
        "data": line.record.dataset,
    }


def _sheets(lines: Sequence[Line], runs: dict[str, Path]) -> list[tuple[str, Path]]:
    """The pictures that exist: the data sets', then those of the first seed of each setting."""
    first = {line.setting: line for line in reversed(lines)}
    paths: dict[str, Path] = {}
    for line in lines:
        paths.setdefault(line.record.dataset, line.folder / "datasets" / line.record.dataset)
    for line in (*first.values(), *lines):
        for key in line.nodes:
            for folder in runs.values():
                if key not in paths and (node_dir(folder, key) / "preview.png").exists():
                    paths[key] = node_dir(folder, key)
    return [(key, path / "preview.png") for key, path in paths.items()]
