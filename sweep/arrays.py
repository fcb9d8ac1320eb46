"""An array as the bytes of one file that tells, when read, whether it is what was written.

Must not know what the array shows, or where the file lies.
"""

import json
from typing import Any

import numpy as np

from sweep.files import sha256


def dump_array(array: np.ndarray) -> bytes:
    """A safetensors file of an array of any shape and dtype, with its SHA-256 inside."""
    from safetensors.numpy import save

    array = np.ascontiguousarray(array)
    return save({"images": array}, metadata=_describe(array))


def load_array(data: bytes) -> np.ndarray | None:
    """The array, or None where the bytes are not what was dumped."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        array = load(data)["images"]
        # Layout of a safetensors file: 8 bytes of length, little-endian, then a JSON header.
        header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None
    return array if header.get("__metadata__") == _describe(array) else None


def _describe(array: np.ndarray) -> dict[str, str]:
    facts = {
        "sha256": sha256(array.tobytes()),
        "shape": array.shape,
        "dtype": str(array.dtype),
    }
    # One entry: safetensors writes several in an order that changes from run to run.
    return {"images": json.dumps(facts, sort_keys=True)}
