"""What `sweep plan` and `sweep status` print. Must not import torch or ray."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.config import DataConfig, MetricsConfig
from model.errors import check_at_least
from model.family_facts import model_size
from model.features.extractors import extractor_label, find_extractor
from model.filters.table import feature_settings, unused_settings
from model.metrics.table import needed
from model.networks.size import ModelSize
from model.training.length import ema_init_left
from sweep.config import SweepConfig
from sweep.estimate.costs import add_own, cost_lines, read_prices
from sweep.estimate.timings import Timings, read_timings
from sweep.finished import look_up
from sweep.lineage.datasets import find_card
from sweep.planning.blocks import block_size, blocks_of
from sweep.planning.lineages import NodePlan, PlannedLineage, plan_sweep, unique_nodes
from sweep.planning.new_images import streams_of
from sweep.planning.pool import RANDOM, Selected
from sweep.records import DatasetCard, LineageRecord, load_lineages
from sweep.results_folder import check_out, extend, lineage_status, read_sweep
from sweep.status.drivers import run_key, running
from sweep.status.tracker import Snapshot, Tracker
from sweep.store.claims import ClaimInfo
from sweep.store.store import Store, existing_store, open_store

BLIND = (RANDOM, "random")
"""Selections that look at no features."""
SMALL_FILES = 15_000
"""Bytes of a node's records, curves and file headers."""

TRAIN_PASSES = 3
"""A training step costs a forward pass and, for both gradients, two more."""


def print_plan(
    sweep: SweepConfig,
    *,
    out: Path | None = None,
    store: str | None = None,
    timings: Sequence[Path] = (),
    slots: Sequence[int] = (1,),
    prices: Path | None = None,
) -> None:
    """Print lineages, unique models against naive, images, steps, bytes, hours and cost.

    Args:
        sweep: What is planned.
        out: The results folder it would run in.
        store: Where its models would lie, where not there.
        timings: Further folders whose finished models tell how long things take.
        slots: Numbers of trials at once.
        prices: File with a table of prices.

    Raises:
        OneLineError: As for the run; nothing is written.
    """
    check_at_least("--slots", min(slots, default=0), 1)
    table = None if prices is None else read_prices(prices)
    timed = Timings()
    for folder in timings:
        read_timings(folder, timed)
    if out is not None:
        out = out.absolute()
        check_out(out)
        sweep = extend(sweep, out)
    root = store or out
    there = root is not None and ("://" in str(root) or Path(root).exists())
    kept = open_store(root, sweep.resources) if root is not None and there else None
    if kept is not None:
        kept.claims.read()  # raises where there is no such bucket
    lineages = plan_sweep(sweep, card_finder(kept), on_gpu=sweep.base.train.precision == "bf16")
    tree = unique_nodes(lineage.nodes for lineage in lineages)
    seen = None if kept is None else look_up(kept, lineages)
    missing = [n for n in tree.values() if seen is None or not seen.has_node(n.key)]
    naive = sum(len(lineage.nodes) for lineage in lineages)
    note_idle_settings(lineages)
    print(f"{sweep.name}: {sweep.description}\n")
    for card in {lineage.card.key: lineage.card for lineage in lineages}.values():
        C, H, W = card.shape
        print(
            f"data         {card.name}, {H}x{W}x{C} {card.dtype}: {card.num_train:,} train, "
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
    largest = max((n.num_images * image_bytes(x) for x in lineages for n in x.nodes), default=0)
    print(
        f"store        {format_bytes(planned_bytes(lineages, missing))} to write; "
        f"largest pool {format_bytes(largest)} in memory"
    )
    if seen is not None:
        add_own(timed, lineages, seen)
    print("\n".join(cost_lines(lineages, missing, timed, slots=slots, prices=table)))
    if missing and sweep.base.train.precision == "auto":
        print("  train.precision=auto is timed as fp32; --train.precision bf16 plans for such GPUs")
    print()
    print_generations(lineages, {n.key for n in missing})


def note_idle_settings(lineages: Iterable[PlannedLineage]) -> None:
    """Say on stderr which settings of filters were changed and have no effect in any lineage."""
    filters = {node.settings.filter for lineage in lineages for node in lineage.nodes}
    idle = [set(unused_settings(config)) for config in filters]
    beside = " or ".join(f"filter.name={name}" for name in sorted({f.name for f in filters}))
    for name in sorted(set.intersection(*idle)) if idle else []:
        print(f"note: filter.{name} has no effect with {beside}", file=sys.stderr)


def card_finder(store: Store | None) -> Callable[[DataConfig], DatasetCard]:
    """Cards from the store where it has them."""
    return lambda data: find_card(data, store)


def print_generations(lineages: list[PlannedLineage], missing: set[str]) -> None:
    """Print every lineage's generations: pool, length of training, views, EMA's start left."""
    from tabulate import tabulate

    rows = []
    for lineage in lineages:
        axes = ", ".join(f"{k.split('.')[-1]} {v}" for k, v in lineage.axes.items()) or lineage.id
        for node in lineage.nodes:
            train = node.settings.train
            left = ema_init_left(node.num_steps, train) if node.num_steps else 0.0
            rows.append(
                [
                    axes if node.generation == 1 and node.member == 0 else "",
                    f"V_{node.generation}"
                    + (f", member {node.member}" if lineage.num_members > 1 else ""),
                    f"{node.num_images:,}",
                    f"{node.num_steps:,}",
                    f"{node.images_seen:,}",
                    f"{node.images_seen / node.num_images:.1f}",
                    f"{left:.1%}",
                    "to do" if node.key in missing else "done",
                ]
            )
    columns = ["lineage", "model", "pool", "steps", "images seen", "views", "EMA start left", ""]
    print(tabulate(rows, columns, disable_numparse=True, colalign=("left", "left", *["right"] * 5)))


def training_flops(lineages: list[PlannedLineage], nodes: Iterable[NodePlan]) -> str:
    """Operations of the nodes' training."""
    owner = {node.key: lineage for lineage in lineages for node in lineage.nodes}
    flops = 0.0
    for node in nodes:
        size = node_size(node, owner[node.key].card)
        flops += TRAIN_PASSES * size.flops * node.images_seen
    return f"{flops / 1e15:.3g} PFLOP" if flops >= 1e14 else f"{flops / 1e12:.3g} TFLOP"


def node_size(node: NodePlan, card: DatasetCard) -> ModelSize:
    """Size of a node's model, fitted to its pool."""
    C, H, W = card.shape
    return model_size(node.settings.model, (C, H, W), node.num_images, card.num_classes)


def image_bytes(lineage: PlannedLineage) -> int:
    """Bytes of one image in memory."""
    C, H, W = lineage.card.shape
    return C * H * W * (1 if lineage.card.dtype == "uint8" else 4)


def planned_bytes(lineages: list[PlannedLineage], nodes: list[NodePlan]) -> int:
    """Bytes the nodes will take in the store: weights, streams in whole blocks, and small files.

    Where a probe looks for images of a class, as many are counted as are needed: how many are drawn
    to find them is not known.
    """
    owner = {node.key: lineage for lineage in lineages for node in lineage.nodes}
    total = 0
    blocks: dict[tuple[str, int | None, str], int] = {}
    for node in nodes:
        lineage = owner[node.key]
        total += node_size(node, lineage.card).checkpoint_bytes
        total += 64 * image_bytes(lineage) + SMALL_FILES
        for place, count in block_bytes(node, lineage):
            blocks[place] = max(count, blocks.get(place, 0))
    total += sum(blocks.values())
    if nodes:
        total += real_features_bytes(lineages)
    running = max((node_size(node, owner[node.key].card).state_bytes for node in nodes), default=0)
    return total + (2 * running if nodes else 0)


def block_bytes(
    node: NodePlan, lineage: PlannedLineage
) -> Iterator[tuple[tuple[str, int | None, str], int]]:
    """Yield (stream, class, extractor) and the bytes of its blocks; the images' extractor is ""."""
    judge = feature_settings(node.settings.filter)
    owed = [(node.new, ()), *((plan.images, (plan.config,)) for plan in node.all_metrics)]
    for pool, measured in owed:
        looked = any(isinstance(s, Selected) and s.by["name"] not in BLIND for s in pool)
        sizes = {"": image_bytes(lineage)}
        for config in (*measured, *([judge] if looked else [])):
            sizes[extractor_label(config)] = feature_bytes(config, lineage)
        for (stream, label), count in streams_of(pool).items():
            rows = blocks_of(label, count) * block_size(label)
            yield from (((stream, label, name), rows * each) for name, each in sizes.items())


def feature_bytes(config: MetricsConfig, lineage: PlannedLineage) -> int:
    """Bytes of the float32 features of one image."""
    return 4 * (find_extractor(config.extractor).num_features or math.prod(lineage.card.shape))


def real_features_bytes(lineages: list[PlannedLineage]) -> int:
    """Bytes of the features of the real images, which all lineages share."""
    counts: dict[tuple[str, str, str], int] = {}
    for lineage in lineages:
        card = lineage.card
        for plan in lineage.nodes[0].metrics:
            each, label = feature_bytes(plan.config, lineage), extractor_label(plan.config)
            counts[card.key, "reference", label] = card.num_reference * each
            if "train" in needed(plan.config):
                counts[card.key, "train", label] = card.num_train * each
    return sum(counts.values())


def format_bytes(count: int) -> str:
    """Bytes as 1.2 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def print_status(out: Path, *, store: str | None) -> None:
    """Print each lineage's status, and what runs now.

    Raises:
        RecordError: `out` is not a results folder, or its sweep.json is damaged.
    """
    followed = track(out, store=store)
    snapshot = followed.tracker.look()
    print_lineages(followed.name, followed.tracker, snapshot, out=out)
    if lines := snapshot.lines():
        print("\nrunning now:")
        print("\n".join(f"  {line}" for line in lines))


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """A sweep whose progress is looked at."""

    name: str
    key: str
    store: Store
    tracker: Tracker

    def drivers(self) -> list[ClaimInfo]:
        """Those who run it now."""
        return running(self.store, self.key)


def track(out: Path, *, store: str | None) -> Followed:
    """A results folder's sweep."""
    sweep = read_sweep(out)
    kept = existing_store(out, store, sweep.resources)
    return follow(sweep, kept, run_key(out, sweep))


def follow(sweep: SweepConfig, store: Store, key: str) -> Followed:
    """A sweep in a store, where its runs have a key."""
    lineages = plan_sweep(sweep, card_finder(store), on_gpu=sweep.base.train.precision == "bf16")
    return Followed(name=sweep.name, key=key, store=store, tracker=Tracker(lineages, store))


def print_lineages(
    name: str, tracker: Tracker, snapshot: Snapshot, *, out: Path
) -> list[LineageRecord]:
    """Print where each lineage stands, and return that."""
    from tabulate import tabulate

    errors = {record.id: record.error for record in load_lineages(out) if record.error}
    records = [
        lineage_status(lineage, tracker, error=errors.get(lineage.id))
        for lineage in tracker.lineages
    ]
    rows = [
        [each.id, each.status, f"{each.num_done} of {len(each.nodes)}", each.error or ""]
        for each in records
    ]
    print(f"{name}: {snapshot.summary()}\n")
    print(tabulate(rows, ["lineage", "status", "generations", ""], disable_numparse=True))
    return records
