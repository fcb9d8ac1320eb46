"""Contents of a data set, and conversion of its images to pixels: shared by all readers.

All image files are opened and decoded here. Pillow is imported when the first one is opened.
"""

import contextlib
import errno
import importlib.util
import os
import re
import struct
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from model.config import DataConfig
from model.data.depth import deep_pixels
from model.errors import OneLineError, UsageError, check_regular, one_line, printable
from model.images import crop_square, resize_image

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF")
"""Formats that are read, whatever a file's suffix. Pillow would run a program for some others."""
PARQUET = ".parquet"
"""Suffix of the files of model.data.parquet."""
GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB")
"""Pillow's modes of images that it converts to grey, or to RGB."""
ORIENTATION, UPRIGHT = 0x0112, 1
"""EXIF tag of an image's orientation, and its value if the image is shown as it is stored."""
PIXEL_ERROR = re.compile(r"^\w+Decode: .*", re.MULTILINE)
"""What libtiff prints, and Pillow ignores, if it could not decode some of the pixels."""

DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, ArithmeticError, RuntimeError),
    *(TypeError, AttributeError, AssertionError, MemoryError),
    *(BadZipFile, zlib.error, struct.error),
)
"""What libraries raise for a damaged file, found by reading thousands of them."""

MAX_CLASSES = 100_000
"""Largest number of classes. Memory and time grow with it, so a file must not claim more."""

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
    seen: "Seen" = field(default_factory=lambda: Seen())
    """What loading found in the files; empty if the data are not loaded yet."""


def collect_pixels(
    images: Iterable[np.ndarray], contents: Contents, config: DataConfig
) -> np.ndarray:
    """Crop (H, W, C) uint8 images to their centred squares and resize these.

    Returns:
        (N, C, S, S) of data.dtype.

    Raises:
        UsageError: The images do not fit in memory.
    """
    size = config.image_size
    shape = (contents.num_images, contents.channels, size, size)
    pixels = new_array(shape, np.dtype(config.dtype), f"images of data.image_size={size}")
    for i, image in enumerate(images):
        contents.seen.sizes[image.shape[:2]] += 1
        square = crop_square(image)
        pixels[i] = resize_image(square, size, mode=config.resize, dtype=config.dtype)
    return pixels


def new_array(shape: tuple[int, ...], dtype: np.dtype, what: str) -> np.ndarray:
    """An uninitialised array; raises UsageError, which says what it is for, if memory is short."""
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError):  # ValueError: more bytes than there are addresses
        words = " x ".join(map(str, shape))
        raise UsageError(f"{what} must fit in memory, got {words} of {dtype}") from None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in image files, and the names of those of which something is ignored."""

    formats: Counter[str] = field(default_factory=Counter)
    """Number of files of each format, whatever their suffix."""
    modes: Counter[str] = field(default_factory=Counter)
    """Number of files of each of Pillow's modes."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Number of images of each (height, width), before they are cropped and resized."""
    frames: list[str] = field(default_factory=list)
    """Files of several frames or pages, of which only the first is read."""
    turns: list[str] = field(default_factory=list)
    """Files whose EXIF orientation is to turn or mirror them; they are read as they are stored."""
    skipped: dict[str, list[str]] = field(default_factory=dict)
    """What is not read, by kind: names of files, arrays or columns."""

    def skip(self, kind: str, name: str) -> None:
        """Remember something that is not read."""
        self.skipped.setdefault(kind, []).append(name)

    def look_at(self, picture: "Image", name: str) -> None:
        """Remember the kind of a decoded image, and what is ignored of it."""
        self.formats[picture.format or "?"] += 1
        self.modes[picture.mode] += 1
        if getattr(picture, "is_animated", False):
            self.frames.append(name)
        with contextlib.suppress(*DAMAGE):
            if picture.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
                self.turns.append(name)

    def warn(self, what: str) -> None:
        """Give a warning for each kind of ignored content, which begins with what has the files."""
        kinds = {
            "files of several frames, of which only the first is read": self.frames,
            "files with an EXIF orientation, which are read as they are stored": self.turns,
        }
        for kind, names in kinds.items():
            if names:
                warnings.warn(
                    f"{what} has {kind}: {len(names):,}, the first is {printable(names[0])}",
                    stacklevel=2,
                )


def decode_image(
    source: Any, channels: int | None = None, *, name: str = "", seen: Seen | None = None
) -> np.ndarray:
    """Read an image file as (H, W, C) uint8; transparency is dropped.

    Args:
        source: Path or binary file object.
        channels: C. 1 requires a grey image; None means 1 for a grey image, else 3.
        name: Name of the image in errors, if it is not the path.
        seen: Remembers the kind of the file, and what is ignored of it.

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
        pixels = to_pixels(picture, channels or file_channels)
        if seen is not None:
            seen.look_at(picture, name or str(source))
        return pixels


@contextlib.contextmanager
def open_image(source: Any, name: str = "") -> Generator["Image"]:
    """Open an 8-bit image file without decoding its pixels.

    Raises:
        UsageError: The file cannot be read or has more than 8 bits, or is found to be damaged
            while it is open.
    """
    from PIL import Image, UnidentifiedImageError

    name = name or str(source)
    with decoding(name, "a readable image"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own do not name the file
        try:
            if isinstance(source, str | os.PathLike):
                check_regular(Path(source))
            with Image.open(source, formats=FORMATS) as picture:
                _check_pixels(picture, name)
                yield picture
        except Image.DecompressionBombError as error:
            raise UsageError(
                f"{name} must be an image of fewer pixels, got {one_line(error)!r}; make it smaller"
            ) from None
        except UnidentifiedImageError:
            raise ValueError(f"it starts as none of {', '.join(FORMATS)}") from None


def _check_pixels(picture: "Image", name: str) -> None:
    """Raise UsageError unless an open image has 8-bit pixels that become grey or RGB."""
    if deep := deep_pixels(picture):
        raise UsageError(f"{name} must be an 8-bit image, got {deep!r}; convert it")
    if picture.mode not in (*GREY_MODES, *COLOUR_MODES):
        raise UsageError(f"{name} must be a grey or RGB image, got {picture.mode!r}; convert it")


def num_channels(picture: "Image") -> int:
    """Number of channels: 1 for a grey image, 3 for any other."""
    return 1 if picture.mode in GREY_MODES else 3


def to_pixels(picture: "Image", channels: int) -> np.ndarray:
    """Decode an open image to (H, W, channels) uint8."""
    with _pixel_errors() if picture.format == "TIFF" else contextlib.nullcontext():
        picture.load()
    pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


@contextlib.contextmanager
def _pixel_errors() -> Generator[None]:
    """Raise ValueError for errors that libtiff only prints to stderr; print nothing."""
    if sys.__stderr__ is None:  # it is closed, and 2 is the number of another file
        yield
        return
    with tempfile.TemporaryFile() as file:
        stderr = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        file.seek(0)
        if match := PIXEL_ERROR.search(file.read().decode(errors="replace")):
            raise ValueError(match[0])


@contextlib.contextmanager
def decoding(source: object, what: str) -> Generator[None]:
    """Convert the errors that a damaged file causes into one line that names the file.

    Raises:
        UsageError: `<source> must be <what>, got a damaged one (...)`; or the operating system's
            reason, such as missing permission, too many open files or too little memory.
    """
    try:
        yield
    except OneLineError:
        raise
    except MemoryError:
        raise UsageError(f"{source} must fit in memory, got too little memory") from None
    except DAMAGE as error:
        code = getattr(error, "errno", None)
        if code not in (None, errno.EINVAL):  # EINVAL: offsets in a damaged file can be negative
            raise UsageError(f"{source} must be readable, got {os.strerror(code)!r}") from None
        reason = printable(one_line(error))[:200] or type(error).__name__
        raise UsageError(
            f"{source} must be {what}, got a damaged one ({reason}); replace it"
        ) from None


def check_regular_files(path: Path) -> None:
    """Raise UsageError if a file, or one below a folder, is a named pipe, socket or device.

    For libraries that open files themselves, and would wait for ever.
    """
    if not path.is_dir():
        check_regular(path)
    for folder, _, names in os.walk(path):
        for name in names:
            check_regular(Path(folder) / name)


def need_package(module: str, package: str, config: DataConfig, *, install: str = INSTALL) -> Path:
    """The folder of a data set's package; raises UsageError if it is not installed."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UsageError(
            f"data.name must be a data set whose package is installed, got {config.name!r} "
            f"without {package}; {install}"
        )
    return Path(spec.origin).parent


def cache_dir() -> Path:
    """Folder of downloads, in XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "collapse-sweep"
