"""Contents of a data set, and conversion of its images to pixels: shared by all readers.

All image files are opened and decoded here. Pillow is imported when the first one is opened.
"""

import contextlib
import errno
import importlib.util
import os
import re
import struct
import zlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from model.config import DataConfig
from model.errors import OneLineError, UsageError, one_line
from model.images import crop_square, resize_image

if TYPE_CHECKING:
    from PIL.Image import Image

GREY_MODES = ("1", "L", "LA")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of grey images, and of images with more than 8 bits."""
DEEP_RAW_MODE = re.compile(r"\w+;(16|32)[A-Z]+")
"""Pillow's raw modes of more than 8 bits, such as RGB;16B, which an image's mode (RGB) hides."""

INSTALL = "install it with: pip install 'collapse-sweep[all]'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """A data set without its pixels.

    If it describes data that are not loaded yet, labels may have any order (only their counts
    matter), or be None if they are known only after loading.
    """

    num_images: int
    channels: int
    labels: np.ndarray | None = None
    """(N,) int64, or None."""
    class_names: tuple[str, ...] = ()
    """Empty if the data have no labels, or if the names are known only after loading."""
    unnamed_classes: int = 0
    """Number of classes whose names are known only after loading."""
    parts: np.ndarray | None = None
    """(N,) official split of each image: 0 train, 1 validation, 2 test."""
    bounded: bool = True
    """Whether pixels are confined to [0, 1] (in unit scale)."""


def collect_pixels(
    images: Iterable[np.ndarray], contents: Contents, config: DataConfig
) -> np.ndarray:
    """Crop (H, W, C) uint8 images to their centred squares and resize these.

    Returns:
        (N, C, S, S) of data.dtype.
    """
    size = config.image_size
    pixels = np.empty((contents.num_images, contents.channels, size, size), config.dtype)
    for i, image in enumerate(images):
        square = crop_square(image)
        pixels[i] = resize_image(square, size, mode=config.resize, dtype=config.dtype)
    return pixels


def decode_image(source: Any, channels: int | None = None, *, name: str = "") -> np.ndarray:
    """Read an image file as (H, W, C) uint8; transparency is dropped.

    Args:
        source: Path or binary file object.
        channels: C. 1 requires a grey image; None means 1 for a grey image, else 3.
        name: Name of the image in errors, if it is not the path.

    Raises:
        UsageError: The file cannot be read or decoded, has more than 8 bits, or must be grey but
            is not.
    """
    with open_image(source, name) as picture:
        file_channels = num_channels(picture)
        if channels == 1 and file_channels != 1:
            raise UsageError(
                f"{name or source} must be grey like the other images, got {picture.mode!r}; "
                "convert it"
            )
        return to_pixels(picture, channels or file_channels)


@contextlib.contextmanager
def open_image(source: Any, name: str = "") -> Generator["Image"]:
    """Open an 8-bit image file without decoding its pixels.

    Raises:
        UsageError: The file cannot be read or has more than 8 bits, or is found to be damaged
            while it is open.
    """
    from PIL import Image

    name = name or str(source)
    with decoding(name, "a readable image"):
        try:
            with Image.open(source) as picture:
                if deep := _deep_mode(picture):
                    raise UsageError(f"{name} must be an 8-bit image, got {deep!r}; convert it")
                yield picture
        except Image.DecompressionBombError as error:
            raise UsageError(
                f"{name} must be an image of fewer pixels, got {one_line(error)!r}; "
                "make it smaller or delete it"
            ) from None


def num_channels(picture: "Image") -> int:
    """Number of channels: 1 for a grey image, 3 for any other."""
    return 1 if picture.mode in GREY_MODES else 3


def to_pixels(picture: "Image", channels: int) -> np.ndarray:
    """Decode an open image to (H, W, channels) uint8."""
    pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _deep_mode(picture: "Image") -> str | None:
    """The mode of an image of more than 8 bits, which Pillow would truncate silently, else None."""
    if picture.mode in DEEP_MODES:
        return picture.mode
    for codec, _, _, arguments in getattr(picture, "tile", ()):
        if match := DEEP_RAW_MODE.search(str(arguments)):
            return match[0]
        if codec.startswith("ppm") and arguments[1] > 255:
            return f"{arguments[0]} up to {arguments[1]}"
    return None


@contextlib.contextmanager
def decoding(source: object, what: str) -> Generator[None]:
    """Convert the errors that a damaged file causes into one line that names the file.

    Raises:
        UsageError: `<source> must be <what>, got a damaged one (...)`; or the operating system's
            reason, such as missing permission or too many open files.
    """
    damage = (
        *(OSError, ValueError, SyntaxError, EOFError, KeyError, RuntimeError),
        *(BadZipFile, zlib.error, struct.error),
    )
    try:
        yield
    except OneLineError:
        raise
    except damage as error:
        code = getattr(error, "errno", None)
        if code not in (None, errno.EINVAL):  # EINVAL: offsets in a damaged file can be negative
            raise UsageError(f"{source} must be readable, got {os.strerror(code)!r}") from None
        raise UsageError(
            f"{source} must be {what}, got a damaged one ({one_line(error)}); replace or delete it"
        ) from None


def need_package(module: str, package: str, config: DataConfig, *, install: str = INSTALL) -> None:
    """Raise UsageError if the package of a data set is not installed."""
    if importlib.util.find_spec(module) is None:
        raise UsageError(
            f"data.name must be a data set whose package is installed, got {config.name!r} "
            f"without {package}; {install}"
        )


def cache_dir() -> Path:
    """Folder of downloads, in XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "collapse-sweep"
