"""What the user's own files contain, wherever they are and whenever they were written.

Reading gigabytes takes long, so the digests of a large data set's files are kept in the user's
cache, each until the file's size, times or inode change.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from model.data.reading import cache_dir
from model.errors import reading

SETTLED_SECONDS = 2.0
"""A file that changed more recently may change again without a new time, so it is not cached."""

MANY_FILES = 2000
MANY_BYTES = 2**26
"""Digests of fewer files and bytes are computed in less than a second, and not cached."""


@lru_cache(maxsize=16)
def hash_file(path: Path, *, size: int, mtime_ns: int) -> str:
    """SHA-256 in hex of a file, cached by its size and modification time."""
    return _sha256(path)


Facts = list[int]
"""Size, times of change in nanoseconds, and inode of a file."""


def content_digest(root: Path, files: Sequence[Path]) -> str:
    """SHA-256 (hex) of the names and contents of files, whatever their order.

    Args:
        root: A folder, to which names are relative, or the only file, whose name does not count.
        files: The files, all below the root.

    Raises:
        MissingFileError, UsageError: A file is missing or cannot be read.
    """
    facts = {file.relative_to(root).as_posix(): _facts(file) for file in files}
    is_large = len(facts) >= MANY_FILES or sum(each[0] for each in facts.values()) >= MANY_BYTES
    known = _load(root) if is_large else {}
    found: dict[str, tuple[Facts, str]] = {}
    for (name, each), file in zip(facts.items(), files, strict=True):
        is_known = name in known and known[name][0] == each
        found[name] = each, known[name][1] if is_known else _sha256(file)
    if is_large and found != known:
        _save(root, found)
    named = sorted((os.fsencode(name).hex(), digest) for name, (_, digest) in found.items())
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def _facts(file: Path) -> Facts:
    with reading(file):
        status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _sha256(file: Path) -> str:
    with reading(file), file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _place(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return cache_dir() / "digests" / f"{name}.json"


def _load(root: Path) -> dict[str, tuple[Facts, str]]:
    """The digests known so far; none if the cache cannot be read."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {
            name: (list(facts), str(digest))
            for name, (facts, digest) in json.loads(_place(root).read_bytes()).items()
        }
    return {}


def _save(root: Path, found: dict[str, tuple[Facts, str]]) -> None:
    """Keep the digests; without a writable cache they are computed again next time."""
    latest = (time.time() - SETTLED_SECONDS) * 1e9
    settled = {name: each for name, each in found.items() if max(each[0][1:3]) < latest}
    place = _place(root)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(settled))
        temporary.replace(place)
