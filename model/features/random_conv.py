"""random-conv: a small untrained convolutional network, an extractor for tests.

torch is imported inside the function that needs it.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

RANDOM_CONV_KEY = 0x636F6E76
"""Philox key of random-conv's weights (`conv` in ASCII). Another key is a different extractor."""
RANDOM_CONV_WIDTHS = (3, 16, 32)


def build_random_conv(
    weights: str | None, sha256: str | None, device: str
) -> Callable[["Tensor"], "Tensor"]:
    """A small untrained convolutional network for tests: fast, and without a weight file.

    Two 3x3 convolutions of stride 2 with ReLU (He-uniform weights, no biases), then the mean and
    standard deviation over space of each of 32 channels: 64 features. The weights are the same on
    every machine; features differ by float rounding.
    """
    import torch
    import torch.nn.functional as F

    kernels = [torch.from_numpy(kernel).to(device) for kernel in draw_random_conv()]

    def extract(images: "Tensor") -> "Tensor":
        x = 2 * images - 1
        for kernel in kernels:
            x = F.relu(F.conv2d(x, kernel, stride=2))
        variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0)
        return torch.cat([mean, variance.sqrt()], dim=1)

    return extract


def draw_random_conv() -> list[np.ndarray]:
    """Kernels of random-conv, (C_out, C_in, 3, 3) float32 each, from raw bits of Philox."""
    bits = np.random.Philox(key=RANDOM_CONV_KEY)
    kernels = []
    for c_in, c_out in pairwise(RANDOM_CONV_WIDTHS):
        # Only the raw bits are guaranteed to stay the same across numpy versions.
        # A float32 has 24 significant bits.
        unit = (bits.random_raw(c_out * c_in * 9) >> np.uint64(40)).astype(np.float64) / 2**24
        bound = np.sqrt(6 / (c_in * 9))
        kernel = ((2 * unit - 1) * bound).astype(np.float32)
        kernels.append(kernel.reshape(c_out, c_in, 3, 3))
    return kernels
