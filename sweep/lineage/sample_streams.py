"""Streams of samples in the store: reads them, and draws missing images in whole blocks.

A conditional model has one stream per class, in smaller blocks that share network calls.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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

    def read(self, stream: str, ranges: Ranges) -> dict[int | None, np.ndarray]:
        """(N, C, H, W) images of a stream by class; missing or damaged blocks are drawn.

        Raises:
            Diverged: The model draws images that are not finite, or all the same.
            DamagedWeights: Images are missing, and the weights of their node are damaged.
        """
        while True:
            self.fill(stream, ranges)
            parts = {label: self.read_images(stream, label, ranges[label]) for label in ranges}
            images = {label: part for label, part in parts.items() if part is not None}
            if len(images) == len(ranges):  # otherwise draw the deleted, damaged blocks again
                return images

    def fill(self, stream: str, ranges: Ranges) -> None:
        """Draw the missing blocks for some images of a stream; classes share network calls.

        Raises:
            Diverged, DamagedWeights: As in `read`.
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

    def read_images(self, stream: str, label: int | None, images: range) -> np.ndarray | None:
        """Images of a stream; None if one of their blocks is missing or damaged."""
        key, numbers = store_key(stream, label), blocks_with(label, images)
        blocks = [self.store.sound_block(key, number) for number in numbers]
        sound = [block for block in blocks if block is not None]
        if len(sound) < len(blocks):
            return None
        first = numbers.start * block_size(label)
        return np.concatenate(sound)[images.start - first : images.stop - first]

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
        unlabelled = (((None, block), stream.block(block)) for _, block in missing)
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
