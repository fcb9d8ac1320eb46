"""Conversions of images: 8-bit and unit floats, statistics, cropping, resizing, PNG sheets.

Only this module changes the scale of pixels. torch and Pillow are imported inside the functions
that need them.
"""

import io
from typing import TYPE_CHECKING

import numpy as np

from model.config import Resize

if TYPE_CHECKING:
    from torch import Tensor

STD_FLOOR = 1e-3
"""Smallest channel deviation, in unit scale, so that a constant channel causes no division by 0."""

_CHUNK = 512
"""Images converted to float64 at once; fixed, because it determines the order of summation."""


def to_unit(images: "Tensor") -> "Tensor":
    """Map 8-bit images to float32 in [0, 1]; float32 images are passed through unchanged.

    Raises:
        ValueError: For any other dtype.
    """
    import torch

    if images.dtype == torch.float32:
        return images
    if images.dtype != torch.uint8:
        raise ValueError(f"images.dtype must be uint8 or float32, got {images.dtype}")
    return images.to(torch.float32) / 255


def from_unit(images: "Tensor", dtype: str, *, bounded: bool) -> "Tensor":
    """Map float images of unit scale to the dtype in which a pool stores them.

    Args:
        images: float32 of any shape, without nan.
        dtype: "uint8" (clipped, rounded half to even) or "float32".
        bounded: Clip float32 images to [0, 1] (8-bit ones always are).
    """
    import torch

    if dtype == "uint8":
        return (images.clamp(0, 1) * 255).round().to(torch.uint8)
    if dtype != "float32":
        raise ValueError(f"dtype must be uint8 or float32, got {dtype!r}")
    return images.clamp(0, 1) if bounded else images


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation of each channel, in unit scale.

    Args:
        images: (N, C, H, W) uint8 (divided by 255) or float32 (unchanged), N at least 1.

    Returns:
        Mean and deviation, both (C,) float64; deviations below STD_FLOOR are raised to it.
    """
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    num_pixels = images.shape[0] * images.shape[2] * images.shape[3]
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    mean = sum(c.sum(axis=(0, 2, 3), dtype=np.float64) for c in chunks) / num_pixels
    centre = np.reshape(mean, (-1, 1, 1))
    squares = sum(np.square(c - centre).sum(axis=(0, 2, 3)) for c in chunks)
    std = np.sqrt(squares / num_pixels) / scale
    return np.asarray(mean / scale), np.maximum(std, STD_FLOOR)


def crop_square(image: np.ndarray) -> np.ndarray:
    """The largest centred square of an (H, W, C) image."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def resize_image(image: np.ndarray, size: int, *, mode: Resize, dtype: str) -> np.ndarray:
    """Resize one 8-bit image to a square; an image that already has that size keeps its pixels.

    Args:
        image: (H, W, C) uint8, C 1 or 3.
        size: Side of the result in pixels.
        mode: A DataConfig.resize; float modes are clipped to [0, 1] because bicubic overshoots.
        dtype: "uint8" (rounded half to even) or "float32" in [0, 1] (never rounded to 8 bits,
            except by pil_bilinear_u8).

    Returns:
        (C, size, size) uint8 or float32.
    """
    if image.shape[:2] != (size, size) and mode != "pil_bilinear_u8":
        return _resize_floats(image, size, mode, dtype)
    if image.shape[:2] != (size, size):
        from PIL import Image

        small = Image.fromarray(_drop_grey_axis(image)).resize(
            (size, size), Image.Resampling.BILINEAR
        )
        image = np.asarray(small).reshape(size, size, -1)
    pixels = np.array(image.transpose(2, 0, 1), order="C")
    return pixels if dtype == "uint8" else pixels.astype(np.float32) / np.float32(255)


def _resize_floats(image: np.ndarray, size: int, mode: Resize, dtype: str) -> np.ndarray:
    import torch
    from torch.nn.functional import interpolate

    pixels = to_unit(torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C")))
    method = "bilinear" if mode == "bilinear_aa_float" else "bicubic"
    resized = interpolate(
        pixels[None], (size, size), mode=method, antialias=True, align_corners=False
    )
    return from_unit(resized[0], dtype, bounded=True).numpy()


def to_bytes(images: np.ndarray, *, limits: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Convert images to 8 bits for display.

    Args:
        images: (N, C, H, W) uint8 (returned unchanged) or float32; nan becomes the lower limit.
        limits: Values shown as 0 and 255: (0, 1) for bounded floats.

    Returns:
        (N, C, H, W) uint8, rounded half to even.

    Raises:
        ValueError: If the upper limit is not above the lower one.
    """
    if images.dtype == np.uint8:
        return images
    low, high = limits
    if not high > low:
        raise ValueError(f"limits must be (low, high) with low below high, got {limits}")
    scaled = np.clip((images.astype(np.float64) - low) / (high - low), 0, 1) * 255
    return np.rint(np.nan_to_num(scaled, nan=0.0)).astype(np.uint8)


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """Arrange images row by row without gaps; unused cells in the last row are black.

    Args:
        images: (N, C, H, W) uint8.
        columns: Images per row.

    Returns:
        (rows * H, columns * W, C) uint8.
    """
    N, C, H, W = images.shape
    rows = -(-N // columns)
    cells = np.zeros((rows * columns, C, H, W), images.dtype)
    cells[:N] = images
    grid = cells.reshape(rows, columns, C, H, W).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(grid).reshape(rows * H, columns * W, C)


def encode_png(image: np.ndarray) -> bytes:
    """Encode an (H, W, C) uint8 image, C 1 or 3, as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_drop_grey_axis(image)).save(buffer, format="PNG")
    return buffer.getvalue()


def _drop_grey_axis(image: np.ndarray) -> np.ndarray:
    """Reshape a grey (H, W, 1) image to (H, W), as Pillow expects; keep colour images."""
    return np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image)
