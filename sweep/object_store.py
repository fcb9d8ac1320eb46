"""The store in a bucket: S3, GCS or Azure, shared by machines that share no disk.

    <url>/records/nodes/<key>.json      one node, done exactly when this is there; written last
    <url>/files/nodes/<key>/            its files, named by their SHA-256 too
    <url>/records/datasets/<key>.json   one prepared data set, and files/datasets/<key>/ likewise
    <url>/metrics/<key>/<spec>.json     a node's numbers
    <url>/streams|features|selections/  immutable blocks
    <url>/sweeps/<name>.json            what the runs of sweeps ask for
    <url>/claims/<key>.json             who works on a key
    <url>/scratch/<key>/                checkpoints of unfinished trainings
    <url>/corrupt/                      records of what was found damaged

An empty record is none: a bucket replaces on a condition but does not so delete. What is immutable
is kept in a cache on this machine. Must not know how a key is made, what an image shows, or Ray.
"""

import re
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sweep import bucket_claims, scratch
from sweep.arrays import dump_array, load_array
from sweep.bucket import Bucket
from sweep.bucket_claims import BucketClaim
from sweep.bucket_shelf import BucketShelf
from sweep.cache import Cache
from sweep.claims import ClaimInfo
from sweep.files import CorruptError, checked_name, owner_id
from sweep.inventory import Item, bucket_items
from sweep.records import (
    DatasetCard,
    MetricsRecord,
    NodeRecord,
    RecordError,
    SweepRecord,
    dump_json,
    parse_json,
)
from sweep.store import BlockShelf

CLAIMS_SECONDS = 2.0
"""For which a listing of claims is good: a scheduler looks far more often than they change."""


class ObjectStore:
    """A Store in a bucket; every process makes its own connections.

    Cheap to make and to pickle; writes nothing until asked to.
    """

    def __init__(self, bucket: Bucket, cache: Cache, *, ttl_seconds: float = 60.0) -> None:
        """Use a bucket as store; a claim without heartbeat for `ttl_seconds` is free."""
        self.bucket = bucket
        self.cache = cache
        self.ttl_seconds = ttl_seconds
        self._nodes = BucketShelf(kind="nodes", record_type=NodeRecord, bucket=bucket, cache=cache)
        self._datasets = BucketShelf(
            kind="datasets", record_type=DatasetCard, bucket=bucket, cache=cache
        )
        self._claims: dict[str, ClaimInfo] = {}
        self._claims_read = float("-inf")

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without what this process remembers, which goes by its own clock."""
        return _make, (self.bucket, self.cache, self.ttl_seconds)

    def items(self) -> list[Item]:
        """See Store."""
        return bucket_items(self.bucket)

    def delete_item(self, item: Item) -> None:
        """See Store."""
        self.bucket.delete(sorted(item.paths, reverse=True))  # the record before its files
        self._nodes.forget(item.key)
        self._datasets.forget(item.key)

    def check(self) -> None:
        """See Store."""
        self.bucket.check("--store")

    @property
    def place(self) -> str:
        """See Store."""
        return self.bucket.url

    def has_node(self, key: str) -> bool:
        """See Store."""
        return self._nodes.has(key)

    def done_nodes(self, keys: Collection[str]) -> set[str]:
        """See Store; one listing answers for all."""
        return self._nodes.keys() & set(keys)

    def read_node(self, key: str) -> NodeRecord:
        """See Store."""
        return self._nodes.read(key)

    def read_file(self, key: str, name: str) -> bytes:
        """See Store."""
        return self._nodes.read_file(key, name)

    def publish_node(self, key: str, files: Mapping[str, bytes], record: NodeRecord) -> bool:
        """See Store."""
        return self._nodes.publish(key, files, record=record)

    def verify_node(self, key: str) -> list[str]:
        """See Store."""
        return self._nodes.damaged_files(key)

    def quarantine_node(self, key: str) -> bool:
        """See Store; the damaged record is kept in corrupt/nodes/."""
        if not self._nodes.set_damaged_aside(key):
            return False
        self.bucket.delete([e.path for e in self.bucket.list(f"metrics/{checked_name(key)}/")])
        return True

    def has_dataset(self, key: str) -> bool:
        """See Store."""
        return self._datasets.has(key)

    def read_card(self, key: str) -> DatasetCard:
        """See Store."""
        return self._datasets.read(key)

    def read_dataset_file(self, key: str, name: str) -> bytes:
        """See Store."""
        return self._datasets.read_file(key, name)

    def locate_dataset_file(self, key: str, name: str) -> Path:
        """See Store; in this machine's cache."""
        return self._datasets.locate(key, name)

    def publish_dataset(
        self, key: str, files: Mapping[str, bytes | memoryview], card: DatasetCard
    ) -> bool:
        """See Store."""
        return self._datasets.publish(key, files, record=card)

    def verify_dataset(self, key: str) -> list[str]:
        """See Store."""
        return self._datasets.damaged_files(key)

    def quarantine_dataset(self, key: str) -> bool:
        """See Store; the damaged card is kept in corrupt/datasets/."""
        return self._datasets.set_damaged_aside(key)

    def write_metrics(self, key: str, spec: str, record: MetricsRecord) -> None:
        """See Store."""
        path = self._metrics_path(key, spec)
        if not self.has_node(key):
            raise FileNotFoundError(
                f"{self.bucket}/{path} must belong to a done node, got {key!r}; train it first"
            )
        self.bucket.write(path, dump_json(asdict(record)))

    def read_metrics(self, key: str, spec: str) -> MetricsRecord | None:
        """See Store."""
        path = self._metrics_path(key, spec)
        found = self.bucket.read(path)
        if found is None:
            return None
        place = f"{self.bucket}/{path}"
        try:
            data = parse_json(found[0], place)
        except RecordError as error:
            raise CorruptError(str(error)) from None
        return MetricsRecord.of_json(data, place)

    def note_sweep(self, name: str, record: SweepRecord) -> None:
        """See Store."""
        self.bucket.write(f"sweeps/{checked_name(name)}.json", dump_json(asdict(record)))

    def list_sweeps(self) -> list[str]:
        """See Store."""
        paths = sorted(entry.path for entry in self.bucket.list("sweeps/"))
        return [path.removeprefix("sweeps/").removesuffix(".json") for path in paths]

    def read_sweep(self, name: str) -> SweepRecord:
        """See Store."""
        path = f"sweeps/{checked_name(name)}.json"
        place, found = f"{self.bucket}/{path}", self.bucket.read(path)
        return SweepRecord.of_json(parse_json(b"" if found is None else found[0], place), place)

    def claim(self, key: str, *, owner: str | None = None) -> BucketClaim | None:
        """See Store."""
        return bucket_claims.acquire(
            self.bucket, checked_name(key), owner or owner_id(), ttl_seconds=self.ttl_seconds
        )

    def read_claims(self) -> dict[str, ClaimInfo]:
        """See Store; up to CLAIMS_SECONDS old."""
        if time.monotonic() - self._claims_read > CLAIMS_SECONDS:
            self._claims = bucket_claims.read_claims(self.bucket, ttl_seconds=self.ttl_seconds)
            self._claims_read = time.monotonic()
        return self._claims

    def save_scratch(self, key: str, name: str, data: bytes) -> None:
        """See Store."""
        older = self._checkpoints(key, name)
        number = older[-1][0] + 1 if older else 1
        path = f"{_scratch_folder(key)}{checked_name(name)}.{number:06d}.{owner_id()}"
        self.bucket.write(path, scratch.seal(data))
        self.bucket.delete([path for _, path in older[: 1 - scratch.NUM_KEPT]])

    def load_scratch(self, key: str, name: str) -> bytes | None:
        """See Store; damaged checkpoints on the way are deleted."""
        for _, path in reversed(self._checkpoints(key, name)):
            found = self.bucket.read(path)
            if found is None:  # its owner has written a newer one
                continue
            if (data := scratch.unseal(found[0])) is not None:
                return data
            self.bucket.delete([path])
        return None

    def drop_scratch(self, key: str) -> None:
        """See Store."""
        self.bucket.delete([entry.path for entry in self.bucket.list(_scratch_folder(key))])

    def has_file(self, key: str, name: str) -> bool:
        """See Store."""
        try:
            digest = self._nodes.read(key).files.get(name)
        except FileNotFoundError:
            return False
        path = None if digest is None else self._nodes.file_path(key, name, digest)
        return path is not None and self.bucket.find(path) is not None

    def has_block(self, stream: str, index: int, *, shelf: BlockShelf = "streams") -> bool:
        """See Store."""
        return self.bucket.find(_block_path(shelf, stream, index)) is not None

    def write_block(
        self, stream: str, index: int, images: np.ndarray, *, shelf: BlockShelf = "streams"
    ) -> bool:
        """See Store."""
        path = _block_path(shelf, stream, index)
        data = dump_array(images)
        if self.bucket.create(path, data) is None:
            return False
        self.cache.offer(path, data)
        return True

    def read_block(self, stream: str, index: int, *, shelf: BlockShelf = "streams") -> np.ndarray:
        """See Store."""
        path = _block_path(shelf, stream, index)
        cached = self.cache.read(path)
        images = None if cached is None else load_array(cached)
        if images is not None:
            return images
        found = self.bucket.read(path)
        if found is None:
            raise FileNotFoundError(
                f"{self.bucket}/{path} must exist, got no such block; sample it again"
            )
        images = load_array(found[0])
        if images is None:
            raise CorruptError(
                f"{self.bucket}/{path} must hold the images it was written with, got "
                f"{len(found[0])} damaged bytes; delete it and run the same sweep command again"
            )
        self.cache.offer(path, found[0])
        return images

    def discard_block(self, stream: str, index: int, *, shelf: BlockShelf = "streams") -> None:
        """See Store."""
        path = _block_path(shelf, stream, index)
        self.cache.drop(path)
        self.bucket.delete([path])

    def free_bytes(self) -> int | None:
        """See Store."""
        return None

    def _metrics_path(self, key: str, spec: str) -> str:
        return f"metrics/{checked_name(key)}/{checked_name(spec)}.json"

    def _checkpoints(self, key: str, name: str) -> list[tuple[int, str]]:
        """Number and path of all owners' checkpoints, oldest first."""
        pattern = re.compile(re.escape(checked_name(name)) + r"\.([0-9]{6,})\.")
        folder = _scratch_folder(key)
        found = []
        for entry in self.bucket.list(folder):
            match = pattern.match(entry.path.removeprefix(folder))
            if match:
                found.append((int(match[1]), entry.modified, entry.path))
        return [(number, path) for number, _, path in sorted(found)]


def _make(bucket: Bucket, cache: Cache, ttl_seconds: float) -> ObjectStore:
    return ObjectStore(bucket, cache, ttl_seconds=ttl_seconds)


def _scratch_folder(key: str) -> str:
    return f"scratch/{checked_name(key)}/"


def _block_path(shelf: BlockShelf, stream: str, index: int) -> str:
    return f"{shelf}/{checked_name(stream)}/{index:06d}.safetensors"
