"""Files on a shared disk: they appear whole or not at all, and are read by their checksums.

Holds the errors of a store, the file operations that stay right when processes of many machines
share a folder (local disk or NFS), and Shelf: folders that are published by one rename. Must not
know what a node, a claim or a stream is for.
"""

import errno
import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

from model.errors import OneLineError, UsageError
from sweep.records import DatasetCard, Json, NodeRecord, RecordError, dump_json, read_json

R = TypeVar("R", NodeRecord, DatasetCard)


class StoreError(OneLineError, OSError):
    """The disk refused: no room, no permission, read-only; the message is one sentence."""


class CorruptError(StoreError):
    """A file that is not what was written: damaged, cut short or foreign; the message names it."""


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
    errno.ENOTDIR: "be inside folders only, got a file in their place; choose another folder",
    errno.EEXIST: "be inside folders only, got a file in their place; choose another folder",
}


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Turn an OSError of the block into a StoreError of one sentence about `path`."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        cause = _CAUSES.get(error.errno or 0) or (
            f"be readable and writable, got '{error.strerror or error}'; "
            "look at the disk and run the same command again"
        )
        raise StoreError(f"{path} must {cause}") from error


def checked_name(name: str) -> str:
    """The key or file name itself; raises UsageError where it could leave its folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", name):
        raise UsageError(
            f"a key or file name must be letters, digits, '.', '_' and '-', got {name!r}; "
            "it becomes a file of the store"
        )
    return name


def sha256(data: bytes | memoryview) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def owner_id() -> str:
    """This process's name in a store: host, process id and 8 random digits."""
    return _owner_id(os.getpid())


@cache
def _owner_id(pid: int) -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip(".-_")[:64] or "host"
    return f"{host}-{pid}-{uuid.uuid4().hex[:8]}"


def create_file(path: Path, data: bytes) -> bool:
    """Write a file whole and durably unless it exists; False where another was first.

    The folder must exist.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        _write_durably(temporary, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            # NFS may repeat a link whose reply was lost; the link count tells whose it is.
            return temporary.stat().st_nlink == 2
        sync_folder(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(path: Path, name: str) -> None:
    """Raise UsageError, naming the option, unless a folder can be written, or can be made."""
    there = next(p for p in (path, *path.parents) if p.exists())
    if not there.is_dir():
        raise UsageError(f"{name} must be a folder, got the file {there}; choose another name")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(
            f"{name} must be in a folder that can be written, got {path}; choose another folder"
        )


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_empty(*folders: Path) -> None:
    """Remove those of the folders, in this order, that are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def record_of(record_type: type[R], key: str, data: Json, place: object, *, way_out: str) -> R:
    """The record of a key in a JSON object; CorruptError where it is another key's, or none."""
    if "schema" not in data:
        raise CorruptError(f"{place} must be a record, got one without a schema; {way_out}")
    record = record_type.of_json(data, place)
    if record.key != key or not isinstance(record.files, dict):
        raise CorruptError(f"{place} must be the record of {key}, got {record.key!r}; {way_out}")
    return record


@dataclass(frozen=True, slots=True)
class Shelf(Generic[R]):
    """Folders <root>/<kind>/<key>/ that are renamed into place whole, and never change afterwards.

    A folder counts as published exactly when its index file (the record) is in it.
    """

    root: Path
    kind: str
    """Name of the shelf's folder."""
    index: str
    """Name of the file that holds the record."""
    record_type: type[R]

    def path(self, key: str) -> Path:
        """Folder of a key."""
        return self.root / self.kind / checked_name(key)

    def has(self, key: str) -> bool:
        """Whether a key is published."""
        path = self.path(key) / self.index
        with explained(path):
            return path.is_file()

    def read(self, key: str) -> R:
        """The record of a key; CorruptError where it is damaged, FileNotFoundError without one."""
        path = self.path(key) / self.index
        if not self.has(key):
            raise FileNotFoundError(
                f"{path} must exist, got no published {key!r}; run the sweep that computes it"
            )
        try:
            data = read_json(path)
        except RecordError as error:
            raise CorruptError(str(error)) from None
        return record_of(self.record_type, key, data, path, way_out=self._way_out(key))

    def read_file(self, key: str, name: str) -> bytes:
        """A published file, checked against the record's SHA-256."""
        path, expected = self._expected(key, name)
        with explained(path):
            data = path.read_bytes() if path.is_file() else None
        if data is None or sha256(data) != expected:
            raise self._damage(key, path, None if data is None else len(data))
        return data

    def locate(self, key: str, name: str) -> Path:
        """Path of a published file, checked as by read_file but never whole in memory."""
        path, expected = self._expected(key, name)
        with explained(path):
            size = path.stat().st_size if path.is_file() else None
            if size is not None:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
        if size is None or found != expected:
            raise self._damage(key, path, size)
        return path

    def _expected(self, key: str, name: str) -> tuple[Path, str]:
        """Path and SHA-256 of a file, by the record."""
        record = self.read(key)
        path = self.path(key) / checked_name(name)
        if name not in record.files:
            raise FileNotFoundError(
                f"{path} must be one of {', '.join(sorted(record.files))}, got {name!r}"
            )
        return path, record.files[name]

    def _damage(self, key: str, path: Path, size: int | None) -> CorruptError:
        found = "no file" if size is None else f"{size} damaged bytes"
        return CorruptError(
            f"{path} must have the SHA-256 of its record, got {found}; {self._way_out(key)}"
        )

    def publish(self, key: str, files: Mapping[str, bytes | memoryview], *, record: R) -> bool:
        """Publish files and their record at once; False where another process was first.

        A process killed at any moment leaves nothing on the shelf, only remains in work/<key>/.
        """
        target = self.path(key)
        if record.key != key:
            raise UsageError(f"record.key must be {key!r}, got {record.key!r}")
        if self.index in files:
            raise UsageError(f"files must leave {self.index} to the record, got it among them")
        hashes = {checked_name(name): sha256(data) for name, data in files.items()}
        index = dump_json(asdict(replace(record, files=hashes)))
        if self.has(key):
            return False
        owner = self.root / "work" / key / owner_id()
        staging = owner / f"publish-{uuid.uuid4().hex[:8]}"
        with explained(target):
            try:
                staging.mkdir(parents=True)
                for name, data in {**files, self.index: index}.items():
                    _write_durably(staging / name, data)
                sync_folder(staging)
                return self._rename(staging, key)
            except FileNotFoundError:  # whoever was first has dropped our scratch
                if self.has(key):
                    return False
                raise
            finally:
                shutil.rmtree(staging, ignore_errors=True)
                remove_empty(owner, owner.parent)

    def damaged_files(self, key: str) -> list[str]:
        """Names of a key's files that are missing or do not have the record's SHA-256."""
        try:
            names = sorted(self.read(key).files)
        except (CorruptError, FileNotFoundError):
            return [self.index]
        return [name for name in names if not self._is_whole(key, name)]

    def set_damaged_aside(self, key: str) -> bool:
        """Move a damaged key's folder to work/corrupt-...; False where it is whole or gone.

        It is looked at once more, since another process may have published it anew meanwhile.
        """
        return bool(self.damaged_files(key)) and self.set_aside(key)

    def set_aside(self, key: str) -> bool:
        """Move a key's folder to work/corrupt-...; False where it was gone already."""
        remains = self.root / "work" / f"corrupt-{key}-{uuid.uuid4().hex[:8]}"
        with explained(self.path(key)):
            remains.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.path(key).rename(remains)
            except FileNotFoundError:
                return False
        return True

    def _rename(self, staging: Path, key: str) -> bool:
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(3):
            try:
                staging.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                if self.has(key):
                    return False
                self.set_aside(key)  # no record inside: remains of a crash, or foreign files
            else:
                sync_folder(target.parent)
                return True
        raise StoreError(f"{target} must be free, got files that come back; find who writes them")

    def _is_whole(self, key: str, name: str) -> bool:
        try:
            self.locate(key, name)
        except (CorruptError, FileNotFoundError, ValueError):
            return False
        return True

    def _way_out(self, key: str) -> str:
        return f"delete the folder {self.path(key)} and run the same sweep command again"


def _write_durably(path: Path, data: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
