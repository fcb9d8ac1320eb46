"""What a data set is made of, and how its images become pixels: shared by all readers.

Must not know any data set, nor how images are split; Pillow is imported by decode_image only.
"""

import contextlib
import importlib.util
import io
import os
import zlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from model.config import DataConfig, check
from model.errors import UsageError
from model.images import resize_image

GREY_MODES = ("1", "L", "LA")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of grey images, and of more than 8 bits."""

INSTALL = "install it with: pip install 'collapse-sweep[all]'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a data set is made of, apart from its pixels.

    In a description labels may stand in any order (only their counts matter), or be None where only
    loading tells them.
    """

    num_images: int
    channels: int
    labels: np.ndarray | None = None
    """(N,) int64, or None."""
    class_names: tuple[str, ...] | None = ()
    num_classes: int = 0
    parts: np.ndarray | None = None
    """(N,) official split of each image: 0 train, 1 validation, 2 test."""
    bounded: bool = True


def labelled(
    labels: np.ndarray, class_names: tuple[str, ...], *, channels: int, bounded: bool = True
) -> Contents:
    """Contents with a class for every image."""
    return Contents(
        num_images=len(labels),
        channels=channels,
        labels=labels,
        class_names=class_names,
        num_classes=len(class_names),
        bounded=bounded,
    )


def collect_pixels(
    images: Iterable[np.ndarray], contents: Contents, config: DataConfig
) -> np.ndarray:
    """Resize (H, W, C) uint8 squares into one (N, C, S, S) array of data.dtype."""
    size = config.image_size
    pixels = np.empty((contents.num_images, contents.channels, size, size), config.dtype)
    for i, image in enumerate(images):
        pixels[i] = resize_image(image, size, mode=config.resize, dtype=config.dtype)
    return pixels


def decode_image(source: Path | io.BytesIO, mode: str) -> np.ndarray:
    """An image file as (H, W, C) uint8, C 1 for mode L and 3 for mode RGB."""
    from PIL import Image

    with reading(source, "a readable image"), Image.open(source) as picture:
        own_mode = picture.mode
        pixels = np.asarray(picture if own_mode in DEEP_MODES else picture.convert(mode))
    check_mode(source, own_mode)
    return pixels.reshape(*pixels.shape[:2], -1)


def check_mode(source: object, mode: str) -> None:
    """Raise UsageError for a Pillow mode of more than 8 bits, which is not cut in silence."""
    check(mode not in DEEP_MODES, str(source), "be an 8-bit image", mode, "convert it")


@contextlib.contextmanager
def reading(source: object, what: str) -> Generator[None]:
    """Turn whatever a damaged file makes its reader raise into one line that names the file.

    Raises:
        UsageError: `<source> must be <what>, got a damaged one (...)`.
    """
    damage = (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        KeyError,
        RuntimeError,
        BadZipFile,
        zlib.error,
    )
    try:
        yield
    except damage as error:
        raise UsageError(
            f"{source} must be {what}, got a damaged one ({one_line(error)}); replace or delete it"
        ) from None


def one_line(error: Exception) -> str:
    """An exception's message without its line breaks."""
    return " ".join(str(error).split())


def need_package(module: str, package: str, config: DataConfig, *, install: str = INSTALL) -> None:
    """Raise the one-line ValueError that names a data set's missing package."""
    if importlib.util.find_spec(module) is None:
        raise UsageError(
            f"data.name must be a data set whose package is installed, got {config.name!r} "
            f"without {package}; {install}"
        )


def cache_dir() -> Path:
    """Where downloads are kept: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "collapse-sweep"
