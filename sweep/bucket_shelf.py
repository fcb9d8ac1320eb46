"""Records of a bucket and the files that they name: published once, by the record's creation.

    records/<kind>/<key>.json                 written last, once; an empty one was withdrawn
    files/<kind>/<key>/<SHA-256>-<name>       so named that a repeated upload repairs, never harms

The counterpart of sweep.files.Shelf. Must not know what a record says.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from model.errors import UsageError
from sweep.bucket import Bucket
from sweep.cache import Cache
from sweep.files import CorruptError, checked_name, record_of, sha256
from sweep.records import DatasetCard, NodeRecord, RecordError, dump_json, parse_json

R = TypeVar("R", NodeRecord, DatasetCard)

NONE = b""
"""Content of a record that was withdrawn: a bucket replaces on a condition, but does not delete."""


@dataclass(kw_only=True)
class BucketShelf(Generic[R]):
    """Keys of a kind: a record, written once, and the files that it names."""

    kind: str
    record_type: type[R]
    bucket: Bucket
    cache: Cache
    _known: dict[str, R] = field(default_factory=dict)
    """Records read or published: they never change, unless found damaged."""

    def has(self, key: str) -> bool:
        """Whether a key is published."""
        if key in self._known:
            return True
        found = self.bucket.find(self.record_path(key))
        return found is not None and found.size > 0

    def keys(self) -> set[str]:
        """All that are published."""
        folder = f"records/{self.kind}/"
        names = {entry.path for entry in self.bucket.list(folder) if entry.size}
        return {name.removeprefix(folder).removesuffix(".json") for name in names}

    def read(self, key: str) -> R:
        """See sweep.files.Shelf."""
        if key in self._known:
            return self._known[key]
        path = self.record_path(key)
        found = self.bucket.read(path)
        place = f"{self.bucket}/{path}"
        if found is None or found[0] == NONE:
            raise FileNotFoundError(
                f"{place} must exist, got no published {key!r}; run the sweep that computes it"
            )
        try:
            data = parse_json(found[0], place)
        except RecordError as error:
            raise CorruptError(str(error)) from None
        way_out = "delete it and run the same sweep command again"
        self._known[key] = record_of(self.record_type, key, data, place, way_out=way_out)
        return self._known[key]

    def read_file(self, key: str, name: str) -> bytes:
        """A published file, from the cache or the bucket, checked against the record."""
        path, expected = self._expected(key, name)
        data = self.cache.read(path)
        if data is not None and sha256(data) == expected:
            return data
        data = self._download(key, path, expected)
        self.cache.offer(path, data)
        return data

    def locate(self, key: str, name: str) -> Path:
        """Where on this machine a published file lies, checked but never whole in memory."""
        path, expected = self._expected(key, name)
        if self.cache.digest(path) == expected:
            return self.cache.locate(path)
        found = self.bucket.find(path)
        if found is None:
            raise self._damage(key, path, "no file")
        parts = self._parts(key, path, expected, found.size)
        return self.cache.keep_parts(path, parts, size=found.size)

    def publish(self, key: str, files: Mapping[str, bytes | memoryview], *, record: R) -> bool:
        """Publish files and their record at once; False where another process was first."""
        if record.key != key:
            raise UsageError(f"record.key must be {key!r}, got {record.key!r}")
        hashes = {checked_name(name): sha256(data) for name, data in files.items()}
        record = replace(record, files=hashes)
        before = self.bucket.read(self.record_path(key))
        if before is not None and before[0] != NONE:
            return False
        for name, data in files.items():
            path = self.file_path(key, name, hashes[name])
            self.bucket.write(path, data)
            self.cache.offer(path, data)
        index = dump_json(asdict(record))
        path = self.record_path(key)
        if before is None:
            version = self.bucket.create(path, index)
        else:
            version = self.bucket.replace(path, index, before[1].version)
        if version is None:
            self._drop_losing(key, hashes)
            return False
        self._known[key] = record
        return True

    def damaged_files(self, key: str) -> list[str]:
        """Names of files in the bucket (whatever the cache has) that are not as recorded."""
        self._known.pop(key, None)
        try:
            names = sorted(self.read(key).files)
        except (CorruptError, FileNotFoundError):
            return ["record.json"]
        return [name for name in names if not self._is_whole(key, name)]

    def set_damaged_aside(self, key: str) -> bool:
        """Withdraw the record of a damaged key; False where it is whole or gone."""
        self._known.pop(key, None)  # another process may have withdrawn it
        found = self.bucket.read(self.record_path(key))
        if found is None or found[0] == NONE or not self.damaged_files(key):
            return False
        # A card of the same data has the same bytes and version, so a second look comes last: it
        # may have been withdrawn and published anew during the first.
        if not self.damaged_files(key):
            return False
        self.bucket.write(f"corrupt/{self.kind}/{key}-{uuid.uuid4().hex[:8]}.json", found[0])
        self._known.pop(key, None)
        # Only the version that was looked at: another process may have published anew meanwhile.
        return self.bucket.replace(self.record_path(key), NONE, found[1].version) is not None

    def forget(self, key: str) -> None:
        """Ask the bucket about a key the next time."""
        self._known.pop(key, None)

    def record_path(self, key: str) -> str:
        """Path of a key's record."""
        return f"records/{self.kind}/{checked_name(key)}.json"

    def file_path(self, key: str, name: str, digest: str) -> str:
        """Path of a published file."""
        return f"files/{self.kind}/{checked_name(key)}/{digest[:16]}-{checked_name(name)}"

    def _expected(self, key: str, name: str) -> tuple[str, str]:
        """Path and SHA-256 of a file, by the record."""
        record = self.read(key)
        if name not in record.files:
            raise FileNotFoundError(
                f"{name} of {self.bucket}/{self.record_path(key)} must be one of "
                f"{', '.join(sorted(record.files))}"
            )
        digest = str(record.files[name])
        return self.file_path(key, name, digest), digest

    def _download(self, key: str, path: str, expected: str) -> bytes:
        found = self.bucket.read(path)
        if found is None or sha256(found[0]) != expected:
            state = "no file" if found is None else f"{len(found[0])} damaged bytes"
            raise self._damage(key, path, state)
        return found[0]

    def _parts(self, key: str, path: str, expected: str, size: int) -> Iterator[bytes]:
        """A published file, a part at a time; CorruptError behind the last if it is damaged."""
        digest = hashlib.sha256()
        for part in self.bucket.read_parts(path, size):
            digest.update(part)
            yield part
        if digest.hexdigest() != expected:
            raise self._damage(key, path, f"{size} damaged bytes")

    def _damage(self, key: str, path: str, state: str) -> CorruptError:
        return CorruptError(
            f"{self.bucket}/{path} must have the SHA-256 of its record, got {state}; delete "
            f"{self.bucket}/{self.record_path(key)} and run the same sweep command again"
        )

    def _is_whole(self, key: str, name: str) -> bool:
        path, expected = self._expected(key, name)
        found = self.bucket.find(path)
        if found is None:
            return False
        try:
            for _ in self._parts(key, path, expected, found.size):
                pass
        except CorruptError:
            return False
        return True

    def _drop_losing(self, key: str, hashes: Mapping[str, str]) -> None:
        """Delete what was uploaded in vain, but for what the winner's record names as well."""
        winner = self.read(key).files
        self.bucket.delete(
            self.file_path(key, name, digest)
            for name, digest in hashes.items()
            if winner.get(name) != digest
        )
