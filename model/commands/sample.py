"""`model sample`: writes images as a folder of PNGs, as one sheet, or as exact pixels in an .npz.

Images of chosen classes go into class folders, into rows of the sheet, or get an array of labels.
"""

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from model.commands.files import write_file, write_folder
from model.errors import UsageError
from model.images import encode_png, tile, to_bytes

PNG_NAME = "{:06d}.png"
"""File name of image i in a folder of images."""


def write_images(out: Path, parts: Iterable[np.ndarray], *, bounded: bool) -> None:
    """Write images: a sheet for .png, exact pixels for .npz, otherwise a folder of PNGs.

    Args:
        out: Must not exist, or be an empty folder.
        parts: Batches of (N, C, H, W) uint8 or float32 images, generated while they are written.
        bounded: Whether pixels are confined to [0, 1] (in unit scale), which PNGs require.

    Raises:
        UsageError: PNGs were requested for images without a fixed range.
    """
    if out.suffix == ".npz":
        file = io.BytesIO()
        np.savez(file, images=np.concatenate(list(parts)))
        write_file(out, file.getvalue())
        return
    check_range(out, bounded=bounded)
    if out.suffix == ".png":
        write_file(out, sheet(np.concatenate(list(parts))))
    else:
        pictures = (image for images in parts for image in images)
        write_folder(out, ((PNG_NAME.format(i), png(image)) for i, image in enumerate(pictures)))


def check_range(out: Path, *, bounded: bool) -> None:
    """Raise UsageError if images without a fixed range would be written as PNGs."""
    if not bounded and out.suffix != ".npz":
        raise UsageError(
            f"--out must end in .npz for images without a fixed range of pixels, got {str(out)!r}"
        )


def check_class_folders(out: Path, names: Sequence[str]) -> None:
    """Raise UsageError if classes become folders and a class name is not a valid folder name."""
    if out.suffix in (".npz", ".png"):
        return
    for name in names:
        good = name and not name.startswith(".") and not set(name) & set("/\\\0")
        if not good:
            raise UsageError(
                f"class names must be valid folder names for this --out, got {name!r}; "
                "let --out end in .npz"
            )


def write_class_images(
    out: Path, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> None:
    """Write images of chosen classes: rows of a sheet, labels in an .npz, or class folders.

    Args:
        out: Must not exist, or be an empty folder.
        images: (N, C, H, W) uint8 or float32.
        labels: (N,) int64, the class of each.
        class_names: Names of all classes.
    """
    if out.suffix == ".npz":
        file = io.BytesIO()
        np.savez(file, images=images, labels=labels, class_names=np.array(class_names, np.str_))
        write_file(out, file.getvalue())
        return
    classes = list(dict.fromkeys(labels.tolist()))
    by_class = {label: images[labels == label] for label in classes}
    if out.suffix == ".png":
        write_file(out, class_sheet([by_class[label] for label in classes]))
        return
    files = (
        (f"{class_names[label]}/{PNG_NAME.format(number)}", png(image))
        for label in classes
        for number, image in enumerate(by_class[label])
    )
    write_folder(out, files)


def class_sheet(rows: Sequence[np.ndarray]) -> bytes:
    """A PNG with a row of (N, C, H, W) images per class; shorter rows are padded with black."""
    columns = max(len(row) for row in rows)
    cells = np.zeros((len(rows), columns, *rows[0].shape[1:]), np.uint8)
    for number, row in enumerate(rows):
        cells[number, : len(row)] = to_bytes(row)
    return encode_png(tile(cells.reshape(-1, *cells.shape[2:]), columns))


def sheet(images: np.ndarray) -> bytes:
    """(N, C, H, W) images as a PNG grid of about as many rows as columns, without gaps."""
    return encode_png(tile(to_bytes(images), math.ceil(math.sqrt(len(images)))))


def png(image: np.ndarray) -> bytes:
    """A (C, H, W) image as a PNG."""
    return encode_png(tile(to_bytes(image[None]), 1))
