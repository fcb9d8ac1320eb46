"""Drawn images into files: a folder of PNGs, one sheet, or an .npz with the exact pixels.

Must not know how images are drawn.
"""

import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from model.images import encode_png, tile, to_bytes
from model.outputs import write_file, write_folder


def write_images(out: Path, parts: Iterable[np.ndarray], *, bounded: bool) -> None:
    """Write images: a sheet for .png, exact pixels for .npz, else a folder with a PNG for each.

    Args:
        out: Must not exist, but for an empty folder.
        parts: (N, C, H, W) uint8 or float32, drawn while they are written.
        bounded: Whether pixels lie in [0, 1] (in unit scale), so that a PNG can show them.

    Raises:
        ValueError: A PNG of images without a fixed range is asked for.
    """
    if out.suffix == ".npz":
        file = io.BytesIO()
        np.savez(file, images=np.concatenate(list(parts)))
        write_file(out, file.getvalue())
        return
    if not bounded:
        raise ValueError(
            f"--out must end in .npz for images without a fixed range of pixels, got {str(out)!r}"
        )
    if out.suffix == ".png":
        write_file(out, sheet(np.concatenate(list(parts))))
    else:
        write_folder(out, (png(image) for images in parts for image in images))


def sheet(images: np.ndarray) -> bytes:
    """(N, C, H, W) images as a PNG of about as many rows as columns, without gaps."""
    return encode_png(tile(to_bytes(images), math.ceil(math.sqrt(len(images)))))


def png(image: np.ndarray) -> bytes:
    """A (C, H, W) image as a PNG."""
    return encode_png(tile(to_bytes(image[None]), 1))
