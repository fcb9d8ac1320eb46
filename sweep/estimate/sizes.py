"""Estimates the size of a sweep: operations, and bytes in the store and in memory."""

import math
from collections.abc import Iterable, Iterator

from model.config import MetricsConfig
from model.features.extractors import EXTRACTORS, extractor_label
from model.filters.table import FILTERS, feature_settings
from model.metrics.table import needed
from model.networks.size import ModelSize
from sweep.planning.checks import size_of_model
from sweep.planning.keys import block_size, blocks_of
from sweep.planning.lineages import PlannedLineage
from sweep.planning.new_images import streams_of
from sweep.planning.nodes import NodePlan
from sweep.planning.pool import RANDOM, Selected
from sweep.records import DatasetCard
from sweep.remembered import remembered, remembered_by_object

BLIND = (RANDOM, "random")
"""Selections that need no features."""

SMALL_FILES = 15_000
"""Bytes of a node's records, curves and file headers."""

TRAIN_PASSES = 3
"""Passes per training step: the forward pass, and two for the gradients of inputs and weights."""


def training_flops(lineages: list[PlannedLineage], nodes: Iterable[NodePlan]) -> float:
    """Return the operations of the nodes' training."""
    cards = cards_of(lineages)
    return sum(TRAIN_PASSES * node_size(n, cards[n.key]).flops * n.images_seen for n in nodes)


def format_flops(flops: float) -> str:
    """Format operations, e.g. 1.2 TFLOP."""
    return f"{flops / 1e15:.3g} PFLOP" if flops >= 1e14 else f"{flops / 1e12:.3g} TFLOP"


def cards_of(lineages: Iterable[PlannedLineage]) -> dict[str, DatasetCard]:
    """Return the card of each node's data set, by node key."""
    return {node.key: lineage.card for lineage in lineages for node in lineage.nodes}


def node_size(node: NodePlan, card: DatasetCard) -> ModelSize:
    """Return the size of a node's model, given the images of its pool."""
    return size_of_model(node.settings.model, card, node.num_images)


def image_bytes(card: DatasetCard) -> int:
    """Return the bytes of one image in memory."""
    return math.prod(card.shape) * (1 if card.dtype == "uint8" else 4)


def planned_bytes(lineages: list[PlannedLineage], nodes: list[NodePlan]) -> int:
    """Return the bytes of nodes in the store: weights, streams in whole blocks, and small files.

    If a classifier selects images of a class, only the images needed are counted, because the
    number drawn to find them is not known.
    """
    if not nodes:
        return 0
    cards = cards_of(lineages)
    sizes = [node_size(node, cards[node.key]) for node in nodes]
    total = sum(size.checkpoint_bytes for size in sizes)
    total += sum(64 * image_bytes(cards[node.key]) + SMALL_FILES for node in nodes)
    blocks: dict[tuple[str, int | None, str], int] = {}
    for node in nodes:
        for block, count in block_bytes(node, cards[node.key]):
            blocks[block] = max(count, blocks.get(block, 0))
    checkpoints = 2 * max(size.state_bytes for size in sizes)
    return total + sum(blocks.values()) + real_features_bytes(lineages) + checkpoints


def block_bytes(
    node: NodePlan, card: DatasetCard
) -> Iterator[tuple[tuple[str, int | None, str], int]]:
    """Yield (stream, class, extractor) and the bytes of its blocks; the images' extractor is ""."""
    pools = [
        (node.new, ()),
        *(
            (pool, (plan.config,))
            for plan in node.all_metrics
            for pool in (plan.images, plan.pool, plan.held_out)
            if pool
        ),
    ]
    for pool, measured in pools:
        looked = any(isinstance(s, Selected) and s.by["name"] not in BLIND for s in pool)
        looked |= pool is node.new and FILTERS[node.settings.filter.name].needs_features
        configs = (*measured, *([_judge_of(node.settings.filter)] if looked else []))
        sizes = [("", image_bytes(card)), *(_features_of(config, card) for config in configs)]
        for (stream, label), count in streams_of(pool).items():
            rows = blocks_of(label, count) * block_size(label)
            yield from [((stream, label, name), rows * each) for name, each in sizes]


_judge_of = remembered_by_object(feature_settings)


@remembered(lambda config, card: (config, card))
def _features_of(config: MetricsConfig, card: DatasetCard) -> tuple[str, int]:
    """Label of an extractor, and bytes of the features of one image."""
    return extractor_label(config), feature_bytes(config, card)


def feature_bytes(config: MetricsConfig, card: DatasetCard) -> int:
    """Return the bytes of the float32 features of one image."""
    return 4 * (EXTRACTORS[config.extractor].num_features or math.prod(card.shape))


def real_features_bytes(lineages: list[PlannedLineage]) -> int:
    """Return the bytes of the features of the real images, which all lineages share."""
    counts: dict[tuple[str, str, str], int] = {}
    for lineage in lineages:
        card = lineage.card
        for plan in lineage.nodes[0].metrics:
            each, label = feature_bytes(plan.config, card), extractor_label(plan.config)
            counts[card.key, "reference", label] = card.num_reference * each
            if "train" in needed(plan.config):
                counts[card.key, "train", label] = card.num_train * each
    return sum(counts.values())


def format_bytes(count: int) -> str:
    """Format bytes, e.g. 1.2 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
