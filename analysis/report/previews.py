"""Sheets of samples inside the page, as many as fit."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from model.errors import reading

PNG = b"\x89PNG\r\n\x1a\n"
"""First bytes of a PNG file."""


@dataclass(kw_only=True, slots=True)
class Previews:
    """Pictures as base64, and what was left out."""

    texts: list[str] = field(default_factory=list)
    """Each different picture."""
    of: dict[str, int] = field(default_factory=dict)
    """Name -> position in `texts`."""
    num_left_out: int = 0
    bytes_left_out: int = 0
    damaged: list[Path] = field(default_factory=list)


def read_previews(sheets: Sequence[tuple[str, Path]], budget: int) -> Previews:
    """Read pictures in order until a number of bytes is used up.

    Args:
        sheets: Name and path of each picture.
        budget: Bytes of base64 that may be used.
    """
    made = Previews()
    known: dict[bytes, int] = {}
    for name, path in sheets:
        with reading(path):
            data = path.read_bytes()
        if not data.startswith(PNG):
            made.damaged.append(path)
            continue
        digest = sha256(data).digest()
        if digest not in known:
            size = 4 * -(-len(data) // 3) + 1
            if size > budget or made.num_left_out:
                made.num_left_out += 1
                made.bytes_left_out += size
                continue
            budget -= size
            known[digest] = len(made.texts)
            made.texts.append(b64encode(data).decode())
        made.of[name] = known[digest]
    return made
