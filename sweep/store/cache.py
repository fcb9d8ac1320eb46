"""A folder of this machine that keeps what was read from a bucket, so that it is read once.

Files are immutable and are checked by those who read them, so a lost or damaged one costs only
another download.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sweep.records import write_parts
from sweep.store.folder import OLD_SECONDS, explained, is_unfinished

GIGABYTE = 10**9
SLACK = 0.01
"""Share of the limit that a process writes before it measures again how full the cache is."""

_unseen: dict[Path, float] = {}
"""Bytes that this process wrote into a cache since it measured it."""


def default_cache() -> Path:
    """$XDG_CACHE_HOME/collapse-sweep, or ~/.cache/collapse-sweep."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "collapse-sweep"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cache:
    """Files by path, of one bucket; processes share it. Those unused longest go first."""

    root: Path
    limit_bytes: int
    bucket: str
    """URL of what is kept here: buckets with equal paths inside stay apart."""

    def read(self, path: str) -> bytes | None:
        """A file, or None if it is not here."""
        place = self.locate(path)
        try:
            data = place.read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(place)
        return data

    def digest(self, path: str) -> str | None:
        """SHA-256 of a file, or None if it is not here."""
        place = self.locate(path)
        try:
            with place.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.utime(place)
        except OSError:
            return None
        return digest

    def keep(self, path: str, parts: Iterable[bytes | memoryview], *, size: int) -> None:
        """Write a file a part at a time, and make room for it; an error leaves none."""
        place = self.locate(path)
        with explained(place):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(size)
            write_parts(place, parts)

    def offer(self, path: str, data: bytes | memoryview) -> None:
        """Keep a file if that is possible: a full disk here must not end a sweep."""
        with suppress(OSError):
            self.keep(path, [data], size=len(data))

    def drop(self, path: str) -> None:
        """Delete a file, if it is here."""
        with suppress(OSError):
            self.locate(path).unlink()

    def locate(self, path: str) -> Path:
        """Where a file is, or would be."""
        return self._folder / hashlib.sha256(self.bucket.encode()).hexdigest()[:16] / path

    @property
    def _folder(self) -> Path:
        """Where everything is ours to delete: beside it may lie data sets or a user's files."""
        return self.root / "buckets"

    def _make_room(self, needed: int) -> None:
        _unseen[self.root] = _unseen.get(self.root, float("inf")) + needed
        if _unseen[self.root] < SLACK * self.limit_bytes:
            return
        _unseen[self.root] = 0.0
        found = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder) / name
                with suppress(OSError):  # another process was faster
                    status = path.stat()
                    # One that is being written stays.
                    if not is_unfinished(name) or time.time() - status.st_mtime > OLD_SECONDS:
                        found.append((status.st_mtime, status.st_size, path))
        excess = sum(size for _, size, _ in found) + needed - self.limit_bytes
        for _, size, path in sorted(found):
            if excess <= 0:
                return
            with suppress(OSError):
                path.unlink()
                excess -= size
