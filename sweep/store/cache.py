"""A local cache of objects read from a bucket.

Cached files are immutable, and readers verify them, so a lost or damaged file only costs another
download.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sweep.files import write_parts
from sweep.store.folder import OLD_SECONDS, explained, is_unfinished
from sweep.store.inventory import item_of

GIGABYTE = 10**9
SLACK = 0.01
"""Fraction of the limit that a process writes before it measures the size of the cache again."""

_unseen: dict[Path, float] = {}
"""Bytes that this process has written to each cache since it last measured its size."""


def cache_root(chosen: str | None) -> Path:
    """The chosen folder, or else $XDG_CACHE_HOME/collapse-sweep or ~/.cache/collapse-sweep."""
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "collapse-sweep"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cache:
    """The cached files of one bucket, shared by processes; the least recently used go first."""

    root: Path
    limit_bytes: int
    bucket: str
    """URL of the bucket. Different buckets may contain the same paths."""

    def read(self, path: str) -> bytes | None:
        """A file's content, or None if it is not cached."""
        copy = self.locate(path)
        try:
            data = copy.read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(copy)
        return data

    def digest(self, path: str) -> str | None:
        """SHA-256 of a file, or None if it is not cached."""
        copy = self.locate(path)
        try:
            with copy.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.utime(copy)
        except OSError:
            return None
        return digest

    def keep(self, path: str, parts: Iterable[bytes | memoryview], *, size: int) -> None:
        """Make room for a file and write it in parts; if that fails, no file is left."""
        copy = self.locate(path)
        with explained(copy):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(size)
            write_parts(copy, parts)

    def offer(self, path: str, data: bytes | memoryview) -> None:
        """Cache a file if possible; a full disk must not end a sweep."""
        with suppress(OSError):
            self.keep(path, [data], size=len(data))

    def drop(self, path: str) -> None:
        """Delete a file if it is cached."""
        with suppress(OSError):
            self.locate(path).unlink()

    def locate(self, path: str) -> Path:
        """Path of a file, whether or not it is cached."""
        return self._folder / hashlib.sha256(self.bucket.encode()).hexdigest()[:16] / path

    def _is_ours(self, path: Path) -> bool:
        """Whether a file has the place and the name of a cached file of any bucket."""
        bucket, _, name = path.relative_to(self._folder).as_posix().partition("/")
        kind, _ = item_of(name) or ("foreign", "")
        return re.fullmatch("[0-9a-f]{16}", bucket) is not None and kind != "foreign"

    @property
    def _folder(self) -> Path:
        """The only folder in which our files are deleted; `root` may also hold other files."""
        return self.root / "buckets"

    def _make_room(self, needed: int) -> None:
        _unseen[self.root] = _unseen.get(self.root, float("inf")) + needed
        if _unseen[self.root] < SLACK * self.limit_bytes:
            return
        _unseen[self.root] = 0.0
        files = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder) / name
                if not self._is_ours(path):
                    continue
                with suppress(OSError):  # another process has deleted it
                    status = path.stat()
                    # Skip files that are still being written.
                    if not is_unfinished(name) or time.time() - status.st_mtime > OLD_SECONDS:
                        files.append((status.st_mtime, status.st_size, path))
        excess = sum(size for _, size, _ in files) + needed - self.limit_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                return
            with suppress(OSError):
                path.unlink()
                excess -= size
