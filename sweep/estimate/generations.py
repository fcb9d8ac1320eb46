"""Tables of the generations of planned lineages, in which equal lineages stand once."""

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence

from model.commands.output import wrapped
from model.errors import printable_name
from model.training.length import ema_init_left
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import NodePlan

MOST_VALUES = 5
"""Number of values of an axis that are listed; of more, the first and the last are."""


def generation_lines(lineages: Iterable[PlannedLineage], missing: Container[str]) -> Iterator[str]:
    """Yield a table of every generation: pool size, training length, views, EMA start left.

    Lineages with the same lines are printed once, below a line that says which they are.
    """
    columns = ["  model", "pool", "steps", "images\nseen", "views", "EMA start\nleft", ""]
    return alike_lines(lineages, columns, lambda lineage: generation_rows(lineage, missing))


def alike_lines(
    lineages: Iterable[PlannedLineage],
    columns: Sequence[str],
    rows_of: Callable[[PlannedLineage], Iterable[tuple[str, ...]]],
    shared: Callable[[Sequence[PlannedLineage]], Sequence[str]] | None = None,
    at: int = 0,
    apart: Callable[[PlannedLineage], Hashable] = lambda lineage: None,
) -> Iterator[str]:
    """Yield a table with some rows for each lineage; those with the same rows have them once.

    Args:
        lineages: The lineages.
        columns: Titles of the columns.
        rows_of: The rows of a lineage, without the cells of `shared`.
        shared: The cells of one more column for lineages with the same rows, if there is one.
        at: The place of that column.
        apart: What lineages must have in common, besides their rows, to stand once.
    """
    from tabulate import tabulate

    alike: dict[tuple[tuple[tuple[str, ...], ...], Hashable], list[PlannedLineage]] = {}
    for lineage in lineages:
        alike.setdefault((tuple(rows_of(lineage)), apart(lineage)), []).append(lineage)
    align = ("left", *["right"] * (len(columns) - 1))
    rows = [row for group, _ in alike for row in group]
    if shared is not None:
        cells = [cell for members in alike.values() for cell in shared(members)]
        rows = [(*row[:at], cell, *row[at:]) for row, cell in zip(rows, cells, strict=True)]
    lines = tabulate(
        rows, columns, disable_numparse=True, preserve_whitespace=True, colalign=align
    ).splitlines()
    head, table = lines[: -len(rows)], lines[-len(rows) :]
    yield from head
    for (group, _), members in alike.items():
        yield from wrapped(describe_axes(members), indent=4)
        yield from table[: len(group)]
        del table[: len(group)]


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
