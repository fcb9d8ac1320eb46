"""`model sample` and `model.sample`: images as an array, PNGs, one sheet, or pixels in an .npz.

Images of chosen classes go into class folders, into rows of the sheet, or get an array of labels.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.checkpoint import Checkpoint
from model.commands.checkpoint_file import class_names_of
from model.commands.files import write_file, write_folder
from model.commands.train import first_seed
from model.config import SampleConfig
from model.errors import UsageError, check_at_least
from model.images import encode_png, tile, to_bytes
from model.randomness import Purpose
from model.streams import Stream, labels_in_turn

PNG_NAME = "{:06d}.png"
"""File name of image i in a folder of images."""


def draw_images(
    checkpoint: Checkpoint,
    num_images: int,
    labels: np.ndarray | None,
    config: SampleConfig,
    *,
    seed: int,
    device: str,
) -> np.ndarray:
    """Draw images as an array; `model.sample` describes the arguments and errors."""
    check_at_least("num_images", num_images, 1)
    stream = Stream(
        checkpoint=checkpoint,
        config=config,
        seed=first_seed(seed),
        purpose=Purpose.SAMPLE,
        device=device,
    )
    num_classes = checkpoint.settings.get("num_classes", 0)
    if num_classes and labels is None:
        labels = labels_in_turn(range(num_classes), num_images)
    if labels is not None and len(labels) != num_images:
        raise UsageError(f"labels must be one for each of {num_images} images, got {len(labels)}")
    if labels is not None:
        return stream.labelled(labels)
    return np.concatenate(list(stream.images(num_images)))


def write_images(out: Path, stream: Stream, num_images: int) -> None:
    """Write images of an unconditional model; those of a folder are written as they are drawn.

    Args:
        out: A sheet if it ends in .png, exact pixels if in .npz, otherwise a folder of PNGs. Must
            not exist, or be an empty folder.
        stream: The images.
        num_images: Number of images.

    Raises:
        UsageError: PNGs were requested for images without a fixed range.
        Diverged: As the stream.
    """
    check_range(out, bounded=stream.checkpoint.settings["bounded"])
    parts = stream.images(num_images)
    if out.suffix == ".npz":
        write_npz(out, images=np.concatenate(list(parts)))
    elif out.suffix == ".png":
        write_file(out, sheet(np.concatenate(list(parts))))
    else:
        pictures = (image for images in parts for image in images)
        write_folder(out, ((PNG_NAME.format(i), png(image)) for i, image in enumerate(pictures)))


def write_classes(out: Path, stream: Stream, classes: Sequence[int], num_images: int) -> None:
    """Draw classes in turn and write them: rows of a sheet, labels in an .npz, or class folders.

    Args:
        out: As for write_images.
        stream: The images of a conditional model.
        classes: The classes to draw.
        num_images: Number of images of all classes together.

    Raises:
        UsageError: As write_images, or a class's name is not a valid name of a folder.
        Diverged: As the stream.
    """
    names = class_names_of(stream.checkpoint)
    check_range(out, bounded=stream.checkpoint.settings["bounded"])
    check_class_folders(out, [names[label] for label in classes])
    labels = labels_in_turn(classes, num_images)
    images = stream.labelled(labels)
    by_class = {label: images[labels == label] for label in dict.fromkeys(labels.tolist())}
    if out.suffix == ".npz":
        write_npz(out, images=images, labels=labels, class_names=np.array(names, np.str_))
    elif out.suffix == ".png":
        write_file(out, class_sheet(list(by_class.values())))
    else:
        files = (
            (f"{names[label]}/{PNG_NAME.format(number)}", png(image))
            for label, members in by_class.items()
            for number, image in enumerate(members)
        )
        write_folder(out, files)


def write_npz(out: Path, **arrays: np.ndarray) -> None:
    """Write arrays to an .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # ty: ignore[invalid-argument-type]
    write_file(out, file.getvalue())


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
