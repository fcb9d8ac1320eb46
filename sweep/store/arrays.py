"""Arrays as file contents: blocks with a checksum, .npy and .npz.

Files may come from untrusted sources. Nothing in them is executed, and anything except plain arrays
is an error.
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
    RuntimeError,  # encrypted .zip files, and those with features that Python does not support
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
)
"""What zipfile and numpy raise for damaged or foreign bytes."""


def dump_array(array: np.ndarray, place: str = "") -> bytes:
    """An array as a safetensors file that contains its SHA-256 and its path in the store."""
    from safetensors.numpy import save

    array = np.ascontiguousarray(array)
    return save({"images": array}, metadata=_describe(array, place))


def load_array(data: bytes, place: str = "") -> np.ndarray | None:
    """The array, or None if the bytes are not what `dump_array` wrote for this place.

    Files of earlier versions do not contain their place.
    """
    # Layout of a safetensors file: 8 bytes of length, little-endian, a JSON header, the numbers.
    # Its own package panics if memory is short.
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        header: dict[str, Any] = json.loads(data[8:start])
        facts = json.loads(header["__metadata__"]["images"])
        known = {"data_offsets": [0, len(data) - start], "shape": facts["shape"]}
        if header["images"] != {**known, "dtype": _tensor_type(np.dtype(facts["dtype"]))}:
            return None
        array = np.frombuffer(data, facts["dtype"], offset=start).reshape(facts["shape"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    written = (_describe(array, place), _describe(array))
    return array if header.get("__metadata__") in written else None


def dump_arrays(**arrays: np.ndarray) -> bytes:
    """An .npz file of named arrays."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # ty: ignore[invalid-argument-type]
    return file.getvalue()


def read_arrays(data: bytes, source: object) -> dict[str, np.ndarray]:
    """The arrays of an uncompressed .npz file; they cannot take more memory than the file's size.

    Raises:
        CorruptError: The file is damaged or compressed, or has entries other than plain arrays.
    """
    with _plain(source), zipfile.ZipFile(io.BytesIO(data)) as file:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist()):
            raise ValueError("compressed entries")
        return {name.removesuffix(".npy"): _parse(file.read(name)) for name in file.namelist()}


def map_array(path: Path) -> np.ndarray:
    """Map the array of an .npy file, read-only; its pages are read on demand.

    Raises:
        FileNotFoundError: The file does not exist.
        CorruptError: The file is damaged, or is not a plain array.
        StoreError: The file cannot be opened.
    """
    with _plain(path):
        mapped: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray):
            raise TypeError(f"{type(mapped).__name__} instead of an array")
        return np.asarray(mapped)


def _parse(data: bytes) -> np.ndarray:
    """Parse an .npy file without allocating more memory than its size.

    numpy's own reader trusts the header, and a damaged header may claim any number of values.
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
    """Turn errors of parsing anything except plain arrays into a CorruptError.

    numpy's own messages advise loading such a file with pickling allowed.
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


def _tensor_type(dtype: np.dtype) -> str:
    """The name of a type in safetensors, such as F32."""
    return "BOOL" if dtype.kind == "b" else f"{dtype.kind.upper()}{8 * dtype.itemsize}"


def _describe(array: np.ndarray, place: str = "") -> dict[str, str]:
    facts = {
        "sha256": sha256(array.tobytes()),
        "shape": array.shape,
        "dtype": str(array.dtype),
    }
    facts |= {"place": place} if place else {}
    # Use a single entry, because safetensors writes several in an order that varies between runs.
    return {"images": json.dumps(facts, sort_keys=True)}
