"""The network of the Keras DDIM example, from its specification; needs only Keras and numpy."""

import importlib
import math
from typing import Any

import numpy as np

# Imported by name because the type checker's environment lacks the keras dependency group.
keras = importlib.import_module("keras")


def build_keras(
    shape: tuple[int, int, int],
    widths: tuple[int, ...],
    *,
    block_depth: int = 2,
    stem_width: int = 32,
    embedding_dim: int = 32,
    max_frequency: float = 1000.0,
) -> Any:
    """Build the residual U-Net; layers are named like the modules of ours, with `-` for a dot.

    Args:
        shape: (H, W, C) of the images.
        widths: Channels of each resolution.
        block_depth: Residual blocks per resolution.
        stem_width: Channels of the first convolution.
        embedding_dim: Channels of the noise variance's embedding.
        max_frequency: Largest frequency of the embedding.
    """
    layers = keras.layers
    size, _, channels = shape
    *outer, bottleneck = widths

    def convolve(x: Any, width: int, size: int, name: str, activation: str | None = None) -> Any:
        return layers.Conv2D(width, size, padding="same", activation=activation, name=name)(x)

    def block(x: Any, width: int, name: str) -> Any:
        shortcut = x if x.shape[3] == width else convolve(x, width, 1, f"{name}-shortcut")
        x = layers.BatchNormalization(center=False, scale=False, name=f"{name}-norm")(x)
        x = convolve(x, width, 3, f"{name}-conv1", "swish")
        return layers.Add()([convolve(x, width, 3, f"{name}-conv2"), shortcut])

    def embed(variance: Any) -> Any:
        frequencies = np.geomspace(1, max_frequency, embedding_dim // 2)
        angles = variance * keras.ops.cast(2 * math.pi * frequencies, variance.dtype)
        return keras.ops.concatenate([keras.ops.sin(angles), keras.ops.cos(angles)], axis=3)

    noisy, variance = keras.Input(shape), keras.Input((1, 1, 1))
    embedding = layers.Lambda(embed, output_shape=(1, 1, embedding_dim))(variance)
    embedding = layers.UpSampling2D(size, interpolation="nearest")(embedding)
    x = layers.Concatenate()([convolve(noisy, stem_width, 1, "stem"), embedding])
    skips = []
    for level, width in enumerate(outer):
        for depth in range(block_depth):
            x = block(x, width, f"down-{level}-{depth}")
            skips.append(x)
        x = layers.AveragePooling2D(2)(x)
    for depth in range(block_depth):
        x = block(x, bottleneck, f"middle-{depth}")
    for level, width in enumerate(reversed(outer)):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        for depth in range(block_depth):
            x = block(layers.Concatenate()([x, skips.pop()]), width, f"up-{level}-{depth}")
    return keras.Model([noisy, variance], convolve(x, channels, 1, "head"))
