"""Tables of the generations of planned lineages, in which equal lineages stand once."""

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence

from model.commands.output import wrapped
from model.errors import printable_name
from model.training.length import ema_init_left
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import NodePlan

Rows = Sequence[tuple[str, ...]]
"""Rows of cells."""
MOST_VALUES = 5
"""Number of values of an axis that are listed; of more, the first and the last are."""


def generation_lines(lineages: Iterable[PlannedLineage], missing: Container[str]) -> Iterator[str]:
    """Yield a table of every generation: pool size, training length, views, EMA start left.

    Lineages with the same lines are printed once, below a line that says which they are.
    """
    columns = ["  model", "pool", "steps", "images\nseen", "views", "EMA start\nleft", ""]

    def rows(lineage: PlannedLineage) -> Rows:
        return tuple(generation_rows(lineage, missing))

    return group_lines(columns, [(rows(x[0]), x) for x in group_lineages(lineages, rows)])


def group_lineages(
    lineages: Iterable[PlannedLineage], key_of: Callable[[PlannedLineage], Hashable]
) -> list[list[PlannedLineage]]:
    """Divide lineages into those with the same key, in order."""
    groups: dict[Hashable, list[PlannedLineage]] = {}
    for lineage in lineages:
        groups.setdefault(key_of(lineage), []).append(lineage)
    return list(groups.values())


def group_lines(
    columns: Sequence[str], groups: Sequence[tuple[Rows, Sequence[PlannedLineage]]]
) -> Iterator[str]:
    """Yield a table of groups of lineages: a line that says which they are, and their rows."""
    from tabulate import tabulate

    rows = [row for own, _ in groups for row in own]
    align = ("left", *["right"] * (len(columns) - 1))
    lines = tabulate(
        rows, columns, disable_numparse=True, preserve_whitespace=True, colalign=align
    ).splitlines()
    head, table = lines[: -len(rows)], lines[-len(rows) :]
    yield from head
    for own, members in groups:
        yield from wrapped(describe_axes(members), indent=4)
        yield from table[: len(own)]
        del table[: len(own)]


def generation_rows(lineage: PlannedLineage, missing: Container[str]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each of a lineage's models."""
    for node in lineage.nodes:
        left = ema_init_left(node.num_steps, node.settings.train) if node.num_steps else 0.0
        yield (
            f"  {model_name(node, lineage)}",
            f"{node.num_images:,}",
            f"{node.num_steps:,}",
            f"{node.images_seen:,}",
            f"{node.images_seen / node.num_images:.1f}",
            f"{left:.1%}",
            "to do" if node.key in missing else "done",
        )


def describe_axes(lineages: Sequence[PlannedLineage]) -> str:
    """The values of each axis in a group of lineages, or the id of the only lineage."""
    words = []
    for axis in lineages[0].axes:
        values = list(dict.fromkeys(printable_name(str(x.axes[axis])) for x in lineages))
        few = ", ".join(values) if len(values) <= MOST_VALUES else f"{values[0]} to {values[-1]}"
        words.append(f"{axis.split('.')[-1]} {few}")
    count = f" ({len(lineages):,} lineages)" if len(lineages) > 1 else ""
    return "; ".join(words) + count if words else lineages[0].id


def model_name(node: NodePlan, lineage: PlannedLineage) -> str:
    """A model's name within its lineage."""
    member = f", member {node.member}" if lineage.num_members > 1 else ""
    return f"V_{node.generation}{member}"
