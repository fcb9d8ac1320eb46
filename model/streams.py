"""Streams of images: image i of a stream has noise of its own, whatever else is drawn.

A conditional model has a stream for each class, in blocks that any network call may mix.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from model.blocks import CLASS_BLOCK, SAMPLE_BATCH, num_class_blocks
from model.checkpoint import Checkpoint
from model.config import SampleConfig
from model.families import family_of
from model.gaussian import empty_classes
from model.job import Diverged
from model.networks.sampling import noise_shape
from model.randomness import Purpose, Seed, image_noise

BLOCKS_PER_CALL = SAMPLE_BATCH // CLASS_BLOCK


def sample_images(
    checkpoint: Checkpoint, noise: np.ndarray, config: SampleConfig, *, device: str = "cpu"
) -> np.ndarray:
    """Images of given noise; raises Diverged if they are not finite or all the same."""
    images = family_of(checkpoint.family).sample(checkpoint, noise, config, device=device)
    if len(images) > 1 and (images == images[:1]).all():
        raise Diverged("all samples are the same image")
    return images


def draw_block(
    checkpoint: Checkpoint,
    block: int,
    config: SampleConfig,
    *,
    seed: Seed,
    purpose: Purpose,
    device: str = "cpu",
) -> np.ndarray:
    """The SAMPLE_BATCH images of a stream's block; raises Diverged as sample_images does."""
    indices = range(block * SAMPLE_BATCH, (block + 1) * SAMPLE_BATCH)
    noise = image_noise(seed, purpose, indices, noise_shape(checkpoint, config))
    return sample_images(checkpoint, noise, config, device=device)


def draw_images(
    checkpoint: Checkpoint,
    num_images: int,
    config: SampleConfig,
    *,
    seed: Seed,
    purpose: Purpose,
    device: str = "cpu",
) -> Iterator[np.ndarray]:
    """The first `num_images` of a stream, in parts of at most SAMPLE_BATCH; raises Diverged."""
    for block, start in enumerate(range(0, num_images, SAMPLE_BATCH)):
        images = draw_block(checkpoint, block, config, seed=seed, purpose=purpose, device=device)
        yield images[: num_images - start]


def draw_class_blocks(
    checkpoint: Checkpoint,
    blocks: Sequence[tuple[int, int]],
    config: SampleConfig,
    *,
    seed: Seed,
    purpose: Purpose,
    device: str = "cpu",
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Blocks (class, number) of class streams, eight to a network call, in the given order.

    Args:
        checkpoint: Of a conditional model.
        blocks: Pairs of a class and a block of its stream.
        config: Sampler settings.
        seed: (lineage seed, generation, member); for previews without the generation.
        purpose: Why they are drawn.
        device: Where the network runs.

    Yields:
        The pair and its (CLASS_BLOCK, C, H, W) images, which do not depend on the other pairs.

    Raises:
        UsageError: The checkpoint is unconditional, or does not know a class.
        Diverged: Images are not finite, or all images of a block are the same.
    """
    for start in range(0, len(blocks), BLOCKS_PER_CALL):
        pairs = blocks[start : start + BLOCKS_PER_CALL]
        noise = [
            image_noise(
                seed, purpose, block_range(block), noise_shape(checkpoint, config), label=label
            )
            for label, block in pairs
        ]
        labels = np.repeat(np.array([label for label, _ in pairs], np.int64), CLASS_BLOCK)
        images = family_of(checkpoint.family).sample(
            checkpoint, np.concatenate(noise), config, labels=labels, device=device
        )
        for pair, drawn in zip(pairs, np.split(images, len(pairs)), strict=True):
            if (drawn == drawn[:1]).all():
                raise Diverged(f"all samples of class {pair[0]} are the same image")
            yield pair, drawn


def block_range(block: int) -> range:
    """Numbers of the images in a block of a class's stream."""
    return range(block * CLASS_BLOCK, (block + 1) * CLASS_BLOCK)


def draw_labelled(
    checkpoint: Checkpoint,
    labels: np.ndarray,
    config: SampleConfig,
    *,
    seed: Seed,
    purpose: Purpose,
    device: str = "cpu",
) -> np.ndarray:
    """Images of given classes: the k-th one of class c is image k of that class's stream.

    Args:
        checkpoint: Of a conditional model.
        labels: (N,) int64, N at least 1.
        config: Sampler settings.
        seed: As for draw_class_blocks.
        purpose: As for draw_class_blocks.
        device: Where the network runs.

    Returns:
        (N, C, H, W), of the training images' type.

    Raises:
        UsageError, Diverged: As draw_class_blocks.
    """
    places = {label: np.flatnonzero(labels == label) for label in np.unique(labels).tolist()}
    blocks = [
        (label, block)
        for label, found in places.items()
        for block in range(num_class_blocks(len(found)))
    ]
    images = np.empty(0)
    drawn = draw_class_blocks(checkpoint, blocks, config, seed=seed, purpose=purpose, device=device)
    for (label, block), part in drawn:
        if not images.size:
            images = np.empty((len(labels), *part.shape[1:]), part.dtype)
        into = places[label][block * CLASS_BLOCK : (block + 1) * CLASS_BLOCK]
        images[into] = part[: len(into)]
    return images


def labels_in_turn(classes: Sequence[int], num_images: int) -> np.ndarray:
    """(num_images,) int64: the classes in turn, so that their counts differ by at most one."""
    return np.resize(np.array(classes, np.int64), num_images)


def draw_preview(
    checkpoint: Checkpoint,
    num_images: int,
    config: SampleConfig,
    *,
    seed: Seed,
    device: str = "cpu",
) -> np.ndarray:
    """(num_images, C, H, W) images of the preview noise, a conditional model's classes in turn.

    Images of a class that was missing in the model's pool are zero.

    Args:
        checkpoint: The model.
        num_images: At most SAMPLE_BATCH.
        config: The sampler.
        seed: Without the generation, so that each noise can be watched through all of them.
        device: Where the network runs.

    Raises:
        Diverged: Images are not finite, or all the same.
    """
    num_classes = checkpoint.settings.get("num_classes", 0)
    if not num_classes:
        block = draw_block(checkpoint, 0, config, seed=seed, purpose=Purpose.PREVIEW, device=device)
        return block[:num_images]
    labels = labels_in_turn(range(num_classes), num_images)
    images = np.zeros((num_images, *checkpoint.shape), checkpoint.settings["dtype"])
    known = ~np.isin(labels, empty_classes(checkpoint))
    if known.any():
        images[known] = draw_labelled(
            checkpoint, labels[known], config, seed=seed, purpose=Purpose.PREVIEW, device=device
        )
    return images
