"""Images that programs read and write: folders of PNGs, and arrays in .npz and .npy files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from model.errors import OneLineError, one_line
from model.images import encode_png

NAME = "{:06d}.png"
"""File name of an image of a pool."""
UNKNOWN = "unlabelled"
"""Folder of images whose class is not known."""
ARRAYS = (".npz", ".npy")


class ProgramFailed(OneLineError):
    """A program did not do what it must; its lineage fails."""


def write_pool(
    folder: Path, images: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str]
) -> None:
    """Write a pool as PNGs: in class folders if the data have classes, otherwise in one folder.

    Args:
        folder: A new folder.
        images: (N, C, H, W) uint8, C 1 or 3.
        labels: (N,) int64 classes, -1 if unknown; None without classes.
        class_names: Names of the classes, or none.
    """
    folder.mkdir()
    places = {-1: folder / UNKNOWN}
    for label in [] if labels is None else np.unique(labels).tolist():
        if label >= 0:
            places[label] = folder / folder_name(label, class_names)
        places[label].mkdir()
    for number, image in enumerate(images):
        place = folder if labels is None else places[int(labels[number])]
        (place / NAME.format(number)).write_bytes(encode_png(image.transpose(1, 2, 0)))


def folder_name(label: int, class_names: Sequence[str]) -> str:
    """Name of a class's folder: the class's name if that is possible, otherwise its number."""
    name = class_names[label] if class_names else ""
    is_possible = name and not name.startswith(".") and not set(name) & set("/\\\0")
    return name if is_possible and name != UNKNOWN else str(label)


def read_drawn(folder: Path, shape: tuple[int, ...], count: int, *, setting: str) -> np.ndarray:
    """The images that a program has written into a folder.

    Args:
        folder: Contains PNGs, or one .npz or .npy file with uint8 (N, H, W) or (N, H, W, C).
        shape: (C, H, W) that they must have.
        count: The number that there must be.
        setting: Name of the program's setting, for errors.

    Returns:
        (count, C, H, W) uint8; PNGs are sorted by path.

    Raises:
        ProgramFailed: There are too few or too many images, or one cannot be used.
    """
    pngs = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".png")
    arrays = [path for path in folder.iterdir() if path.suffix in ARRAYS]
    if arrays and (pngs or len(arrays) > 1):
        raise ProgramFailed(
            f"{setting} must write PNGs or one file of images, got {len(pngs)} PNGs and "
            f"{len(arrays)} arrays in {folder}"
        )
    if arrays:
        return _of_array(arrays[0], shape, count, setting)
    if len(pngs) != count:
        raise ProgramFailed(
            f"{setting} must write {count} images into {{out}}, got {len(pngs)} PNGs in {folder}"
        )
    return np.stack([*_of_pngs(pngs, shape, setting)])


def _of_pngs(paths: Iterable[Path], shape: tuple[int, ...], setting: str) -> Iterable[np.ndarray]:
    from PIL import Image

    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    for path in paths:
        try:
            with Image.open(path) as image:
                found, size, pixels = image.mode, image.size, np.asarray(image)
        except Exception as error:  # Pillow raises errors of many kinds for a damaged file
            raise ProgramFailed(
                f"{setting} must write readable PNGs, got {path} ({one_line(error)})"
            ) from None
        if (found, size) != (mode, (width, height)):
            raise ProgramFailed(
                f"{setting} must write PNGs of mode {mode} and {width}x{height} pixels, like the "
                f"images that it trains on, got {found} and {size[0]}x{size[1]} in {path}"
            )
        yield pixels.reshape(height, width, channels).transpose(2, 0, 1)


def _of_array(path: Path, shape: tuple[int, ...], count: int, setting: str) -> np.ndarray:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            images = loaded
        else:
            with loaded:
                names = loaded.files
                images = loaded["images" if "images" in names else names[0]]
    except Exception as error:  # numpy raises errors of many kinds for a damaged file
        raise ProgramFailed(
            f"{setting} must write a readable array of images, got {path} ({one_line(error)})"
        ) from None
    channels, height, width = shape
    if images.ndim == 3:
        images = images[..., None]
    expected = (count, height, width, channels)
    if images.dtype != np.uint8 or images.shape != expected:
        raise ProgramFailed(
            f"{setting} must write uint8 images {expected}, got {images.dtype} {images.shape} in "
            f"{path}"
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
