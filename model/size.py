"""How large a model is: parameters, operations and bytes, from its settings alone.

Arithmetic that a plan can do without torch; a test holds it against the real networks.
"""

from dataclasses import dataclass

from model.config import ModelConfig, check

SAMPLE_BATCH = 128
"""Images per network call, padded where fewer are asked for: with one shape, and so one choice of
kernels, an image does not depend on how many others are drawn. Part of every result."""


CLASS_BLOCK = 16
"""Images per block of a class's stream; SAMPLE_BATCH is a multiple of it. Part of every result."""


def num_class_blocks(count: int) -> int:
    """Blocks of a class's stream (CLASS_BLOCK images each) that hold its first `count` images."""
    return -(-count // CLASS_BLOCK)


def num_blocks(count: int) -> int:
    """Blocks of a stream (SAMPLE_BATCH images each) that hold its first `count` images."""
    return -(-count // SAMPLE_BATCH)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSize:
    """Size of a model."""

    num_parameters: int
    """Trainable numbers."""
    num_buffers: int
    """Running statistics."""
    flops: float
    """Of one forward pass of one image, a multiply-add counting 2; convolutions only."""
    checkpoint_bytes: int
    """Of its weights file: averaged and raw weights."""
    state_bytes: int
    """Of a running training's saved state."""


def model_size(
    config: ModelConfig, shape: tuple[int, int, int], num_images: int, num_classes: int = 0
) -> ModelSize:
    """Size of a family's model for images of `shape` (C, H, W), fitted to `num_images`.

    Args:
        config: Family and network.
        shape: (C, H, W).
        num_images: Of the pool.
        num_classes: Of the data; counts for a conditional model only.

    Raises:
        ValueError: The model is conditional and there are no classes.
    """
    if not config.conditional:
        return SIZES[config.family](config, shape, num_images, 0)
    way_out = "use data with classes or set model.conditional to False"
    check(num_classes >= 1, "num_classes", "be at least 1", num_classes, way_out)
    return SIZES[config.family](config, shape, num_images, num_classes)


def ddim_size(
    config: ModelConfig, shape: tuple[int, int, int], num_images: int, num_classes: int = 0
) -> ModelSize:
    """Walk through the U-Net's convolutions, and its table of classes where there are some."""
    channels, height, width = shape
    parameters = buffers = 0
    flops = 0.0

    def conv(channels_in: int, channels_out: int, kernel: int, pixels: int) -> None:
        nonlocal parameters, flops
        weights = channels_in * channels_out * kernel * kernel
        parameters += weights + channels_out
        flops += 2.0 * weights * pixels

    def block(channels_in: int, channels_out: int, pixels: int) -> None:
        nonlocal buffers
        buffers += 2 * channels_in
        if channels_in != channels_out:
            conv(channels_in, channels_out, 1, pixels)
        conv(channels_in, channels_out, 3, pixels)
        conv(channels_out, channels_out, 3, pixels)

    pixels = height * width
    conv(channels, config.stem_width, 1, pixels)
    current = config.stem_width + config.embedding_dim
    if num_classes:
        parameters += (num_classes + 1) * config.embedding_dim
        current += config.embedding_dim
    *widths, bottleneck = config.widths
    skips: list[int] = []
    for level_width in widths:
        for _ in range(config.block_depth):
            block(current, level_width, pixels)
            skips.append(current := level_width)
        pixels //= 4
    for _ in range(config.block_depth):
        block(current, bottleneck, pixels)
        current = bottleneck
    for level_width in reversed(widths):
        pixels *= 4
        for _ in range(config.block_depth):
            block(current + skips.pop(), level_width, pixels)
            current = level_width
    conv(current + (config.stem_width if config.stem_skip else 0), channels, 1, pixels)
    weights = 4 * (parameters + buffers)
    return ModelSize(
        num_parameters=parameters,
        num_buffers=buffers,
        flops=flops,
        checkpoint_bytes=2 * weights,
        state_bytes=4 * weights,
    )


def gaussian_size(
    config: ModelConfig, shape: tuple[int, int, int], num_images: int, num_classes: int = 0
) -> ModelSize:
    """Mean and covariance factor, in float64, of each class where there are some.

    Conditional, it is what they come to at most: where all classes have images, and none has more
    than pixels or each has at least as many.
    """
    dim = shape[0] * shape[1] * shape[2]
    means = max(1, num_classes)
    numbers = means * dim + min(num_images, means * dim) * dim
    return ModelSize(
        num_parameters=numbers,
        num_buffers=0,
        flops=2.0 * min(num_images, dim) * dim,
        checkpoint_bytes=8 * numbers,
        state_bytes=0,
    )


SIZES = {"ddim": ddim_size, "gaussian": gaussian_size}
