"""Arrays as the bytes of files: blocks that tell whether they are what was written, .npy and .npz.

Files may be a stranger's: nothing in them is run, and anything but a plain array is an error.
"""

import io
import json
import struct
import tokenize
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sweep.store.folder import CorruptError, explained, sha256

_FOREIGN = (
    EOFError,
    KeyError,
    OverflowError,
    RuntimeError,  # an encrypted .zip file, and one with features that Python lacks
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
)
"""What zipfile and numpy raise for damaged or foreign bytes."""


def dump_array(array: np.ndarray) -> bytes:
    """A safetensors file of an array of any shape and dtype, with its SHA-256 inside."""
    from safetensors.numpy import save

    array = np.ascontiguousarray(array)
    return save({"images": array}, metadata=_describe(array))


def load_array(data: bytes) -> np.ndarray | None:
    """The array, or None if the bytes are not what was dumped."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        array = load(data)["images"]
        # Layout of a safetensors file: 8 bytes of length, little-endian, then a JSON header.
        header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return array if header.get("__metadata__") == _describe(array) else None


def dump_arrays(**arrays: np.ndarray) -> bytes:
    """An .npz file of named arrays."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # ty: ignore[invalid-argument-type]
    return file.getvalue()


def read_arrays(data: bytes, source: object) -> dict[str, np.ndarray]:
    """The arrays of an .npz file of ours, which compresses nothing: none outgrows its file.

    Raises:
        CorruptError: It is damaged, compressed, or holds anything but arrays of numbers and text.
    """
    with _plain(source), zipfile.ZipFile(io.BytesIO(data)) as file:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist()):
            raise ValueError("compressed entries")
        return {name.removesuffix(".npy"): _parse(file.read(name)) for name in file.namelist()}


def map_array(path: Path) -> np.ndarray:
    """The array of an .npy file, read-only, whose pages are read when they are needed.

    Raises:
        FileNotFoundError: It does not exist.
        CorruptError: It is damaged, or holds anything but numbers.
        StoreError: It cannot be opened.
    """
    with _plain(path):
        mapped: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray):
            raise TypeError(f"{type(mapped).__name__} instead of an array")
        return np.asarray(mapped)


def _parse(data: bytes) -> np.ndarray:
    """The array of an .npy file of ours; unlike numpy's own reader it allocates no more than that.

    A damaged header may promise any number of values.
    """
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another version of the format")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("pickled objects")
    order = "F" if is_fortran else "C"
    return np.ndarray(shape, dtype, memoryview(data)[file.tell() :], order=order).copy("K")


@contextmanager
def _plain(source: object) -> Generator[None]:
    """Turn the errors of parsing anything but plain arrays into one that says no more than that.

    numpy's own advise to load such a file without protection.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, MemoryError):
        with explained(source):
            raise
    except _FOREIGN:
        raise CorruptError(
            f"{source} must hold plain arrays, got damaged or foreign ones; "
            "delete it and run the same sweep command again"
        ) from None


def _describe(array: np.ndarray) -> dict[str, str]:
    facts = {
        "sha256": sha256(array.tobytes()),
        "shape": array.shape,
        "dtype": str(array.dtype),
    }
    # One entry: safetensors writes several in an order that changes from run to run.
    return {"images": json.dumps(facts, sort_keys=True)}
