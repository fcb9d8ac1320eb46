"""`sweep plan`: prints what a sweep would compute."""

import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from model.config import REPEATS
from model.errors import check_at_least, check_at_most, printable_name
from model.filters.table import unused_settings
from model.training.length import ema_init_left
from sweep.commands.patience import PlanProgress
from sweep.commands.preflight import check_extractors_ready, unfinished
from sweep.config import SweepConfig
from sweep.estimate.costs import add_own, cost_lines, read_prices
from sweep.estimate.sizes import format_bytes, image_bytes, planned_bytes, training_flops
from sweep.estimate.timings import Timings, read_timings
from sweep.finished import Finished, look_up
from sweep.lineage.datasets import finder_for_plan
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.planning.nodes import unique_nodes
from sweep.results_folder import (
    check_out,
    check_place,
    extend,
    load_recorded_data,
    store_location,
)
from sweep.sealed import many_objects
from sweep.store.store import Store, open_store

MOST_VALUES = 5
"""Number of values of an axis that are listed; of more, the first and the last are."""


@many_objects()
def print_plan(
    sweep: SweepConfig,
    *,
    out: Path | None = None,
    store: str | None = None,
    timings: Sequence[Path] = (),
    slots: Sequence[int] = (1,),
    prices: Path | None = None,
) -> None:
    """Print lineages, models with and without sharing, images, steps, bytes, hours and cost.

    Args:
        sweep: The sweep.
        out: Its results folder.
        store: Store of its models, if that is not `out`.
        timings: Other folders whose finished models have timings.
        slots: Numbers of parallel trials.
        prices: File with a table of prices.

    Raises:
        OneLineError: A setting is not valid, as in `sweep run`. Nothing is written.
    """
    check_at_least("--slots", min(slots, default=0), 1)
    check_at_most("--slots", max(slots), REPEATS["most"])
    table = None if prices is None else read_prices(prices)
    timed = Timings()
    for folder in timings:
        read_timings(folder, timed)
    sweep, lineages, kept = plan_in_folder(sweep, out, store)
    tree = unique_nodes(lineage.nodes for lineage in lineages)
    finished = Finished() if kept is None else look_up(kept, lineages)
    check_extractors_ready(unfinished(lineages, finished), sweep.evaluations, fetch=False)
    missing = [n for n in tree.values() if n.key not in finished.nodes]
    naive = sum(len(lineage.nodes) for lineage in lineages)
    note_idle_settings(lineages)
    note_uneven_control(lineages)
    print(f"{sweep.name}: {sweep.description}\n")
    for card in {lineage.card.key: lineage.card for lineage in lineages}.values():
        name, (C, H, W) = printable_name(card.name), card.shape
        print(
            f"data         {name}, {H}x{W}x{C} {card.dtype}: {card.num_train:,} train, "
            f"{card.num_reference:,} reference, {card.num_validation:,} validation images"
        )
    print(f"lineages     {len(lineages)}")
    print(
        f"models       {len(tree)} unique of {naive} without sharing; "
        f"{len(tree) - len(missing)} done, {len(missing)} to train"
    )
    print(
        f"training     {sum(n.num_steps for n in missing):,} steps, "
        f"{sum(n.images_seen for n in missing):,} images, {training_flops(lineages, missing)}"
    )
    print(f"sampling     {sum(n.num_new for n in missing):,} images enter pools")
    largest = max(
        (n.num_images * image_bytes(x.card) for x in lineages for n in x.nodes), default=0
    )
    print(
        f"store        {format_bytes(planned_bytes(lineages, missing))} to write; "
        f"largest pool {format_bytes(largest)} in memory"
    )
    add_own(timed, lineages, finished)
    print("\n".join(cost_lines(lineages, missing, timed, slots=slots, prices=table)))
    if missing and sweep.base.train.precision == "auto":
        print("  train.precision=auto is timed as fp32; if GPUs have bf16, set it to bf16")
    print()
    print_generations(lineages, {n.key for n in missing})


def plan_in_folder(
    sweep: SweepConfig, out: Path | None, store: str | None
) -> tuple[SweepConfig, list[PlannedLineage], Store | None]:
    """Plan a sweep as `sweep run` would in a results folder, without writing anything.

    Returns:
        The sweep with the grids of the folder, its lineages, and its store if that exists.
    """
    if out is not None:
        out = out.absolute()
        check_out(out)
        check_place(out, sweep)
        sweep = extend(sweep, out)
    root, kept = store if out is None else store_location(out, store), None
    if root is not None:
        opened = open_store(root, sweep.resources)
        if opened.files.is_far or Path(opened.location).exists():
            kept = opened
            kept.claims.read()  # raises if the bucket does not exist
    recorded = {} if out is None else load_recorded_data(out)
    find_card = finder_for_plan(kept, recorded, out=out, paths_vary="data.path" in sweep.axes())
    return sweep, plan_sweep(sweep, find_card, PlanProgress("planning each point")), kept


def note_idle_settings(lineages: Iterable[PlannedLineage]) -> None:
    """Print on stderr which changed filter settings have no effect in any lineage."""
    filters = {node.settings.filter for lineage in lineages for node in lineage.nodes}
    idle = [set(unused_settings(config)) for config in filters]
    beside = " or ".join(f"filter.name={name}" for name in sorted({f.name for f in filters}))
    for name in sorted(set.intersection(*idle)) if idle else []:
        print(f"note: filter.{name} has no effect with {beside}", file=sys.stderr)


def note_uneven_control(lineages: Iterable[PlannedLineage]) -> None:
    """Print on stderr if unconditional models lack the control of positive concentrations."""
    pools = {
        lineage.config.pool
        for lineage in lineages
        for node in lineage.nodes
        if not node.settings.model.conditional
    }
    drifting = any(pool.concentration == 0 and pool.shares == "drift" for pool in pools)
    if drifting and any(pool.concentration > 0 for pool in pools):
        print(
            "note: with pool.concentration 0 the classes of an unconditional model drift, but with "
            "positive values a probe sets their shares; --pool.shares pool sets them at 0 too",
            file=sys.stderr,
        )


def print_generations(lineages: Iterable[PlannedLineage], missing: Container[str]) -> None:
    """Print every generation: pool size, training length, views per image, EMA start left.

    Lineages with the same lines are printed once.
    """
    from tabulate import tabulate

    alike: dict[tuple[tuple[str, ...], ...], list[PlannedLineage]] = {}
    for lineage in lineages:
        alike.setdefault(tuple(generation_rows(lineage, missing)), []).append(lineage)
    rows = []
    for lines, group in alike.items():
        names = [describe_axes(group), *[""] * (len(lines) - 1)]
        rows += [[name, *line] for name, line in zip(names, lines, strict=True)]
    columns = ["lineage", "model", "pool", "steps", "images seen", "views", "EMA start left", ""]
    print(tabulate(rows, columns, disable_numparse=True, colalign=("left", "left", *["right"] * 5)))


def generation_rows(lineage: PlannedLineage, missing: Container[str]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each of a lineage's models."""
    for node in lineage.nodes:
        left = ema_init_left(node.num_steps, node.settings.train) if node.num_steps else 0.0
        member = f", member {node.member}" if lineage.num_members > 1 else ""
        yield (
            f"V_{node.generation}{member}",
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
