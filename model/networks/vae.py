"""A convolutional variational autoencoder: network, evidence lower bound, and sampling.

The encoder and the decoder have the blocks of the U-Net's two halves, without its skips. (Kingma
and Welling, arXiv:1312.6114; one learned scale for all pixels as in Rybkin, Daniilidis, Levine,
arXiv:2006.13202; both halves are conditional as in Kingma, Rezende, Mohamed, Welling,
arXiv:1406.5298, model M2.)
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from model.config import ModelConfig, SampleConfig, TrainConfig
from model.networks.objective import Bounds, Call, Draws, Objective, StepLoss, reduce_loss
from model.networks.size import Blocks, Shape, chain
from model.networks.unet import (
    class_table,
    class_vectors,
    convolution,
    draw_weights,
    residual_blocks,
    set_zero,
)

DoubleSize = partial(nn.Upsample, scale_factor=2, mode="bilinear", align_corners=False)
HalveSize = partial(nn.AvgPool2d, 2)
"""Layers that change the resolution in the decoder and in the encoder."""


def residual_levels(
    levels: list[Blocks], config: ModelConfig, resize: Callable[[], nn.Module]
) -> nn.Sequential:
    """The residual blocks of each resolution, with a resizing layer between resolutions."""
    layers: list[nn.Module] = []
    for level in levels:
        layers += [resize()] if layers else []
        layers += residual_blocks(level, config)
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Maps images to the mean and log variance of the posterior over latents."""

    def __init__(self, shape: Shape, config: ModelConfig, num_classes: int = 0) -> None:
        super().__init__()
        channels, height, width = shape
        halvings = len(config.widths) - 1
        self.classes = class_table(num_classes, config.embedding_dim)
        vector = config.embedding_dim if num_classes else 0
        self.stem = convolution(channels + vector, config.stem_width, 1)
        blocks = chain(config.stem_width, config.widths, config.block_depth)
        self.layers = residual_levels(blocks, config, HalveSize)
        flat = config.widths[-1] * (height >> halvings) * (width >> halvings)
        self.head = convolution(flat, 2 * config.latent_dim, 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode (B, C, H, W) images as mean and log variance, (B, latent_dim, 1, 1) each."""
        features = self.layers(self.stem(join_classes(images, labels, self.classes))).flatten(1)
        mean, log_variance = self.head(features[:, :, None, None]).chunk(2, dim=1)
        return mean, log_variance


class Decoder(nn.Module):
    """Maps latents to the mean of the images."""

    def __init__(self, shape: Shape, config: ModelConfig, num_classes: int = 0) -> None:
        super().__init__()
        self.classes = class_table(num_classes, config.embedding_dim)
        vector = config.embedding_dim if num_classes else 0
        channels, height, width = shape
        halvings = len(config.widths) - 1
        current = config.widths[-1]
        self.start = (current, height >> halvings, width >> halvings)
        self.stem = convolution(config.latent_dim + vector, math.prod(self.start), 1)
        blocks = chain(current, config.widths[::-1], config.block_depth)
        self.layers = residual_levels(blocks, config, DoubleSize)
        self.head = convolution(config.widths[0], channels, 1)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Decode (B, latent_dim, 1, 1) latents to (B, C, H, W) means of the images."""
        features = self.stem(join_classes(latents, labels, self.classes)).view(-1, *self.start)
        return self.head(self.layers(features))


def join_classes(x: Tensor, labels: Tensor | None, classes: nn.Embedding | None) -> Tensor:
    """Append the vectors of classes (if any) to (B, C, H, W) inputs as further channels."""
    if classes is None:
        assert labels is None
        return x
    vectors = class_vectors(classes, labels).expand(-1, -1, *x.shape[2:])
    return torch.cat([x, vectors], dim=1)


class Autoencoder(nn.Module):
    """Encoder, decoder and the likelihood's scale.

    Args:
        shape: (C, H, W) of the images.
        config: Widths, depth, latent dimension, likelihood scale and BatchNorm settings.
        generator: CPU generator of the initial weights; None leaves them undefined.
        num_classes: 0 makes an unconditional network.
    """

    log_scale: Tensor

    def __init__(
        self,
        shape: Shape,
        config: ModelConfig,
        generator: torch.Generator | None,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(shape, config, num_classes)
        self.decoder = Decoder(shape, config, num_classes)
        if config.likelihood_scale is None:
            self.log_scale = nn.Parameter(torch.zeros(()))
        else:
            fixed = torch.tensor(math.log(config.likelihood_scale))
            self.register_buffer("log_scale", fixed, persistent=False)
        draw_weights(self, config.init, generator)
        set_zero(self.decoder.head)

    def forward(
        self, images: Tensor, noise: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode, draw a latent with the reparametrised noise, and decode.

        Args:
            images: (B, C, H, W).
            noise: (B, latent_dim, 1, 1) standard normal.
            labels: (B,) int64 in [0, num_classes], the last being "no class"; None for an
                unconditional network.

        Returns:
            Decoded means (B, C, H, W), the posterior's mean and log variance
            (B, latent_dim, 1, 1), and the logarithm of the likelihood's scale, a scalar.
        """
        mean, log_variance = self.encoder(images, labels)
        decoded = self.decoder(mean + (log_variance / 2).exp() * noise, labels)
        return decoded, mean, log_variance, self.log_scale


def gaussian_surprise(error: Tensor, log_scale: Tensor) -> Tensor:
    """-ln N(error; 0, scale^2) in nats, per element."""
    return 0.5 * (error / log_scale.exp()).square() + log_scale + 0.5 * math.log(2 * math.pi)


def laplace_surprise(error: Tensor, log_scale: Tensor) -> Tensor:
    """-ln of the Laplace density exp(-|error| / scale) / (2 scale) in nats, per element."""
    return error.abs() / log_scale.exp() + log_scale + math.log(2)


def divergence_from_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats: (B, latent_dim, 1, 1) summed to (B, 1, 1, 1)."""
    terms = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return terms.sum(dim=1, keepdim=True)


def draw_latent_noise(
    shape: tuple[int, ...], generator: torch.Generator, *, model: ModelConfig
) -> Draws:
    """Standard normal (B, latent_dim, 1, 1) noise."""
    latent_shape = (shape[0], model.latent_dim, 1, 1)
    return (torch.randn(latent_shape, generator=generator, device=generator.device),)


def vae_loss(
    call: Call, images: Tensor, *, draws: Draws, model: ModelConfig, train: TrainConfig
) -> StepLoss:
    """Negative evidence lower bound in nats per element, with one latent drawn per image."""
    decoded, mean, log_variance, log_scale = call(images, *draws)
    surprise = laplace_surprise if train.loss == "mae" else gaussian_surprise
    divergence = divergence_from_prior(mean, log_variance)
    bound = surprise(images - decoded, log_scale) + divergence / images[0].numel()
    error = (images - decoded).detach().abs().mean()
    curves = (bound.detach().mean(), error, divergence.detach().mean())
    return StepLoss(loss=reduce_loss(bound, train), curves=curves)


def vae_sample(
    decode: Call, noise: Tensor, *, model: ModelConfig, config: SampleConfig, bounds: Bounds
) -> Tensor:
    """Decode latents, which are the first numbers of each image's noise, to their means."""
    return decode(noise.flatten(1)[:, : model.latent_dim, None, None])


VAE = Objective(
    new_network=Autoencoder,
    draw=draw_latent_noise,
    loss=vae_loss,
    sample=vae_sample,
    curves=("negative_bound", "image_loss", "divergence"),
    sampling_part="decoder",
)
