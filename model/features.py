"""Feature extractors: images in, one row of numbers per image out.

An extractor's label (its name, and its resolution where it resizes) is part of every metric's name.
A row depends on its image alone, bit for bit: the extractor always runs on one fixed batch shape.
Imports torch only when features are extracted; must not know metrics, files or global random state.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from model.config import check_choice

if TYPE_CHECKING:
    from torch import Tensor

FEATURE_BATCH = 32
"""Images per call of an extractor, always; a last, smaller batch is padded with zeros."""

ExtractFunction = Callable[["Tensor"], "Tensor"]
"""(B, C, H, W) float32 images, [0, 1] for 8-bit data, to (B, D) float32 features, on one device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extractor:
    """One way to turn images into features."""

    build: Callable[[int, str], ExtractFunction]
    """(resolution, device) to the function that extracts; slow things (weights) are loaded here."""
    resizes: bool
    """Whether images are resized to metrics.resolution, which is then part of the label."""


def extract_features(
    images: np.ndarray, extractor: str, *, resolution: int, device: str = "cpu"
) -> np.ndarray:
    """Features of images, each row a function of its image alone.

    Args:
        images: (N, C, H, W), uint8, or float32 in [0, 1] (pixels takes unbounded float32 too).
        extractor: A name in EXTRACTORS.
        resolution: Side in pixels the images are resized to; no effect on pixels.
        device: Where the network runs.

    Returns:
        (N, D) float32.

    Raises:
        ValueError: For an unknown extractor or one whose package is missing, and for images of a
            shape, type or range it does not take.
    """
    import torch

    from model.images import to_unit

    check_images(images)
    extract = load_extractor(extractor, resolution, device)
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), FEATURE_BATCH):
            part = images[start : start + FEATURE_BATCH]
            batch = np.zeros((FEATURE_BATCH, *images.shape[1:]), images.dtype)
            batch[: len(part)] = part
            features = extract(to_unit(torch.from_numpy(batch).to(device)))
            rows.append(features[: len(part)].cpu().numpy())
    return np.concatenate(rows)


def extractor_label(extractor: str, resolution: int) -> str:
    """The extractor's part of a metric's name: `efficientnet-lite0-64`, `pixels`."""
    return f"{extractor}-{resolution}" if find_extractor(extractor).resizes else extractor


def find_extractor(name: str) -> Extractor:
    """The entry of EXTRACTORS; raises ValueError with a suggestion for an unknown name."""
    check_choice("metrics.extractor", name, EXTRACTORS)
    return EXTRACTORS[name]


@lru_cache(maxsize=4)
def load_extractor(name: str, resolution: int, device: str) -> ExtractFunction:
    """The extracting function, its weights loaded once per process; raises ValueError as above."""
    return find_extractor(name).build(resolution, device)


def check_images(images: np.ndarray) -> None:
    """Raise ValueError unless `images` are (N >= 1, C, H, W) uint8 or float32."""
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be (N, C, H, W) without a zero, got {images.shape}")
    if images.dtype not in (np.uint8, np.float32):
        raise ValueError(f"images must be uint8 or float32, got {images.dtype}")


def build_pixels(resolution: int, device: str) -> ExtractFunction:
    """The pixels themselves, at the images' own size: `resolution` and `device` have no effect."""
    del resolution, device
    return lambda images: images.flatten(start_dim=1)


def build_efficientnet_lite0(resolution: int, device: str) -> ExtractFunction:
    """The 1280 pooled features of EfficientNet-Lite0, on images resized to `resolution`."""
    from model.efficientnet import build_lite0, read_packaged_weights

    network = build_lite0(read_packaged_weights()).to(device)

    def extract(images: "Tensor") -> "Tensor":
        return network(resize_colour(images, resolution))

    return extract


def resize_colour(images: "Tensor", resolution: int) -> "Tensor":
    """Resize to a square RGB image: bicubic, antialiased, on floats, clipped to [0, 1].

    The filter of clean-fid (Parmar et al., arXiv:2104.11222), without its detour over Pillow.
    Images that have the size already pass unchanged.

    Args:
        images: (B, 1 or 3, H, W) float32 in [0, 1]; grey is repeated to three channels.
        resolution: Side of the result in pixels.

    Returns:
        (B, 3, resolution, resolution) float32 in [0, 1].

    Raises:
        ValueError: For another number of channels, or values outside [0, 1].
    """
    import torch.nn.functional as F

    B, C, H, W = images.shape
    if C not in (1, 3):
        raise ValueError(
            f"images must have 1 or 3 channels, got {C}; metrics.extractor pixels takes any number"
        )
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images must be in [0, 1], got {low:g} to {high:g}; "
            "metrics.extractor pixels takes unbounded ones"
        )
    if (resolution, resolution) != (H, W):
        size = (resolution, resolution)
        images = F.interpolate(
            images, size=size, mode="bicubic", align_corners=False, antialias=True
        ).clamp(0, 1)
    return images.expand(B, 3, resolution, resolution)


EXTRACTORS: dict[str, Extractor] = {
    "efficientnet-lite0": Extractor(build=build_efficientnet_lite0, resizes=True),
    "pixels": Extractor(build=build_pixels, resizes=False),
}
