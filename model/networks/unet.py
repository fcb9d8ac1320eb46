"""The residual U-Net of the Keras DDIM example: noisy image and noise variance in, noise out.

It matches the network of keras.io/examples/generative/ddim (A. Beres, 2022) layer by layer: each
block has a BatchNorm without scale or offset before the first of its two 3x3 convolutions, the
variance's embedding is joined once at the input, and there is no attention.
"""

import math
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import ModelConfig
from model.errors import UsageError
from model.networks.size import Blocks, Shape, unet_blocks

Network = TypeVar("Network", bound=nn.Module)


class VarianceEmbedding(nn.Module):
    """Sines and cosines of the noise variance at log-spaced frequencies from 1 to the maximum."""

    angular_speeds: Tensor

    def __init__(self, dim: int, max_frequency: float) -> None:
        super().__init__()
        frequencies = torch.logspace(0, math.log10(max_frequency), dim // 2, dtype=torch.float64)
        speeds = (2 * math.pi * frequencies).to(torch.get_default_dtype())
        self.register_buffer("angular_speeds", speeds, persistent=False)

    def forward(self, variance: Tensor) -> Tensor:
        """Embed (B, 1, 1, 1) variances as (B, dim, 1, 1), in float32 because angles reach 6283."""
        with torch.autocast(variance.device.type, enabled=False):
            angles = variance * self.angular_speeds.view(1, -1, 1, 1)
            return torch.cat([angles.sin(), angles.cos()], dim=1)


class EmptyConvolution(nn.Conv2d):
    """A convolution without initial weights; nn.Conv2d draws them from the global generator."""

    def reset_parameters(self) -> None:
        """Leave the weights undefined."""


class EmptyEmbedding(nn.Embedding):
    """An embedding without initial weights; nn.Embedding draws them from the global generator."""

    def reset_parameters(self) -> None:
        """Leave the weights undefined."""


def convolution(channels_in: int, width: int, size: int) -> nn.Conv2d:
    """A size x size convolution that keeps its input's size; `draw_weights` draws its weights."""
    return EmptyConvolution(channels_in, width, size, padding=size // 2)


def class_table(num_classes: int, dim: int) -> nn.Embedding | None:
    """A vector for each class and, last, for "no class"; None if there are no classes.

    `draw_weights` draws the weights.
    """
    return EmptyEmbedding(num_classes + 1, dim) if num_classes else None


def class_vectors(table: nn.Embedding, labels: Tensor | None) -> Tensor:
    """Look up (B,) int64 labels as (B, dim, 1, 1) vectors."""
    assert labels is not None
    return table(labels)[:, :, None, None]


class ResidualBlock(nn.Module):
    """BatchNorm, 3x3 convolution, swish, 3x3 convolution, added to the (projected) input."""

    def __init__(self, channels_in: int, width: int, config: ModelConfig) -> None:
        super().__init__()
        self.shortcut = (
            nn.Identity() if channels_in == width else convolution(channels_in, width, 1)
        )
        self.norm = nn.BatchNorm2d(
            channels_in, eps=config.bn_eps, momentum=config.bn_momentum, affine=False
        )
        # With a fixed momentum the counter is never read; without it there is one buffer fewer to
        # store and average.
        self.norm.num_batches_tracked = None
        self.conv1 = convolution(channels_in, width, 3)
        self.conv2 = convolution(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, width, H, W)."""
        return self.shortcut(x) + self.conv2(F.silu(self.conv1(self.norm(x))))


def residual_blocks(blocks: Blocks, config: ModelConfig) -> nn.ModuleList:
    """The residual blocks of one resolution."""
    return nn.ModuleList(ResidualBlock(before, after, config) for before, after in blocks)


class UNet(nn.Module):
    """Predict the noise in a noisy image from the image and its noise variance.

    Args:
        shape: (C, H, W) of the images.
        config: Widths, depth, embedding and BatchNorm settings.
        generator: CPU generator of the initial weights; None leaves them undefined.
        num_classes: 0 makes an unconditional network.
    """

    def __init__(
        self,
        shape: Shape,
        config: ModelConfig,
        generator: torch.Generator | None,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        down, up = unet_blocks(config, num_classes)
        self.stem_skip = config.stem_skip
        self.embedding = VarianceEmbedding(config.embedding_dim, config.embedding_max_frequency)
        self.stem = convolution(shape[0], config.stem_width, 1)
        self.down = nn.ModuleList(residual_blocks(level, config) for level in down[:-1])
        self.middle = residual_blocks(down[-1], config)
        self.up = nn.ModuleList(residual_blocks(level, config) for level in up)
        skip = config.stem_width if config.stem_skip else 0
        self.head = convolution(config.widths[0] + skip, shape[0], 1)
        self.class_embedding = class_table(num_classes, config.embedding_dim)
        draw_weights(self, config.init, generator)
        set_zero(self.head)

    def embed(self, variance: Tensor, labels: Tensor | None) -> Tensor:
        """Embed (B, 1, 1, 1) variances and (B,) int64 labels as (B, channels, 1, 1)."""
        embedding = self.embedding(variance)
        if self.class_embedding is None:
            assert labels is None
            return embedding
        vectors = class_vectors(self.class_embedding, labels)
        return torch.cat([embedding.expand(len(vectors), -1, -1, -1), vectors], dim=1)

    def forward(self, noisy: Tensor, variance: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict noise.

        Args:
            noisy: (B, C, H, W) noisy images.
            variance: (B, 1, 1, 1) noise variances.
            labels: (B,) int64 in [0, num_classes], the last being "no class"; None for an
                unconditional network.

        Returns:
            (B, C, H, W).
        """
        stem = self.stem(noisy)
        embedding = self.embed(variance, labels).to(stem.dtype).expand(-1, -1, *stem.shape[2:])
        x = torch.cat([stem, embedding], dim=1)
        skips: list[Tensor] = []
        for level in self.down:
            for block in cast(nn.ModuleList, level):
                x = block(x)
                skips.append(x)
            x = F.avg_pool2d(x, 2)
        for block in self.middle:
            x = block(x)
        for level in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            for block in cast(nn.ModuleList, level):
                x = block(torch.cat([x, skips.pop()], dim=1))
        if self.stem_skip:
            x = torch.cat([x, stem], dim=1)
        return self.head(x)


def draw_weights(net: nn.Module, init: str, generator: torch.Generator | None) -> None:
    """Draw all weights by Keras' rule (Glorot uniform weights, zero biases) or torch's.

    Vectors of classes are standard normal and drawn after all other weights. Without a generator
    nothing is drawn, for networks into which weights are loaded.
    """
    if generator is None:
        return
    for module in net.modules():
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        if init == "keras_glorot":
            nn.init.xavier_uniform_(module.weight, generator=generator)
        else:
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
        if module.bias is None:
            continue
        if init == "keras_glorot":
            nn.init.zeros_(module.bias)
        else:
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
    for module in net.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=generator)


def set_zero(layer: nn.Module) -> None:
    """Zero the parameters of a last layer, as the Keras example does for the head."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def to_device(net: Network, device: str | torch.device) -> Network:
    """Move a network to a device and its weights to channels last."""
    return net.to(device=device).to(memory_format=torch.channels_last)


def load_weights(net: nn.Module, tensors: dict[str, Tensor], *, source: str) -> None:
    """Copy `tensors` into the network.

    load_state_dict would add BatchNorm's counter, which this network omits.

    Raises:
        UsageError: Names, shapes or types do not match; the message names `source`.
    """
    own = net.state_dict()
    forms = [{k: (v.shape, v.dtype) for k, v in named.items()} for named in (own, tensors)]
    if forms[0] != forms[1]:
        raise UsageError(
            f"{source}'s weights must be those of this network, got other names, shapes or types"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
