"""Streams of samples in the store: reads them, and draws missing images in whole blocks.

A conditional model has one stream per class, in smaller blocks that share network calls.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from model.checkpoint import Checkpoint
from model.config import SampleConfig
from model.randomness import Purpose
from model.streams import Stream
from sweep.lineage.work import WAIT_SECONDS, Work
from sweep.planning.blocks import block_size, blocks_with, store_key
from sweep.planning.keys import stream_key
from sweep.planning.lineages import NodePlan
from sweep.store.folder import CorruptError
from sweep.store.store import Store

Ranges = Mapping[int | None, range]
"""Images needed of each class of a stream; the only class of an unconditional model is None."""


@dataclass(kw_only=True, slots=True)
class Streams:
    """The streams of a lineage's nodes."""

    store: Store
    work: Work
    seed: int
    """Seed of the lineage."""
    device: str
    read_checkpoint: Callable[[NodePlan], Checkpoint]
    num_drawn: int = 0
    """Number of images that this process has drawn."""
    draw_seconds: float = 0.0
    """Wall time spent on drawing them."""

    def read(
        self, node: NodePlan, sample: SampleConfig, ranges: Ranges
    ) -> dict[int | None, np.ndarray]:
        """(N, C, H, W) images of a node's stream by class; missing or damaged blocks are drawn.

        Raises:
            Diverged: The model draws images that are not finite, or all the same.
        """
        base = stream_key(node.key, sample)
        while True:
            self.fill(node, sample, ranges)
            try:
                return {
                    label: self.read_images(base, label, images) for label, images in ranges.items()
                }
            except FileNotFoundError:  # another lineage has just deleted a damaged block
                continue
            except CorruptError:
                for label, images in ranges.items():
                    self.discard_damaged(store_key(base, label), blocks_with(label, images))

    def fill(self, node: NodePlan, sample: SampleConfig, ranges: Ranges) -> None:
        """Draw the missing blocks for some images of a stream; classes share network calls.

        Raises:
            Diverged: As in `read`.
        """
        base = stream_key(node.key, sample)
        while missing := [
            (label, block)
            for label, images in ranges.items()
            for block in blocks_with(label, images)
            if not self.store.has_block(store_key(base, label), block)
        ]:
            with self.work.on(base, node, "sample") as claim:
                if claim is None:
                    time.sleep(WAIT_SECONDS)
                else:
                    self.draw(node, sample, missing)

    def read_images(self, base: str, label: int | None, images: range) -> np.ndarray:
        """Images of a stream whose blocks all exist; raises the errors of Store.read_block."""
        key, blocks = store_key(base, label), blocks_with(label, images)
        whole = np.concatenate([self.store.read_block(key, block) for block in blocks])
        first = blocks.start * block_size(label)
        return whole[images.start - first : images.stop - first]

    def draw(
        self, node: NodePlan, sample: SampleConfig, missing: list[tuple[int | None, int]]
    ) -> None:
        """Draw and store (class, block) pairs of a stream, always as whole blocks."""
        checkpoint = self.read_checkpoint(node)
        base = stream_key(node.key, sample)
        missing = [m for m in missing if not self.store.has_block(store_key(base, m[0]), m[1])]
        stream = Stream(
            checkpoint=checkpoint,
            config=sample,
            seed=(self.seed, node.generation, node.member),
            purpose=Purpose.SAMPLE,
            device=self.device,
        )
        started, drawn = time.perf_counter(), 0
        labelled = [(label, block) for label, block in missing if label is not None]
        unlabelled = (((None, block), stream.block(block)) for _, block in missing)
        parts = stream.class_blocks(labelled) if labelled else unlabelled
        for done, ((label, block), images) in enumerate(parts, start=1):
            self.store.write_block(store_key(base, label), block, images)
            drawn += len(images)
            self.work.progress(
                node,
                "sample",
                step=done,
                num_steps=len(missing),
                images_per_second=drawn / (time.perf_counter() - started),
            )
        self.num_drawn += drawn
        self.draw_seconds += time.perf_counter() - started

    def discard_damaged(self, key: str, blocks: range) -> None:
        """Delete those of a stream's blocks that are damaged, so that they are drawn again."""
        for block in blocks:
            try:
                self.store.read_block(key, block)
            except FileNotFoundError:
                continue
            except CorruptError:
                self.store.discard_block(key, block)
