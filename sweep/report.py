"""What `sweep plan` and `sweep status` print. Must not import torch or ray."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from model.config import DataConfig, MetricsConfig
from model.features import extractor_label, find_extractor
from model.filters import feature_settings, unused_settings
from model.metrics import needed
from model.size import ModelSize, model_size
from model.training_length import ema_init_left
from sweep.blocks import block_size, blocks_of
from sweep.config import SweepConfig
from sweep.display import Snapshot, format_seconds
from sweep.entering import streams_of
from sweep.folder import check_out, extend, lineage_status, read_sweep
from sweep.places import open_store
from sweep.plan import NodePlan, PlannedLineage, plan_sweep, unique_nodes
from sweep.pool import RANDOM, Selected
from sweep.prepared import find_card
from sweep.records import DatasetCard, load_lineages
from sweep.store import Store

BLIND = (RANDOM, "random")
"""Selections that look at no features."""
SMALL_FILES = 15_000
"""Bytes of a node's records, curves and file headers."""

TRAIN_PASSES = 3
"""A training step costs a forward pass and, for both gradients, two more."""


def print_plan(
    sweep: SweepConfig, *, out: Path | None, store: str | None, price: float | None
) -> None:
    """Print lineages, unique models against naive, images, steps, bytes, hours and cost.

    Raises:
        ValueError, FileNotFoundError: As for the run; nothing is written.
    """
    if out is not None:
        out = out.absolute()
        check_out(out)
        sweep = extend(sweep, out)
    root = store or out
    there = root is not None and ("://" in str(root) or Path(root).exists())
    kept = open_store(root, sweep.resources) if root is not None and there else None
    lineages = plan_sweep(sweep, card_finder(kept), on_gpu=sweep.base.train.precision == "bf16")
    tree = unique_nodes(lineage.nodes for lineage in lineages)
    missing = [n for n in tree.values() if kept is None or not kept.has_node(n.key)]
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
    print(f"time         {time_and_cost(lineages, missing, tree, kept, price)}\n")
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


def time_and_cost(
    lineages: list[PlannedLineage],
    missing: list[NodePlan],
    tree: dict[str, NodePlan],
    store: Store | None,
    price: float | None,
) -> str:
    """Hours (and cost) by the speed of the store's finished models with the same network."""
    if not missing:
        return "nothing to train"
    speeds: dict[object, list[float]] = {}
    devices = set()
    for key in tree:
        if store is not None and store.has_node(key):
            record = store.read_node(key)
            if record.status == "done":
                model = tree[key].settings.model
                speeds.setdefault(model, []).append(record.images_per_second)
                devices.add(record.device)
    if any(node.settings.model not in speeds for node in missing):
        return "unknown until a first model of each kind is timed (then this plan tells)"
    seconds = 0.0
    for node in missing:
        timed = speeds[node.settings.model]
        seconds += node.images_seen / (sum(timed) / len(timed))
    text = f"{format_seconds(seconds)} of one trial slot, at the speed measured on "
    text += ", ".join(sorted(devices))
    if price is not None:
        text += f"; cost {seconds / 3600 * price:.2f} at {price:g} an hour"
    return text


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
    from tabulate import tabulate

    sweep = read_sweep(out)
    kept = open_store(store or out, sweep.resources)
    lineages = plan_sweep(sweep, card_finder(kept), on_gpu=sweep.base.train.precision == "bf16")
    errors = {record.id: record.error for record in load_lineages(out) if record.error}
    snapshot = Snapshot(lineages, kept)
    rows = []
    for lineage in lineages:
        record = lineage_status(lineage, kept, error=errors.get(lineage.id))
        done = f"{record.num_done} of {lineage.config.generations}"
        rows.append([lineage.id, record.status, done, record.error or ""])
    print(f"{sweep.name}: {snapshot.summary()}\n")
    print(tabulate(rows, ["lineage", "status", "generations", ""], disable_numparse=True))
    if snapshot.claims:
        print("\nrunning now:")
        print("\n".join(f"  {line}" for line in snapshot.lines()))
