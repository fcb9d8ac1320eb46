"""Streams of samples in the store: reads them, and draws missing images in whole blocks.

A conditional model has one stream per class, in smaller blocks that share network calls.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.blocks import num_blocks
from model.checkpoint import Checkpoint
from model.commands.checkpoint_file import trained_model
from model.config import SampleConfig
from model.randomness import Purpose
from model.streams import Stream
from sweep.lineage.progress import WAIT_SECONDS, LineageProgress
from sweep.planning.keys import block_size, blocks_with, store_key
from sweep.planning.nodes import NodePlan
from sweep.records import WEIGHTS
from sweep.store.folder import CorruptError
from sweep.store.store import Store

Ranges = Mapping[int | None, range]
"""Positions of the images needed of each class of a stream; None is an unconditional model's."""

Sampled = tuple[NodePlan, SampleConfig, Purpose]
"""The node and the sampler that draw a stream, and what its images are for."""


class DamagedWeights(Exception):
    """The weights of a finished node are damaged, so it must be trained again."""

    def __init__(self, node: NodePlan) -> None:
        super().__init__(f"the weights of {node.key} are damaged")
        self.node = node


@dataclass(kw_only=True, slots=True)
class Streams:
    """The streams of a lineage's nodes."""

    store: Store
    progress: LineageProgress
    seed: int
    """Seed of the lineage."""
    device: str
    sampled: Mapping[str, Sampled]
    """How each stream is drawn, by the stream's key."""
    num_drawn: int = 0
    """Number of images that this process has drawn."""
    draw_seconds: float = 0.0
    """Wall time spent on drawing them."""

    def copy(self, stream: str, label: int | None, images: range, into: np.ndarray) -> None:
        """Write images of a stream into an array; missing or damaged blocks are drawn.

        Args:
            stream: Key of the stream.
            label: Class of the images; None for an unconditional model.
            images: Their positions in the stream.
            into: (N, C, H, W) array; one block at a time is in memory besides it.

        Raises:
            Diverged: The model draws images that are not finite, or all the same.
            DamagedWeights: Images are missing, and the weights of their node are damaged.
        """
        key, size = store_key(stream, label), block_size(label)
        for number in blocks_with(label, images):
            while (block := self.store.sound_block(key, number)) is None:
                self.fill(stream, {label: images})
            first = number * size
            start, stop = max(images.start, first), min(images.stop, first + size)
            into[start - images.start : stop - images.start] = block[start - first : stop - first]

    def fill(self, stream: str, ranges: Ranges) -> None:
        """Draw the missing blocks for some images of a stream; classes share network calls.

        Raises:
            Diverged, DamagedWeights: As in `copy`.
        """
        node = self.sampled[stream][0]
        while missing := [
            (label, block)
            for label, images in ranges.items()
            for block in blocks_with(label, images)
            if not self.store.has_block(store_key(stream, label), block)
        ]:
            with self.progress.on(stream, node, "sample") as claim:
                if claim is None:
                    time.sleep(WAIT_SECONDS)
                else:
                    self.draw(stream, missing)

    def draw(self, key: str, missing: list[tuple[int | None, int]]) -> None:
        """Draw and store (class, block) pairs of a stream, always as whole blocks."""
        node, sample, purpose = self.sampled[key]
        checkpoint = read_weights(self.store, node)
        missing = [m for m in missing if not self.store.has_block(store_key(key, m[0]), m[1])]
        stream = Stream(
            checkpoint=checkpoint,
            config=sample,
            seed=(self.seed, node.generation, node.member),
            purpose=purpose,
            device=self.device,
        )
        started, drawn = time.perf_counter(), 0
        labelled = [(label, block) for label, block in missing if label is not None]
        if key in node.at_once:
            count = node.at_once[key][1]
            blocks = stream.blocks(range(num_blocks(count)), count=count)
        else:
            blocks = stream.blocks([block for _, block in missing])
        unlabelled = (((None, block), images) for block, images in blocks)
        parts = stream.class_blocks(labelled) if labelled else unlabelled
        for done, ((label, block), images) in enumerate(parts, start=1):
            self.store.write_block(store_key(key, label), block, images)
            drawn += len(images)
            self.progress.report(
                node,
                "sample",
                step=done,
                num_steps=len(missing),
                images_per_second=drawn / (time.perf_counter() - started),
            )
        self.num_drawn += drawn
        self.draw_seconds += time.perf_counter() - started


def sampled_streams(nodes: Sequence[NodePlan]) -> dict[str, Sampled]:
    """How every stream of a lineage is drawn, by the stream's key."""
    return {key: (node, *drawn) for node in nodes for key, drawn in node.sampled.items()}


def read_weights(store: Store, node: NodePlan) -> Checkpoint:
    """A finished node's weights; raises DamagedWeights if they are damaged."""
    try:
        data = store.nodes.read_file(node.key, WEIGHTS)
    except CorruptError:
        raise DamagedWeights(node) from None
    return trained_model(data, source=f"the model {node.key}", verified=True)
