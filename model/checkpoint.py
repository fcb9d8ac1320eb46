"""Tensors and JSON in one safetensors file: trained models, and the state of a running training.

A file contains its own SHA-256. Nothing is pickled: reading a file from an untrusted source can
fail, but cannot run code.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from model.errors import UsageError

CHECKSUM = "sha256"
"""Name of the checksum among a file's settings. It is the SHA-256 of the file with BLANK in its
place, so it covers every byte."""
BLANK = "0" * 64


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with a prefix added to their names; `Checkpoint.part` removes it."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A trained model.

    `tensors` are on the CPU, named by the family. `settings` is JSON with everything else that
    sampling needs (family, model settings, image shape, dtype, whether pixels are bounded).
    """

    tensors: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)
    source: str = "checkpoint"
    """What errors call the checkpoint: the file that it was read from."""

    @property
    def family(self) -> str:
        """Name of the model's family."""
        return self.settings["family"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the model's images."""
        channels, height, width = self.settings["shape"]
        return channels, height, width

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix`, with the prefix removed."""
        named = self.tensors.items()
        return {name[len(prefix) :]: t for name, t in named if name.startswith(prefix)}

    def check_tensors(self, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> None:
        """Raise UsageError unless there are exactly these tensors, all of one type."""
        found = {name: (t.dtype, tuple(t.shape)) for name, t in self.tensors.items()}
        expected = {name: (dtype, shape) for name, shape in shapes.items()}
        if found != expected:
            names = found.keys() | expected.keys()
            wrong = min(name for name in names if found.get(name) != expected.get(name))
            rule, got = (each.get(wrong, "no such tensor") for each in (expected, found))
            raise UsageError(f"{wrong} must be {rule}, got {got}")

    def digest(self, prefix: str = "") -> str:
        """SHA-256 (hex) of the tensors that start with `prefix`: names, types, shapes, bytes."""
        digest = hashlib.sha256()
        for name in sorted(name for name in self.tensors if name.startswith(prefix)):
            tensor = self.tensors[name].contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        """The checkpoint as the bytes of a safetensors file that contains its checksum."""
        from safetensors.torch import save

        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()
        }
        stored = json.dumps(self.settings | {CHECKSUM: BLANK}, sort_keys=True)
        data = save(tensors, metadata={"settings": stored})
        start = _checksum_start(data, BLANK)
        checksum = _checksum(data, start).encode()
        return b"".join((data[:start], checksum, memoryview(data)[start + len(BLANK) :]))

    @classmethod
    def from_bytes(
        cls, data: bytes, *, source: str = "checkpoint", verified: bool = False
    ) -> "Checkpoint":
        """Read a safetensors file.

        Files of earlier versions have no checksum. A warning says so, unless the caller has
        `verified` the file's SHA-256.

        Raises:
            UsageError: The file is damaged; the message names `source`.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(data)
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + length])
            settings = json.loads(header["__metadata__"]["settings"])
            if not isinstance(settings, dict):
                raise TypeError(f"{type(settings).__name__} for its settings")
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(
                f"{source} must be a complete checkpoint of ours, got {error}"
            ) from None
        if CHECKSUM in settings:
            _verify(data, settings.pop(CHECKSUM), source)
        elif not verified:
            warnings.warn(
                f"{source} has no checksum, because an earlier version wrote it; "
                "damage to its weights cannot be noticed",
                stacklevel=2,
            )
        return cls(tensors=tensors, settings=settings, source=source)


def _checksum_start(data: bytes, checksum: str) -> int:
    """Position of the checksum in a file's settings, which are JSON in a string of JSON; or -1."""
    before = json.dumps(json.dumps({CHECKSUM: ""})[1:-2])[1:-1].encode()
    found = data.find(before + checksum.encode())
    return found if found < 0 else found + len(before)


def _checksum(data: bytes, start: int) -> str:
    """The checksum (hex) of a file that holds one at `start`."""
    digest = hashlib.sha256(memoryview(data)[:start])
    digest.update(BLANK.encode())
    digest.update(memoryview(data)[start + len(BLANK) :])
    return digest.hexdigest()


def _verify(data: bytes, checksum: object, source: str) -> None:
    """Raise UsageError unless `checksum` is that of a file."""
    start = -1
    if isinstance(checksum, str) and re.fullmatch("[0-9a-f]{64}", checksum):
        start = _checksum_start(data, checksum)
    if start < 0 or _checksum(data, start) != checksum:
        raise UsageError(
            f"{source} must have the contents it was written with, got others: its checksum "
            "differs; copy it again from where it is whole, or train the model again"
        )
