"""Publishing in a store: files, and a record that names them and is written last and only once.

A key is published if and only if its record exists and is not empty.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from model.errors import MissingFileError, UsageError
from sweep.files import DamagedError
from sweep.records import DatasetCard, NodeRecord, Record
from sweep.store.bucket import Bucket
from sweep.store.folder import (
    RECORDS,
    CorruptError,
    Folder,
    Kind,
    checked_name,
    sha256,
    sha256_of_parts,
)

R = TypeVar("R", NodeRecord, DatasetCard)
S = TypeVar("S", bound=Record)

Files = Folder | Bucket


@dataclass(kw_only=True)
class Published(Generic[R]):
    """The nodes or the data sets of a store, by key.

    If several processes publish a key, the first wins and the others read what it wrote.
    """

    files: Files
    kind: Kind
    record_type: type[R]
    _known: dict[str, R] = field(default_factory=dict)
    """Records read from a remote store; they never change unless they are withdrawn."""

    def has(self, key: str) -> bool:
        """Whether a key is published."""
        if key in self._known:
            return True
        record = self.files.find(self.files.record_path(self.kind, key))
        return record is not None and record.size > 0

    def done(self, keys: Collection[str]) -> set[str]:
        """The keys that are published; a remote store needs only one listing."""
        if not keys or not self.files.is_far:
            return {key for key in keys if self.has(key)}
        paths = {self.files.record_path(self.kind, key): key for key in keys}
        folder = next(iter(paths)).rpartition("/")[0]
        existing = {entry.path for entry in self.files.list(f"{folder}/") if entry.size}
        return {key for path, key in paths.items() if path in existing}

    def keys(self) -> set[str]:
        """The keys of everything that is published, or of folders that hold nothing published."""
        folder = self.files.record_path(self.kind, "key").partition("/key")[0]
        if isinstance(self.files, Folder):
            return set(self.files.names(f"{folder}/"))
        return {Path(entry.path).stem for entry in self.files.list(f"{folder}/") if entry.size}

    def read(self, key: str) -> R:
        """The record of a key.

        Raises:
            FileNotFoundError: The key is not published.
            CorruptError: The record is damaged or belongs to another key.
            RecordError: The record has another schema version.
        """
        if key in self._known:
            return self._known[key]
        path = self.files.record_path(self.kind, key)
        data = self.files.read(path)
        if not data:
            raise MissingFileError(
                f"{self.files}/{path} must exist, got no published {key!r}; "
                "run the sweep that computes it"
            )
        record = self._parse(key, data, f"{self.files}/{path}")
        if self.files.is_far:
            self._known[key] = record
        return record

    def has_file(self, key: str, name: str) -> bool:
        """Whether a published file exists (a copied folder may lack weights)."""
        try:
            path, _ = self._expected(key, name)
        except FileNotFoundError:
            return False
        return self.files.find(path) is not None

    def read_file(self, key: str, name: str) -> bytes:
        """The content of a published file.

        Raises:
            FileNotFoundError: The key is not published, or its record names no such file.
            CorruptError: The file is damaged or missing, or the record is damaged.
        """
        path, digest = self._expected(key, name)
        data = self.files.read_checked(path, lambda data: data if sha256(data) == digest else None)
        if data is None:
            raise self._damage(key, path)
        return data

    def locate(self, key: str, name: str) -> Path:
        """Local path of a published file whose SHA-256 is verified; raises as in read_file."""
        path, digest = self._expected(key, name)
        local = self.files.locate(path, digest)
        if local is None:
            raise self._damage(key, path)
        return local

    def publish(self, key: str, files: Mapping[str, bytes | memoryview], record: R) -> bool:
        """Publish files and their record; False if another process was first.

        The record's `files` is filled in. A process that is killed publishes either everything or
        nothing.
        """
        if record.key != key:
            raise UsageError(f"record.key must be {key!r}, got {record.key!r}")
        if RECORDS[self.kind] in files:
            raise UsageError(
                f"files must not contain {RECORDS[self.kind]}, which is made from the record"
            )
        hashes = {checked_name(name): sha256(data) for name, data in files.items()}
        if self.has(key):
            return False
        record = replace(record, files=hashes)
        paths = {name: self.files.file_path(self.kind, key, name, hashes[name]) for name in files}
        uploads = {paths[name]: data for name, data in files.items()}
        path = self.files.record_path(self.kind, key)
        published = self.files.publish(path, record.to_bytes(), files=uploads)
        if not published:
            self._drop_losing(key, set(uploads))
        elif self.files.is_far:
            self._known[key] = record
        return published

    def damaged_files(self, key: str) -> list[str]:
        """Names of the files that are missing or differ from the record."""
        self.forget(key)
        try:
            names = sorted(self.read(key).files)
        except (CorruptError, FileNotFoundError):
            return [RECORDS[self.kind]]
        return [name for name in names if not self._is_whole(key, name)]

    def withdraw(self, key: str) -> bool:
        """Set a damaged key aside so that it is computed again; False if it is undamaged or gone.

        The key is checked twice because another process may publish it again during the first
        check.
        """
        for _ in range(2):
            self.forget(key)
            if not self.has(key) or not self.damaged_files(key):
                return False
        self.forget(key)
        return self.files.withdraw(self.files.record_path(self.kind, key))

    def forget(self, key: str) -> None:
        """Discard the record kept in memory, so that it is read from the store again."""
        self._known.pop(key, None)

    def _parse(self, key: str, data: bytes, source: str) -> R:
        record = parse_stored(self.record_type, data, source)
        if record.key != key:
            raise CorruptError(
                f"{source} must be the record of {key}, got {record.key!r}; "
                f"delete {source} and run the same sweep command again"
            )
        return record

    def _expected(self, key: str, name: str) -> tuple[str, str]:
        """Path and SHA-256 of a file, according to the record."""
        files = self.read(key).files
        if checked_name(name) not in files:
            raise MissingFileError(
                f"{name} of {self.files.record_path(self.kind, key)} in {self.files} "
                f"must be one of {', '.join(sorted(files))}, got {name!r}"
            )
        digest = str(files[name])
        return self.files.file_path(self.kind, key, name, digest), digest

    def _is_whole(self, key: str, name: str) -> bool:
        try:
            path, digest = self._expected(key, name)
            return sha256_of_parts(self.files.read_parts(path)) == digest
        except (FileNotFoundError, UsageError):  # a foreign record may contain any name
            return False

    def _damage(self, key: str, path: str) -> CorruptError:
        entry = self.files.find(path)
        state = "no file" if entry is None else f"{entry.size} damaged bytes"
        return CorruptError(
            f"{self.files}/{path} must have the SHA-256 of its record, got {state}; delete "
            f"{self.files}/{self.files.record_path(self.kind, key)} "
            "and run the same sweep command again"
        )

    def _drop_losing(self, key: str, ours: set[str]) -> None:
        """Delete files that this process uploaded, unless the winner's record names them too."""
        winner = self.read(key).files
        theirs = {self.files.file_path(self.kind, key, name, winner[name]) for name in winner}
        self.files.delete(ours - theirs)


def parse_stored(record_type: type[S], data: bytes, source: str) -> S:
    """Parse a record of a store; raises CorruptError if it is damaged."""
    try:
        return record_type.of_bytes(data, source)
    except DamagedError as error:
        raise CorruptError(str(error)) from None
