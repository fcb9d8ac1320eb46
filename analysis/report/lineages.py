"""The tree of models and the lineages through it, with the origins of each pool, as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.reading.checks import image_size, read_node
from analysis.reading.columns import is_missing
from analysis.reading.trees import Line, Node, find_lines, grow_tree
from analysis.report.curves import name_setting
from analysis.tables.build import Part
from model.errors import printable
from sweep.records import LineageRecord, NodeRecord, node_dir


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """All models and lineages."""

    data: dict[str, Any]
    nodes: list[Node]
    lines: list[Line]
    axes: list[str]
    """Settings that vary."""
    sets: dict[str, Path]
    """Data set -> results folder."""
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
    lines = list(find_lines(part.frame, part.by, part.labels))
    grown = grow_tree(lines, part.labels, part.usual, axes=part.by)
    rows = part.frame[["status", *metrics]].to_dict("records")
    of_lines = [records[line.run, line.lineage] for line in lines]
    data = {
        "nodes": [_node(node, rows[node.row], runs, metrics) for node in grown.nodes],
        "lines": [
            {
                "name": printable(f"{name_setting(part, line.values)}, {line.unit}"),
                "setting": line.setting,
                "nodes": path,
                "size": image_size(runs[line.run], record),
                "data": record.dataset,
            }
            for line, path, record in zip(lines, grown.paths, of_lines, strict=True)
        ],
    }
    sets: dict[str, Path] = {}
    for line, record in zip(lines, of_lines, strict=True):
        sets.setdefault(record.dataset, runs[line.run])
    return Tree(
        data=data,
        nodes=grown.nodes,
        lines=lines,
        axes=part.by,
        sets=sets,
        sheets=_sheets(lines, sets, runs),
    )


def _node(
    node: Node, row: dict[Any, Any], runs: dict[str, Path], metrics: Sequence[str]
) -> dict[str, Any]:
    record = _read(node.key, runs)
    numbers = [None if is_missing(row[name]) else float(f"{row[name]:.4g}") for name in metrics]
    return {
        "key": node.key[:12],
        "generation": node.generation,
        "parent": node.parent,
        "name": node.name,
        "status": printable(row["status"]),
        "reason": printable(record.reason or "" if record else ""),
        "numbers": numbers,
        "images": record.num_images if record else None,
        "origins": _origins(record),
        "lines": node.lines,
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


def _sheets(
    lines: Sequence[Line], sets: dict[str, Path], runs: dict[str, Path]
) -> list[tuple[str, Path]]:
    """The pictures that exist: the data sets', then those of the first seed of each setting."""
    first = {line.setting: line for line in reversed(lines)}
    paths = {name: folder / "datasets" / name for name, folder in sets.items()}
    for line in (*first.values(), *lines):
        for key in line.nodes:
            for folder in runs.values():
                if key not in paths and (node_dir(folder, key) / "preview.png").exists():
                    paths[key] = node_dir(folder, key)
    return [(key, path / "preview.png") for key, path in paths.items()]
