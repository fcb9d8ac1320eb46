"""How large a network is: its residual blocks, parameters, operations and bytes.

This is arithmetic on settings, so a plan does not import torch. The networks are built from the
same lists of blocks, and a test compares their sizes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from model.config import ModelConfig

Shape = tuple[int, int, int]
"""(C, H, W) of an image."""
Blocks = list[tuple[int, int]]
"""Channels before and after each residual block of one resolution."""


def chain(channels: int, widths: Sequence[int], depth: int) -> list[Blocks]:
    """`depth` residual blocks of each width in turn; the first block takes `channels` channels."""
    steps = pairwise([channels, *widths])
    return [[(before, width)] + [(width, width)] * (depth - 1) for before, width in steps]


def unet_blocks(config: ModelConfig, num_classes: int) -> tuple[list[Blocks], list[Blocks]]:
    """The U-Net's blocks on the way down, the bottleneck last, and on the way up.

    Each block on the way up also takes the output of its counterpart on the way down.
    """
    widths, depth = config.widths, config.block_depth
    vectors = 2 if num_classes else 1
    down = chain(config.stem_width + vectors * config.embedding_dim, widths, depth)
    up = chain(widths[-1], widths[-2::-1], depth)
    return down, [[(before + width, width) for before, width in level] for level in up]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSize:
    """Size of a model."""

    num_parameters: int
    """Number of trainable values."""
    num_buffers: int
    """Number of values in running statistics."""
    flops: float
    """FLOPs of one image's forward pass without norms and activations; a multiply-add counts 2."""
    checkpoint_bytes: int
    """Bytes of the weights file, which holds averaged and raw weights."""
    state_bytes: int
    """Bytes of a running training's saved state."""


class Layers:
    """Running totals over a network's layers."""

    def __init__(self) -> None:
        self.parameters = self.buffers = 0
        self.flops = 0.0

    def conv(self, channels_in: int, channels_out: int, kernel: int, pixels: int) -> None:
        """Add a convolution with bias; a linear layer has kernel 1 and one pixel per row."""
        weights = channels_in * channels_out * kernel * kernel
        self.parameters += weights + channels_out
        self.flops += 2.0 * weights * pixels

    def blocks(self, blocks: Blocks, pixels: int) -> None:
        """Add the residual blocks of one resolution."""
        for before, after in blocks:
            self.buffers += 2 * before
            if before != after:
                self.conv(before, after, 1, pixels)
            self.conv(before, after, 3, pixels)
            self.conv(after, after, 3, pixels)

    def size(self) -> ModelSize:
        """The totals as a ModelSize."""
        weights = 4 * (self.parameters + self.buffers)
        return ModelSize(
            num_parameters=self.parameters,
            num_buffers=self.buffers,
            flops=self.flops,
            checkpoint_bytes=2 * weights,
            state_bytes=4 * weights,
        )


def unet_size(config: ModelConfig, shape: Shape, num_images: int, num_classes: int) -> ModelSize:
    """Size of the U-Net: its convolutions, and its class table if it is conditional."""
    channels, height, width = shape
    layers = Layers()
    pixels = height * width
    layers.conv(channels, config.stem_width, 1, pixels)
    if num_classes:
        layers.parameters += (num_classes + 1) * config.embedding_dim
    down, up = unet_blocks(config, num_classes)
    for level, blocks in [*enumerate(down), *enumerate(reversed(up))]:
        layers.blocks(blocks, pixels >> 2 * level)
    skip = config.stem_width if config.stem_skip else 0
    layers.conv(config.widths[0] + skip, channels, 1, pixels)
    return layers.size()


def vae_size(config: ModelConfig, shape: Shape, num_images: int, num_classes: int) -> ModelSize:
    """Size of the variational autoencoder: its encoder and decoder."""
    channels, height, width = shape
    widths, depth = config.widths, config.block_depth
    layers = Layers()
    pixels = height * width
    vector = config.embedding_dim if num_classes else 0
    layers.parameters += 2 * (num_classes + 1) * vector  # class tables of encoder and decoder
    layers.conv(channels + vector, config.stem_width, 1, pixels)
    encoder = chain(config.stem_width, widths, depth)
    decoder = chain(widths[-1], widths[::-1], depth)
    for level, blocks in [*enumerate(encoder), *enumerate(reversed(decoder))]:
        layers.blocks(blocks, pixels >> 2 * level)
    flat = widths[-1] * (pixels >> 2 * (len(widths) - 1))
    layers.conv(flat, 2 * config.latent_dim, 1, 1)
    layers.conv(config.latent_dim + vector, flat, 1, 1)
    layers.conv(widths[0], channels, 1, pixels)
    layers.parameters += config.likelihood_scale is None
    return layers.size()


GROUPS, HEAD_CHANNELS = 32, 8
"""Most normalisation groups and channels per attention head of unet2d; both divide the widths."""


def attends(side: int) -> bool:
    """Whether unet2d has attention at a resolution of `side` pixels a side."""
    return side <= 16


def unet2d_arguments(shape: Shape, config: ModelConfig, num_classes: int) -> dict[str, Any]:
    """What UNet2DModel is built with, except for the size of images, which changes no weight."""
    channels, height, _ = shape
    attention = [attends(height >> level) for level in range(len(config.widths))]
    return {
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": config.widths,
        "layers_per_block": config.block_depth,
        "down_block_types": tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        "up_block_types": tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attention[::-1]),
        "norm_num_groups": math.gcd(GROUPS, *config.widths),
        "attention_head_dim": math.gcd(HEAD_CHANNELS, *config.widths),
        # The additional embedding is that of "no class".
        "num_class_embeds": num_classes + 1 if num_classes else None,
    }


def unet2d_size(config: ModelConfig, shape: Shape, num_images: int, num_classes: int) -> ModelSize:
    """Size of diffusers' UNet2DModel as model/networks/unet2d.py configures it."""
    channels, height, width = shape
    layers = Layers()
    pixels = height * width
    time_width = 4 * config.widths[0]

    def resnet(channels_in: int, channels_out: int) -> None:
        layers.parameters += 2 * (channels_in + channels_out)  # two group norms
        layers.conv(channels_in, channels_out, 3, pixels)
        layers.conv(time_width, channels_out, 1, 1)
        layers.conv(channels_out, channels_out, 3, pixels)
        if channels_in != channels_out:
            layers.conv(channels_in, channels_out, 1, pixels)

    def attention(level_width: int) -> None:
        layers.parameters += 2 * level_width
        for _ in range(4):  # query, key, value, output
            layers.conv(level_width, level_width, 1, pixels)
        layers.flops += 4.0 * pixels * pixels * level_width

    layers.conv(channels, config.widths[0], 3, pixels)
    layers.conv(config.widths[0], time_width, 1, 1)
    layers.conv(time_width, time_width, 1, 1)
    layers.parameters += (num_classes + 1) * time_width if num_classes else 0
    skips = [current := config.widths[0]]
    for level, level_width in enumerate(config.widths):
        if level:
            pixels //= 4
            layers.conv(current, current, 3, pixels)
            skips.append(current)
        for _ in range(config.block_depth):
            resnet(current, level_width)
            if attends(height >> level):
                attention(level_width)
            skips.append(current := level_width)
    resnet(current, current)
    attention(current)
    resnet(current, current)
    for level, level_width in reversed(list(enumerate(config.widths))):
        for _ in range(config.block_depth + 1):
            resnet(current + skips.pop(), level_width)
            current = level_width
            if attends(height >> level):
                attention(level_width)
        if level:
            pixels *= 4
            layers.conv(current, current, 3, pixels)
    layers.parameters += 2 * current
    layers.conv(current, channels, 3, pixels)
    return layers.size()


def gaussian_size(
    config: ModelConfig, shape: Shape, num_images: int, num_classes: int
) -> ModelSize:
    """Size of the mean and covariance factor in float64, per class if the model is conditional.

    A conditional model's size is an upper bound. It is reached if every class has images, and
    either no class has more images than pixels or every class has at least as many.
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


def exact_gaussian_size(
    config: ModelConfig, shape: Shape, num_images: int, num_classes: int
) -> ModelSize:
    """Size of the Gaussian, or of one per class, as a bound like gaussian_size."""
    dim, means = math.prod(shape), max(1, num_classes)
    rows = min(num_images, means * dim)
    numbers = means * dim + rows * dim
    return exact_size(numbers, shape, num_classes, flops=4.0 * rows * dim)


def exact_empirical_size(
    config: ModelConfig, shape: Shape, num_images: int, num_classes: int
) -> ModelSize:
    """Size of the pool's images in float64."""
    numbers = num_images * math.prod(shape)
    return exact_size(numbers, shape, num_classes, flops=4.0 * numbers)


def exact_size(numbers: int, shape: Shape, num_classes: int, *, flops: float) -> ModelSize:
    """Size of a model of `numbers`, the normalisation of channels, and each class's count."""
    return ModelSize(
        num_parameters=numbers,
        num_buffers=0,
        flops=flops,
        checkpoint_bytes=8 * (numbers + 2 * shape[0] + max(1, num_classes)),
        state_bytes=0,
    )


def command_size(config: ModelConfig, shape: Shape, num_images: int, num_classes: int) -> ModelSize:
    """The size of another program's model, which is not known."""
    return ModelSize(num_parameters=0, num_buffers=0, flops=0.0, checkpoint_bytes=0, state_bytes=0)
