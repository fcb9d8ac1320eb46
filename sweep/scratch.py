"""Scratch: checkpoints of a training under way, so that a lost machine costs minutes.

    work/<key>/<owner>/<name>.<number>     a SHA-256, then the data; the newest two remain

A checkpoint that was cut short or damaged is passed over for the one before, and whoever claims the
key next goes on from what a dead owner left. Must not know what a checkpoint holds.
"""

import hashlib
import re
import shutil
from pathlib import Path

from sweep.claims import LOCK_PREFIX
from sweep.files import checked_name, explained, remove_empty
from sweep.records import write_bytes

NUM_KEPT = 2

_MAGIC = b"scratch1"
_NUM_HEADER_BYTES = len(_MAGIC) + hashlib.sha256().digest_size


def save(folder: Path, name: str, *, data: bytes, owner: str) -> None:
    """Keep a checkpoint in a key's work folder, and no more than the newest two of any owner."""
    with explained(folder / checked_name(name)):
        number = max((number for number, _, _ in _list_checkpoints(folder, name)), default=0) + 1
        write_bytes(folder / owner / f"{name}.{number:06d}", seal(data))
        for _, _, path in _list_checkpoints(folder, name)[:-NUM_KEPT]:
            path.unlink(missing_ok=True)
            remove_empty(path.parent)


def load(folder: Path, name: str) -> bytes | None:
    """The newest whole checkpoint of any owner, or None; damaged ones on the way are deleted."""
    with explained(folder / checked_name(name)):
        for _, _, path in reversed(_list_checkpoints(folder, name)):
            try:
                data = unseal(path.read_bytes())
            except FileNotFoundError:  # its owner has written a newer one
                continue
            if data is not None:
                return data
            path.unlink(missing_ok=True)
    return None


def drop(folder: Path) -> None:
    """Delete every owner's folder in a key's work folder, and unfinished files; the claim stays."""
    with explained(folder):
        for path in _list_folder(folder):
            if path.is_dir() and not path.name.startswith(LOCK_PREFIX):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith("."):
                path.unlink(missing_ok=True)
    remove_empty(folder)


def _list_checkpoints(folder: Path, name: str) -> list[tuple[int, float, Path]]:
    """Number, time and path of all owners' checkpoints, oldest first."""
    found = []
    for owner in _list_folder(folder):
        for path in _list_folder(owner):
            stem, _, number = path.name.rpartition(".")
            if stem == name and re.fullmatch(r"[0-9]{6,}", number):
                try:
                    found.append((int(number), path.stat().st_mtime, path))
                except FileNotFoundError:
                    continue
    return sorted(found)


def _list_folder(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is gone, or a file."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def seal(data: bytes) -> bytes:
    """The data with their SHA-256 before them."""
    return _MAGIC + hashlib.sha256(data).digest() + data


def unseal(sealed: bytes) -> bytes | None:
    """The data, or None where they are not what was sealed."""
    data = memoryview(sealed)[_NUM_HEADER_BYTES:]
    header = _MAGIC + hashlib.sha256(data).digest()
    return bytes(data) if sealed[:_NUM_HEADER_BYTES] == header else None
