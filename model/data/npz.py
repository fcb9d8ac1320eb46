"""The arrays of an .npz file: images, and optionally their labels and class names.

A file may come from anyone: what its headers claim is compared with its size before memory is
used, and nothing is unpickled.
"""

import contextlib
import io
import json
import math
import shlex
import warnings
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.data.reading import MAX_CLASSES, decoding
from model.errors import UsageError, check_class_names, check_regular, printable

WHOLE_NPZ = "a whole .npz file without pickled objects"

ARRAYS = ("images", "labels", "class_names")
"""The arrays that are read."""
UNNAMED = {"images": "arr_0", "labels": "arr_1"}
"""Names that numpy.savez gives to unnamed arrays, as in the sample files of guided-diffusion."""
KERAS = ("x_train", "y_train", "x_test", "y_test")
"""The arrays of the files that Keras distributes."""

HEADER_BYTES = 1 << 16
"""More than numpy accepts as the header of an array."""
DEFLATE_RATIO = 1032
"""Largest ratio of a deflated file's size to its compressed size."""


class NpzHead(NamedTuple):
    """Contents of an .npz file without its pixels."""

    shape: tuple[int, ...]
    """(N, C, H, W), for any order of axes in the file."""
    dtype: np.dtype
    """uint8 or float32."""
    labels: np.ndarray | None
    """(N,) int64, at least 0, or None."""
    class_names: tuple[str, ...]
    """Empty if there are no labels, or they have no names."""
    unread: tuple[str, ...] = ()
    """Names of the arrays that are not read."""


def read_npz_head(path: Path) -> NpzHead:
    """Read the shape, type, labels and class names of an .npz file, without its pixels.

    One warning names arrays that are not read.

    Raises:
        UsageError: The file is damaged or not a regular file, or its arrays are not valid images
            and classes.
    """
    with _opened(path) as file:
        arrays, unread = _find_arrays(file, path)
        shape, dtype = _header(file, arrays["images"])
        if dtype not in (np.uint8, np.float32):
            got = str(dtype)[:100]
            raise UsageError(
                f"images of {path} must be uint8 or float32, got {got!r}; save them as one of these"
            )
        full, _ = _channels_first(shape, path)
        labels, class_names = None, ()
        if "labels" in arrays:
            class_names = _class_names(file, path) if "class_names" in arrays else ()
            labels = _labels(file, arrays["labels"], path, full[0], class_names)
    if unread:
        warnings.warn(
            f"{path} has arrays that are not read: {len(unread):,}, the first is "
            f"{printable(unread[0][:100])}; images, labels, and class_names with labels are read",
            stacklevel=1,
        )
    return NpzHead(full, dtype, labels, class_names, tuple(unread))


def read_npz_images(path: Path) -> np.ndarray:
    """Read the (N, C, H, W) images of an .npz file that read_npz_head accepts; checks for nan."""
    with _opened(path) as file:
        images = _array(file, _find_arrays(file, path)[0]["images"])
        full, channels_last = _channels_first(images.shape, path)
        images = images.transpose(0, 3, 1, 2) if channels_last else images.reshape(full)
        images = np.ascontiguousarray(images)
    if images.dtype != np.uint8:
        broken = int(np.count_nonzero(~np.isfinite(images).all(axis=(1, 2, 3))))
        if broken:
            raise UsageError(f"{path} must hold no image with nan or inf, got {broken}")
    return images


@contextlib.contextmanager
def _opened(path: Path) -> Generator[zipfile.ZipFile]:
    check_regular(path)
    with decoding(path, WHOLE_NPZ), zipfile.ZipFile(path) as file:
        yield file


def _find_arrays(file: zipfile.ZipFile, path: Path) -> tuple[dict[str, str], list[str]]:
    """Names of the arrays that are read, by what they hold (see ARRAYS), and of the others.

    Raises:
        UsageError: The names do not say which array holds the images.
    """
    names = [name.removesuffix(".npy") for name in file.namelist()]
    if set(KERAS) <= set(names) and "images" not in names:
        raise UsageError(
            f"{path} must hold an array 'images', got {', '.join(KERAS)}; convert it with: "
            f"{_converting(path)}"
        )
    usual = {name: name for name in ARRAYS}
    arrays = usual if "images" in names else UNNAMED
    if f"{arrays['images']}.npy" not in file.namelist():
        raise UsageError(f"{path} must hold an array 'images', got {str(names)[:200]}")
    for name in names:
        if name not in ARRAYS and name.lower() in ARRAYS:
            raise UsageError(
                f"{path} must spell its arrays {', '.join(ARRAYS)}, got {name!r}; rename it"
            )
        if name in arrays.values() and names.count(name) > 1:
            raise UsageError(f"{path} must hold each array once, got {name!r} several times")
    found = {what: name for what, name in arrays.items() if name in names}
    if "labels" not in found:
        found.pop("class_names", None)
    return found, [name for name in names if name not in found.values()]


def _converting(path: Path) -> str:
    """A command that joins the arrays of a file of Keras."""
    images, labels = (f'np.concatenate([f["{n}_train"], f["{n}_test"]])' for n in "xy")
    code = (
        f"import numpy as np; f = np.load({json.dumps(str(path))}); "
        f'np.savez("images.npz", images={images}, labels={labels})'
    )
    return shlex.join(["python", "-c", code])


def _header(file: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type (in this machine's byte order) of an array; ValueError if they are false."""
    info = file.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed by another method than numpy's")
    if info.file_size > DEFLATE_RATIO * max(info.compress_size, 1):
        raise ValueError(f"{name} of {info.file_size:,} bytes in {info.compress_size:,}")
    with file.open(info) as member:
        start = io.BytesIO(member.read(HEADER_BYTES))
    version = np.lib.format.read_magic(start)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(start)
    elif version in ((2, 0), (3, 0)):
        shape, _, dtype = np.lib.format.read_array_header_2_0(start)
    else:
        raise ValueError(f"{name} of version {version}")
    size = math.prod(shape) * dtype.itemsize
    whole = dtype.hasobject or start.tell() + size == info.file_size
    if not whole or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"{name} of {info.file_size:,} bytes for the shape {shape}")
    return shape, dtype.newbyteorder("=")


def _array(file: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array, in this machine's byte order."""
    _, dtype = _header(file, name)
    with file.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False).astype(dtype, copy=False)


def _channels_first(shape: tuple[int, ...], path: Path) -> tuple[tuple[int, ...], bool]:
    """The shape (N, C, H, W) of an (N, C, H, W), (N, H, W, C) or (N, H, W) array.

    Also whether channels are last.
    """
    full = (shape[0], 1, *shape[1:]) if len(shape) == 3 else shape
    channels_last = len(full) == 4 and full[1] not in (1, 3)
    if channels_last:
        N, H, W, C = full
        full = (N, C, H, W)
    if len(full) != 4 or full[1] not in (1, 3) or 0 in full:
        raise UsageError(
            f"images of {path} must be (N, C, H, W), (N, H, W, C) or (N, H, W) with N at least 1 "
            f"and C 1 or 3, got {str(shape)[:100]}"
        )
    return full, channels_last


def _labels(
    file: zipfile.ZipFile, name: str, path: Path, count: int, class_names: tuple[str, ...]
) -> np.ndarray:
    """The labels of `count` images as (count,) int64, each the number of a class."""
    shape, dtype = _header(file, name)
    if dtype.hasobject:
        raise ValueError("labels of Python objects")
    if dtype.kind not in "iu" or shape not in ((count,), (count, 1)):
        got = f"{str(dtype)[:100]} of shape {str(shape)[:100]}"
        raise UsageError(f"labels of {path} must be {count} integers, got {got!r}")
    labels = _array(file, name).reshape(count)
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0:
        raise UsageError(f"labels of {path} must be at least 0, got {lowest}")
    if class_names and highest >= len(class_names):
        rule = f"be below the number of class_names ({len(class_names)})"
        raise UsageError(f"labels of {path} must {rule}, got {highest}")
    if highest >= MAX_CLASSES:
        raise UsageError(
            f"labels of {path} must be below {MAX_CLASSES:,}, got {highest}; "
            "number the classes from 0 without gaps"
        )
    return labels.astype(np.int64)


def _class_names(file: zipfile.ZipFile, path: Path) -> tuple[str, ...]:
    shape, dtype = _header(file, "class_names")
    if dtype.hasobject:
        raise ValueError("class_names of Python objects")
    if dtype.kind != "U" or len(shape) != 1 or shape == (0,):
        got = str(dtype)[:100] if dtype.kind != "U" else f"{dtype} of shape {shape}"
        raise UsageError(f"class_names of {path} must be strings, got {got!r}")
    names = tuple(_array(file, "class_names").tolist())
    check_class_names(f"class_names of {path}", names)
    return names
