"""Streams of images: the noise of image i depends only on the stream and on i.

A conditional model has one stream per class; a network call may mix blocks of several streams.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.blocks import CLASS_BLOCK, SAMPLE_BATCH, num_blocks, num_class_blocks
from model.checkpoint import Checkpoint
from model.config import SampleConfig
from model.families import family_of
from model.gaussian import empty_classes
from model.job import Diverged
from model.networks.sampling import noise_shape
from model.randomness import Purpose, Seed, image_noise

BLOCKS_PER_CALL = SAMPLE_BATCH // CLASS_BLOCK


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """The images that a model draws with one sampler for one purpose.

    Its methods raise Diverged if images are not finite, or if all images of a block are the same.
    """

    checkpoint: Checkpoint
    config: SampleConfig
    seed: Seed
    """(lineage seed, generation, member). Previews leave out the generation, so that all
    generations start from the same noise."""
    purpose: Purpose
    device: str = "cpu"

    def noise(self, indices: range, *, label: int | None = None) -> np.ndarray:
        """Noise of images `indices` of the stream (of class `label`, if the model has classes)."""
        shape = noise_shape(self.checkpoint, self.config)
        return image_noise(self.seed, self.purpose, indices, shape, label=label)

    def sample(self, noise: np.ndarray, *, labels: np.ndarray | None = None) -> np.ndarray:
        """Turn noise into (N, C, H, W) images of the training images' dtype."""
        sample = family_of(self.checkpoint.family).sample
        assert sample is not None
        return sample(self.checkpoint, noise, self.config, labels=labels, device=self.device)

    def block(self, number: int) -> np.ndarray:
        """The SAMPLE_BATCH images of one block of an unconditional model."""
        return varied(self.sample(self.noise(block_range(number, SAMPLE_BATCH))))

    def blocks(self, numbers: Sequence[int], *, count: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks of an unconditional model, each with its number.

        Args:
            numbers: Numbers of the blocks, at least one.
            count: Number of images that a family is asked for if it draws them at once, on which
                its images may depend; at least as many as the blocks have.
        """
        draw = family_of(self.checkpoint.family).draw
        if draw is None:
            yield from ((number, self.block(number)) for number in numbers)
            return
        count = max(count, (max(numbers) + 1) * SAMPLE_BATCH)
        drawn = draw(
            self.checkpoint, self.config, seed=self.seed, purpose=self.purpose, count=count
        )
        for number in numbers:
            indices = block_range(number, SAMPLE_BATCH)
            yield number, varied(drawn[indices.start : indices.stop])

    def images(self, count: int) -> Iterator[np.ndarray]:
        """The first `count` images of an unconditional model, in parts of at most SAMPLE_BATCH."""
        for number, images in self.blocks(range(num_blocks(count))):
            yield images[: count - number * SAMPLE_BATCH]

    def class_blocks(
        self, blocks: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        """Blocks of a conditional model in the given order, BLOCKS_PER_CALL per network call.

        Args:
            blocks: Pairs of a class and the number of a block of its stream.

        Yields:
            Each pair and its (CLASS_BLOCK, C, H, W) images, which do not depend on the other pairs.

        Raises:
            UsageError: The checkpoint is unconditional, or does not have one of the classes.
        """
        for start in range(0, len(blocks), BLOCKS_PER_CALL):
            pairs = blocks[start : start + BLOCKS_PER_CALL]
            noise = [self.noise(block_range(n, CLASS_BLOCK), label=label) for label, n in pairs]
            labels = np.repeat(np.array([label for label, _ in pairs], np.int64), CLASS_BLOCK)
            images = self.sample(np.concatenate(noise), labels=labels)
            for pair, drawn in zip(pairs, np.split(images, len(pairs)), strict=True):
                if (drawn == drawn[:1]).all():
                    raise Diverged(f"all samples of class {pair[0]} are the same image")
                yield pair, drawn

    def labelled(self, labels: np.ndarray) -> np.ndarray:
        """Images of given classes: the k-th image of class c is image k of that class's stream.

        Args:
            labels: (N,) int64, N at least 1.

        Returns:
            (N, C, H, W) of the training images' dtype.

        Raises:
            UsageError: As in class_blocks.
        """
        rows = {label: np.flatnonzero(labels == label) for label in np.unique(labels).tolist()}
        blocks = [(label, n) for label in rows for n in range(num_class_blocks(len(rows[label])))]
        images = np.empty((len(labels), *self.checkpoint.shape), self.checkpoint.settings["dtype"])
        for (label, n), drawn in self.class_blocks(blocks):
            block_rows = rows[label][n * CLASS_BLOCK : (n + 1) * CLASS_BLOCK]
            images[block_rows] = drawn[: len(block_rows)]
        return images

    def preview(self, count: int) -> np.ndarray:
        """The first images, (count, C, H, W); a conditional model draws its classes in turn.

        `count` is at most SAMPLE_BATCH. Images of a class that was missing from the model's pool
        are all zero.
        """
        num_classes = self.checkpoint.settings.get("num_classes", 0)
        if not num_classes:
            return next(self.images(count))
        labels = labels_in_turn(range(num_classes), count)
        images = np.zeros((count, *self.checkpoint.shape), self.checkpoint.settings["dtype"])
        can_draw = ~np.isin(labels, empty_classes(self.checkpoint))
        if can_draw.any():
            images[can_draw] = self.labelled(labels[can_draw])
        return images


def varied(images: np.ndarray) -> np.ndarray:
    """Return images; raises Diverged if all are the same."""
    if (images == images[:1]).all():
        raise Diverged("all samples are the same image")
    return images


def block_range(number: int, size: int) -> range:
    """Numbers of the images in block `number` of a stream with `size` images per block."""
    return range(number * size, (number + 1) * size)


def labels_in_turn(classes: Sequence[int], num_images: int) -> np.ndarray:
    """(num_images,) int64: the classes in turn, so that their counts differ by at most one."""
    return np.resize(np.array(classes, np.int64), num_images)
