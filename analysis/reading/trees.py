"""The tree of models: lineages that share their first models, each of which is one node."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from analysis.reading.columns import MIXTURE, SPLIT, group_positions, is_missing, unit_columns
from analysis.reading.labels import Labels, short_names
from analysis.reading.settings import BASE, Usual
from model.errors import printable

SAMPLER = ("sample.", "metrics.")
"""Beginnings of settings that do not change a model, but the images it is measured by."""
Units = dict[str, list[int]]
"""Name of a seed -> positions of its rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A lineage of one setting, seed and member."""

    setting: int
    """Position of its setting among all, in order."""
    values: dict[str, Any]
    """The setting: axis -> cell."""
    unit: str
    """The seed, and the split of the data if there are several."""
    nodes: list[str]
    """Keys of its models by generation."""
    generations: list[int]
    rows: list[int]
    """Positions of their rows in the table."""
    run: str
    lineage: str
    """Name of the results folder of its last model, and its id there."""


@dataclass(kw_only=True, slots=True)
class Node:
    """A model with the settings of its samples, and its place in the tree."""

    key: str
    sampler: tuple[str, ...]
    """Settings that change how it is sampled or measured."""
    row: int
    """Position of its first row in the table."""
    generation: int
    parent: int | None
    """Position of the model before it in a lineage; None for the first one."""
    lines: list[int] = field(default_factory=list)
    """Positions of the lineages that have it."""
    name: str = ""
    """What its lineages share, and those of its parent do not: `alpha = 1`."""


class Tree(NamedTuple):
    """The models of some lineages."""

    nodes: list[Node]
    """Each after the model before it."""
    paths: list[list[int]]
    """Positions of the models of each lineage by generation."""


def name_unit(labels: Labels, frame: pd.DataFrame, unit: Mapping[str, Any]) -> str:
    """Name a seed, and a split of the data if there are several: `seed 0, split_seed 1`."""
    words = [f"seed {labels.name('seed', unit['seed'])}"]
    if SPLIT in unit and frame[SPLIT].nunique(dropna=False) > 1:
        words.append(f"split_seed {labels.name(SPLIT, unit[SPLIT])}")
    return ", ".join(words)


def rows_of_units(frame: pd.DataFrame, by: Sequence[str], labels: Labels) -> list[Units]:
    """For each setting, the rows of each seed by the name of the seed."""
    columns, found = unit_columns(frame), []
    names = {
        tuple(unit.values()): printable(name_unit(labels, frame, unit))
        for unit, _ in group_positions(frame, columns)
    }
    cells = [[None if is_missing(v) else v for v in frame[name].tolist()] for name in columns]
    of_rows = [names[unit] for unit in zip(*cells, strict=True)]
    for _, positions in group_positions(frame, by):
        rows: Units = {}
        for position in positions:
            rows.setdefault(of_rows[position], []).append(position)
        found.append(rows)
    return found


def find_lines(frame: pd.DataFrame, by: Sequence[str], labels: Labels) -> Iterator[Line]:
    """Yield the lineages of each setting, seed and member."""
    names = ("run", "lineage", "member", "generation", "node")
    run, lineage, member, generation, node = (frame[name].tolist() for name in names)
    settings = group_positions(frame, by)
    units = rows_of_units(frame, by, labels)
    for setting, ((values, _), of_unit) in enumerate(zip(settings, units, strict=True)):
        for unit, rows in of_unit.items():
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
                    generations=[generation[i] for i in own],
                    rows=own,
                    run=run[own[-1]],
                    lineage=lineage[own[-1]],
                )


def grow_tree(
    lines: Sequence[Line], labels: Labels, usual: Usual | None, *, axes: Sequence[str]
) -> Tree:
    """Return the tree of some lineages.

    A model of lineages that sample it or measure it in different ways is a node for each, because
    its numbers differ.

    Args:
        lines: The lineages.
        labels: Names of their settings.
        usual: Usual values, which are not named.
        axes: Settings that name the models.
    """
    known: dict[tuple, int] = {}
    nodes: list[Node] = []
    paths = []
    for number, line in enumerate(lines):
        path: list[int] = []
        sampler = sampler_of(line.values)
        models = zip(line.nodes, line.generations, line.rows, strict=True)
        for key, generation, row in models:
            identity = (key, sampler)
            if identity not in known:
                known[identity] = len(nodes)
                nodes.append(
                    Node(
                        key=key,
                        sampler=sampler,
                        row=row,
                        generation=generation,
                        parent=path[-1] if path else None,
                    )
                )
            path.append(known[identity])
            nodes[path[-1]].lines.append(number)
        paths.append(path)
    _name_nodes(nodes, lines, labels, usual, axes)
    return Tree(nodes, paths)


def sampler_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return those settings that change how a model is sampled or measured."""
    named = sorted((axis, x) for axis, x in values.items() if axis.startswith(SAMPLER))
    return tuple(f"{axis}={None if is_missing(x) else x}" for axis, x in named)


def _name_nodes(
    nodes: Sequence[Node],
    lines: Sequence[Line],
    labels: Labels,
    usual: Usual | None,
    axes: Sequence[str],
) -> None:
    """Name each model by what its lineages share and those of its parent do not."""
    short = short_names(axes)
    named = [
        {
            **{short[a]: labels.name(a, line.values[a]) for a in axes},
            "seed": line.unit.removeprefix("seed "),
        }
        for line in lines
    ]
    values = usual.values if usual else {}
    unnamed = {(short[a], labels.name(a, v)) for a, v in values.items() if a in short}
    shared: list[dict[str, str]] = []
    for node in nodes:
        first, *others = (named[number] for number in node.lines)
        shared.append({a: v for a, v in first.items() if all(x[a] == v for x in others)})
    varying = {a for each in named for a in each if len({x[a] for x in named}) > 1}
    for node, own in zip(nodes, shared, strict=True):
        above = shared[node.parent] if node.parent is not None else {}
        new = [(a, v) for a, v in own.items() if a not in above and a in varying]
        words = [f"{a} = {v}" for a, v in new if (a, v) not in unnamed]
        is_base = bool(values and new) and not any(a != "seed" for a, v in set(new) - unnamed)
        node.name = printable(", ".join([*([BASE] if is_base else []), *words]))
