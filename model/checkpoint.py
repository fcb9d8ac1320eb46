"""Tensors and JSON in one safetensors file: trained models, and the state of a running training.

Nothing is pickled: reading a file from an untrusted source can fail, but cannot run code.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from model.errors import UsageError


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

    def digest(self, prefix: str = "") -> str:
        """SHA-256 (hex) of the tensors that start with `prefix`: names, types, shapes, bytes."""
        digest = hashlib.sha256()
        for name in sorted(name for name in self.tensors if name.startswith(prefix)):
            tensor = self.tensors[name].contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        """The checkpoint as the bytes of a safetensors file."""
        from safetensors.torch import save

        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()
        }
        return save(tensors, metadata={"settings": json.dumps(self.settings, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str = "checkpoint") -> "Checkpoint":
        """Read a safetensors file; raises UsageError, naming `source`, if it is damaged."""
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
        return cls(tensors=tensors, settings=settings)
