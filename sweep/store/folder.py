"""A store's files in a folder, on a local disk or NFS, which any number of machines may share.

    <root>/generations/<key>/                       one node: record.json and its files
    <root>/generations/<key>/metrics/<spec>.json    a node's metrics
    <root>/datasets/<key>/metrics/<spec>.json       floors: metrics of real training images
    <root>/datasets/<key>/                          one prepared data set: card.json and its files
    <root>/streams|features|selections/<key>/       immutable blocks
    <root>/sweeps/<name>.json                       settings of sweeps with results elsewhere
    <root>/claims/<key>/<n>.json                    which process works on a key
    <root>/work/<key>/<owner>/                      checkpoints of unfinished trainings
    <root>/work/corrupt-<key>-.../                  damaged items

Folder and sweep.store.bucket.Bucket have the same methods. Files appear completely or not at all.
"""

import builtins
import errno
import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from model.errors import MissingFileError, OneLineError, UsageError, check_regular
from sweep.files import read_regular, write_bytes, write_durably

T = TypeVar("T")

Kind = Literal["nodes", "datasets"]
"""Kinds of published items; each is a record and the files that it names."""
RECORDS: dict[Kind, str] = {"nodes": "record.json", "datasets": "card.json"}
"""Name of the record among the files of a node or data set."""
FOLDERS: dict[Kind, str] = {"nodes": "generations", "datasets": "datasets"}

OLD_SECONDS = 3600.0
"""Age from which an unfinished file is presumed abandoned."""
PART_BYTES = 16 * 2**20
"""Size of the parts in which large files are read."""
RACES = 10
"""How often a write is retried if another process removes its still empty folder."""

MISSING = (FileNotFoundError, NotADirectoryError)
"""Raised for a path that does not exist."""


class StoreError(OneLineError, OSError):
    """The store failed: it is full, unreachable or denies access. The message is one sentence."""


class CorruptError(StoreError):
    """A file is damaged, truncated or foreign. The message names it."""


_NO_FOLDER = "be inside folders, got a file in place of a folder; choose another path"
_CAUSES = {
    errno.ENOSPC: "have room for more files, got a full disk; "
    "free some space and run the same command again",
    errno.EDQUOT: "have room for more files, got an exceeded quota; "
    "free some space and run the same command again",
    errno.EACCES: "be readable and writable, got 'permission denied'; "
    "change its permissions or choose another folder",
    errno.EPERM: "allow writing and hard links, got 'operation not permitted'; "
    "choose a folder on a local disk or NFS",
    errno.EOPNOTSUPP: "allow hard links, got 'operation not supported'; "
    "choose a folder on a local disk or NFS",
    errno.EROFS: "be writable, got a read-only file system; choose another folder",
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.ENOMEM: "fit into memory, got no memory left; "
    "run fewer trials at once, or use a larger machine",
    errno.EMFILE: "be opened, got too many open files of this process; "
    "raise the limit (ulimit -n) and run the same command again",
}


@contextmanager
def explained(target: object) -> Generator[None]:
    """Turn an OSError or MemoryError in the block into a StoreError with one sentence."""
    try:
        yield
    except StoreError:
        raise
    except MemoryError as error:
        raise StoreError(f"{target} must {_CAUSES[errno.ENOMEM]}") from error
    except OSError as error:
        cause = _CAUSES.get(error.errno or 0) or (
            f"be readable and writable, got '{error.strerror or error}'; "
            "check the disk and run the same command again"
        )
        raise StoreError(f"{target} must {cause}") from error


def checked_name(name: str) -> str:
    """Return a key or file name; raises UsageError if it could point outside its folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", name):
        raise UsageError(
            f"a key or file name must be letters, digits, '.', '_' and '-', got {name!r}; "
            "it is used as a file name in the store"
        )
    return name


def sha256(data: bytes | memoryview) -> str:
    """SHA-256 of the data, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_parts(parts: Iterable[bytes]) -> str:
    """SHA-256, in hexadecimal, of data that are read in parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def owner_id() -> str:
    """This process's name in a store: host, process id and 8 random digits."""
    return _owner_id(os.getpid())


@cache
def _owner_id(pid: int) -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip(".-_")[:64] or "host"
    return f"{host}-{pid}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file's path, size and time."""

    path: str
    """Path relative to the store's root, with forward slashes."""
    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970 by the store's clock."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The files below a folder. Every method raises StoreError, with one sentence, on failure.

    It is cheap to create and to pickle, because it holds no open files.
    """

    root: Path

    is_far: ClassVar[bool] = False
    """Whether requests are slow and billed, so that records are kept in memory once read."""

    def __str__(self) -> str:
        """The folder."""
        return str(self.root)

    def record_path(self, kind: Kind, key: str) -> str:
        """Path of a published record."""
        return f"{FOLDERS[kind]}/{checked_name(key)}/{RECORDS[kind]}"

    def file_path(self, kind: Kind, key: str, name: str, digest: str) -> str:
        """Path of a file that is published beside a record."""
        return f"{FOLDERS[kind]}/{checked_name(key)}/{checked_name(name)}"

    def metrics_path(self, key: str, spec: str, kind: Kind = "nodes") -> str:
        """Path of a node's metrics, or of a floor of a data set."""
        return f"{FOLDERS[kind]}/{checked_name(key)}/metrics/{checked_name(spec)}.json"

    def scratch_folder(self, key: str) -> str:
        """Folder of all checkpoints of a key."""
        return f"work/{checked_name(key)}/"

    def scratch_path(self, key: str, name: str) -> str:
        """Path of one of this process's checkpoints."""
        return f"{self.scratch_folder(key)}{owner_id()}/{checked_name(name)}"

    def read(self, path: str) -> bytes | None:
        """A file's content, or None if it does not exist."""
        target = f"{self.root}/{path}"
        try:
            return read_regular(target)
        except MISSING:
            return None
        except (OSError, MemoryError) as error:
            with explained(target):
                check_regular(Path(target))
                raise error

    def read_parts(self, path: str) -> Iterator[bytes]:
        """Read a file that may exceed memory, in parts; raises FileNotFoundError."""
        if self.find(path) is None:
            raise MissingFileError(f"{self.root / path} must exist, got no such file")
        check_regular(self.root / path)
        with explained(target := self.root / path), target.open("rb") as file:
            while part := file.read(PART_BYTES):
                yield part

    def read_checked(self, path: str, accept: Callable[[bytes], T | None]) -> T | None:
        """What `accept` returns for an immutable file's content; None if the file is missing."""
        data = self.read(path)
        with explained(self.root / path):
            return None if data is None else accept(data)

    def locate(self, path: str, digest: str) -> Path | None:
        """Path of a file on this machine; None if it is missing or its SHA-256 differs."""
        with suppress(FileNotFoundError):
            if sha256_of_parts(self.read_parts(path)) == digest:
                return self.root / path
        return None

    def find(self, path: str) -> Entry | None:
        """Size and time of a file, or None if it does not exist."""
        with explained(target := self.root / path), suppress(*MISSING):
            status = target.stat()
            return Entry(path=path, size=status.st_size, modified=status.st_mtime)
        return None

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every file below a prefix. The prefix is empty or ends in a slash."""
        with explained(target := self.root / prefix):
            try:
                entries = list(os.scandir(target))
            except MISSING:
                return
        for each in entries:
            path = f"{prefix}{each.name}"
            if each.is_dir(follow_symlinks=False):
                yield from self.list(f"{path}/")
                continue
            with explained(target):
                try:
                    status = each.stat()
                except FileNotFoundError:
                    continue
            yield Entry(path=path, size=status.st_size, modified=status.st_mtime)

    def names(self, prefix: str) -> builtins.list[str]:
        """Names of the files and folders directly in a folder; none if it does not exist."""
        with explained(target := self.root / prefix), suppress(*MISSING):
            return [entry.name for entry in os.scandir(target)]
        return []

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Write or replace a file."""
        self._retried(path, lambda target: write_bytes(target, data))

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless one exists; False if one does."""
        return self._retried(path, lambda target: _create(target, data))

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files if they exist, and the folders that become empty."""
        for path in paths:
            target = self.root / path
            with explained(target), suppress(*MISSING):
                target.unlink()
            num_emptied = path.count("/") - 1  # the topmost folder stays
            _remove_empty(*list(target.parents)[: max(0, num_emptied)])

    def publish(self, record: str, data: bytes, *, files: Mapping[str, bytes | memoryview]) -> bool:
        """Publish a record and its files by one rename; False if another process was first.

        A process killed before the rename publishes nothing, and leaves its files in work/.
        """
        target = (self.root / record).parent
        owner = self.root / "work" / target.name / owner_id()
        staging = owner / f"publish-{uuid.uuid4().hex[:8]}"
        with explained(target):
            staging.mkdir(parents=True)
            try:
                for path, content in {**files, record: data}.items():
                    write_durably(staging / Path(path).name, [content])
                _sync_folder(staging)
                return self._rename(staging, record)
            except FileNotFoundError:  # the process that was first has deleted our scratch
                if self.read(record):
                    return False
                raise
            finally:
                shutil.rmtree(staging, ignore_errors=True)
                _remove_empty(owner, owner.parent)

    def withdraw(self, record: str) -> bool:
        """Move a record and its files to work/corrupt-...; False if the record is gone."""
        source = (self.root / record).parent
        destination = self.root / "work" / f"corrupt-{source.name}-{uuid.uuid4().hex[:8]}"
        with explained(source), suppress(FileNotFoundError):
            destination.parent.mkdir(parents=True, exist_ok=True)
            source.rename(destination)
            return True
        return False

    def now(self) -> float:
        """Unix time by the clock that stamps the files (on NFS, the server's)."""
        probe = self.root / f".clock.{uuid.uuid4().hex[:8]}.tmp"
        try:
            with probe.open("xb") as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError:
            return time.time()  # the folder is read-only
        finally:
            with suppress(OSError):
                probe.unlink()

    def free_bytes(self) -> int | None:
        """Free space in bytes; None for a bucket."""
        folder = next(path for path in (self.root, *self.root.parents) if path.exists())
        with explained(folder):
            return shutil.disk_usage(folder).free

    def check(self, option: str) -> None:
        """Raise UsageError, naming the option, unless the folder is writable or can be created."""
        existing = next(path for path in (self.root, *self.root.parents) if path.exists())
        if not existing.is_dir():
            raise UsageError(
                f"{option} must be a folder, got the file {existing}; choose another name"
            )
        if not os.access(existing, os.W_OK | os.X_OK):
            raise UsageError(
                f"{option} must be in a folder that can be written, got {self}; "
                "choose another folder"
            )

    def _rename(self, staging: Path, record: str) -> bool:
        target = (self.root / record).parent
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(3):
            try:
                staging.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                if self.read(record):
                    return False
                self.withdraw(record)  # no record: a crash or another program left these files
            else:
                _sync_folder(target.parent)
                return True
        raise StoreError(
            f"{target} must be free, got files that reappear; find the program that writes them"
        )

    def _retried(self, path: str, write: Callable[[Path], T]) -> T:
        """Write a file; retries if another process removes its still empty folder."""
        target = self.root / path
        with explained(target):
            for _ in range(RACES):
                with suppress(FileNotFoundError):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    return write(target)
            return write(target)


def is_unfinished(name: str) -> bool:
    """Whether a name is that of a file being written, or left by a process that died meanwhile."""
    return re.fullmatch(r"\.[A-Za-z0-9][A-Za-z0-9._-]*\.[0-9a-f]{8}\.tmp", name) is not None


def _create(target: Path, data: bytes) -> bool:
    """Write a complete file durably unless it exists; False if another process was first."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write_durably(temporary, [data])
        try:
            os.link(temporary, target)
        except FileExistsError:
            # NFS may retry a link whose reply was lost; the link count tells if it was ours.
            return temporary.stat().st_nlink == 2
        _sync_folder(target.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    """Make the names in a folder durable if the file system supports that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_empty(*folders: Path) -> None:
    """Remove those of the folders that are empty, in this order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
