"""A sweep's store: finished nodes, data sets, blocks, metrics, claims and scratch, by key.

It is in a folder, which machines may share, or in a bucket. It is cheap to create and to pickle.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from model.errors import MissingFileError, UsageError, findable_path, shown
from sweep.config import ResourcesConfig
from sweep.files import parse_json
from sweep.records import DatasetCard, MetricsRecord, NodeRecord, SweepRecord
from sweep.store.arrays import dump_array, load_array
from sweep.store.bucket import open_bucket
from sweep.store.claims import Claims, Silences
from sweep.store.folder import CorruptError, Entry, Folder, checked_name, explained, sha256
from sweep.store.inventory import Item, item_of, items_of
from sweep.store.patience import NOTICES, OUTAGE_SECONDS, Patience
from sweep.store.published import Files, Published, parse_stored

Shelf = Literal["streams", "features", "selections"]
"""Blocks of images, blocks of features, and the selections of filters with their scores."""

LIKE_URL = re.compile(r"[a-z0-9+.-]*:/|(s3|gs|az):", re.IGNORECASE)
NUM_CHECKPOINTS = 2
"""Number of checkpoints kept per training."""
SEAL = b"scratch1"


class Store:
    """A sweep's store. Every method raises StoreError, with one sentence, on failure.

    Attributes:
        nodes: Finished models.
        datasets: Prepared data sets.
        claims: Which process works on a key.
        files: The folder or bucket that holds everything.
    """

    def __init__(
        self, files: Files, *, lease_seconds: float = 60.0, outage_seconds: float = OUTAGE_SECONDS
    ) -> None:
        """Use a folder or bucket.

        This process's claims expire after lease_seconds of silence, and it tolerates failures of
        the store for outage_seconds.
        """
        self.files = files
        self.nodes = Published(files=files, kind="nodes", record_type=NodeRecord)
        self.datasets = Published(files=files, kind="datasets", record_type=DatasetCard)
        self.claims = Claims(files, lease_seconds=lease_seconds, outage_seconds=outage_seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the observations of claims, but no other cached state."""
        claims = self.claims
        return _make, (self.files, claims.lease_seconds, claims.outage_seconds, claims.silences())

    def patience(self) -> Patience:
        """How long one place of this process tolerates failures of the store."""
        return Patience(self.location, self.claims.outage_seconds)

    @property
    def is_failing(self) -> bool:
        """Whether it has failed for so long that this was said."""
        return NOTICES.has(self.location)

    @property
    def location(self) -> str:
        """The store's folder or URL."""
        return str(self.files)

    def check(self) -> None:
        """Raise UsageError, naming --store, unless it can be written to."""
        self.files.check("--store")

    def items(self) -> list[Item]:
        """Everything in the store, for cleaning up."""
        return items_of(self.files.list(""), self.files.now())

    def delete_item(self, item: Item) -> None:
        """Delete an item; files that are already gone are ignored."""
        self.files.delete(item.paths)
        self.nodes.forget(item.key)
        self.datasets.forget(item.key)

    def write_metrics(
        self, key: str, spec: str, record: MetricsRecord, *, sheet: bytes = b""
    ) -> MetricsRecord:
        """Write a node's metrics under one specification, replacing older ones.

        Args:
            key: Key of the node.
            spec: Name of the specification.
            record: The metrics.
            sheet: PNG of the nearest training images, whose digest is added to the record.

        Returns:
            The record as it was written.

        Raises:
            FileNotFoundError: The node is not published.
        """
        path = self.files.metrics_path(key, spec)
        if not self.nodes.has(key):
            raise MissingFileError(
                f"{self.files}/{path} must belong to a done node, got {key!r}; train it first"
            )
        if sheet:
            record = replace(record, nearest_sha256=sha256(sheet))
            self.files.write(sheet_path(path), sheet)
        self.files.write(path, record.to_bytes())
        return record

    def write_floor(self, key: str, spec: str, record: MetricsRecord) -> None:
        """Write the floor of a published data set under a specification, replacing an older one."""
        self.files.write(self.files.metrics_path(key, spec, "datasets"), record.to_bytes())

    def read_metrics(self, key: str, spec: str) -> MetricsRecord | None:
        """A node's metrics under one specification, or None if they were not computed.

        Raises:
            CorruptError: They are damaged and must be written again.
        """
        return self._read_metrics(self.files.metrics_path(key, spec), key, spec)

    def read_floor(self, key: str, spec: str) -> MetricsRecord | None:
        """The floor of a data set under a specification; None if it must be measured."""
        path = self.files.metrics_path(key, spec, "datasets")
        try:
            return self._read_metrics(path, key, spec)
        except CorruptError:
            return None

    def _read_metrics(self, path: str, key: str, spec: str) -> MetricsRecord | None:
        data, source = self.files.read(path), f"{self.files}/{path}"
        if data is None:
            return None
        record = parse_stored(MetricsRecord, data, source)
        if not record.is_of(key, spec):
            raise CorruptError(f"{source} must hold the numbers of its node, got others")
        if record.nearest_sha256:
            self.read_sheet(key, spec, record)
        return record

    def read_sheet(self, key: str, spec: str, record: MetricsRecord) -> bytes:
        """The PNG of a record's nearest training images; raises CorruptError if it is damaged."""
        path = sheet_path(self.files.metrics_path(key, spec))
        data = self.files.read(path)
        if data is None or sha256(data) != record.nearest_sha256:
            raise CorruptError(
                f"{self.files}/{path} must have the SHA-256 of its record, got another; run the "
                "same sweep command again"
            )
        return data

    def note_sweep(self, name: str, record: SweepRecord) -> None:
        """Store a sweep's settings as a note, replacing an earlier note of this name."""
        self.files.write(_note_path(name), record.to_bytes())

    def list_sweeps(self) -> list[str]:
        """Names of all notes."""
        paths = (entry.path for entry in self.files.list("sweeps/"))
        return sorted(Path(path).stem for path in paths if path.endswith(".json"))

    def read_sweep(self, name: str) -> SweepRecord:
        """A note; raises RecordError if it is damaged or gone."""
        path = _note_path(name)
        source = f"{self.files}/{path}"
        return SweepRecord.of_json(parse_json(self.files.read(path) or b"", source), source)

    def save_scratch(self, key: str, name: str, data: bytes) -> None:
        """Save a training checkpoint of a node; only the newest two of all processes are kept."""
        older = self._checkpoints(key, name)
        number = older[-1][0] + 1 if older else 1
        self.files.write(self.files.scratch_path(key, f"{name}.{number:06d}"), seal(data))
        self.files.delete(entry.path for _, entry in older[: 1 - NUM_CHECKPOINTS])

    def load_scratch(self, key: str, name: str) -> bytes | None:
        """The newest undamaged checkpoint saved by any process; damaged ones are deleted."""
        for _, entry in reversed(self._checkpoints(key, name)):
            sealed = self.files.read(entry.path)
            if sealed is None:  # another process has replaced it by a newer one
                continue
            with explained(f"{self.files}/{entry.path}"):  # the content is copied
                data = unseal(sealed)
            if data is not None:
                return data
            self.files.delete([entry.path])
        return None

    def peek_scratch(self, key: str, name: str) -> bytes | None:
        """The newest undamaged checkpoint, as load_scratch returns it; nothing is deleted."""
        for _, entry in reversed(self._checkpoints(key, name)):
            if (data := unseal(self.files.read(entry.path) or b"")) is not None:
                return data
        return None

    def drop_scratch(self, key: str) -> None:
        """Delete all scratch of a node, from every process."""
        paths = [entry.path for entry in self.files.list(self.files.scratch_folder(key))]
        self.files.delete(path for path in paths if item_of(path) == ("scratch", key))

    def has_block(self, key: str, index: int, *, shelf: Shelf = "streams") -> bool:
        """Whether a block exists."""
        return self.files.find(_block_path(shelf, key, index)) is not None

    def write_block(
        self, key: str, index: int, array: np.ndarray, *, shelf: Shelf = "streams"
    ) -> bool:
        """Write an array of any shape and dtype as a block; False if the block already exists."""
        if self.has_block(key, index, shelf=shelf):
            return False
        path = _block_path(shelf, key, index)
        return self.files.create(path, dump_array(array, path))

    def read_block(self, key: str, index: int, *, shelf: Shelf = "streams") -> np.ndarray:
        """Read a block.

        Raises:
            FileNotFoundError: The block does not exist.
            CorruptError: The block is damaged; call discard_block and compute it again.
        """
        path = _block_path(shelf, key, index)
        array = self.files.read_checked(path, lambda data: load_array(data, path))
        if array is not None:
            return array
        entry = self.files.find(path)
        if entry is None:
            raise MissingFileError(
                f"{self.files}/{path} must exist, got no such block; sample it again"
            )
        raise CorruptError(
            f"{self.files}/{path} must hold the array that was written, got {entry.size} "
            "damaged bytes; delete it and run the same sweep command again"
        )

    def sound_block(self, key: str, index: int, *, shelf: Shelf = "streams") -> np.ndarray | None:
        """Read a block; None if it must be computed. A damaged block is deleted.

        A block that does not exist costs a bucket one request.
        """
        found, path = False, _block_path(shelf, key, index)

        def load(data: bytes) -> np.ndarray | None:
            nonlocal found
            found = True
            return load_array(data, path)

        array = self.files.read_checked(path, load)
        if array is None and found:
            self.discard_block(key, index, shelf=shelf)
        return array

    def discard_block(self, key: str, index: int, *, shelf: Shelf = "streams") -> None:
        """Delete a block if it exists, so that it is computed again."""
        self.files.delete([_block_path(shelf, key, index)])

    def _checkpoints(self, key: str, name: str) -> list[tuple[int, Entry]]:
        """Number and entry of every checkpoint with a name, oldest first."""
        folder = self.files.scratch_folder(key)
        # <owner>/<name>.<number> in a folder, <name>.<number>.<owner> in a bucket
        pattern = re.compile(rf"(?:[^/]+/)?{re.escape(checked_name(name))}\.([0-9]{{6,}})(?:\..*)?")
        matches = (
            (pattern.fullmatch(entry.path.removeprefix(folder)), entry)
            for entry in self.files.list(folder)
        )
        checkpoints = [(int(match[1]), entry) for match, entry in matches if match]
        return sorted(checkpoints, key=lambda each: (each[0], each[1].modified, each[1].path))


def existing_store(location: str, resources: ResourcesConfig) -> Store:
    """Open the existing store of a run, in a folder or at a URL.

    Raises:
        UsageError: The folder does not exist.
        StoreError: The bucket does not exist.
    """
    location = str(checked_location(location))
    if "://" not in location and not Path(location).is_dir():
        raise UsageError(
            f"--store must be the store of the run, got {location}, which does not exist"
        )
    opened = open_store(location, resources)
    if opened.files.is_far:
        opened.claims.read()  # raises if the bucket does not exist
    return opened


def open_store(location: Path | str, resources: ResourcesConfig | None = None) -> Store:
    """Open the store in a folder or at the URL of a bucket.

    Args:
        location: A folder, or s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.
        resources: Provides the lease of this process's claims, and the cache for a bucket.

    Raises:
        UsageError: The URL is not a bucket URL, or the bucket's region is unknown.
    """
    resources = resources or ResourcesConfig()
    location = checked_location(location)
    is_bucket = "://" in str(location)
    return Store(
        open_bucket(str(location), resources) if is_bucket else Folder(Path(location).absolute()),
        lease_seconds=resources.lease_seconds,
        outage_seconds=resources.outage_seconds,
    )


def checked_location(location: Path | str) -> Path | str:
    """Return a folder, in which ~ is the user's home, or a URL; raises UsageError for another word.

    Whether the URL is that of a bucket is for open_bucket to check.
    """
    text = str(location)
    if LIKE_URL.match(text):
        if "://" not in text:
            raise UsageError(f"--store must have two slashes in a URL, got {shown(text)}")
        return text
    return findable_path("--store", text)


def seal(data: bytes) -> bytes:
    """Prefix the data with a tag and their SHA-256."""
    return SEAL + hashlib.sha256(data).digest() + data


def unseal(sealed: bytes) -> bytes | None:
    """The data, or None if they do not match their SHA-256."""
    start = len(SEAL) + hashlib.sha256().digest_size
    data = memoryview(sealed)[start:]
    whole = sealed[:start] == SEAL + hashlib.sha256(data).digest()
    return bytes(data) if whole else None


def _make(files: Files, lease_seconds: float, outage_seconds: float, silences: Silences) -> Store:
    store = Store(files, lease_seconds=lease_seconds, outage_seconds=outage_seconds)
    store.claims.inherit(silences)
    return store


def sheet_path(metrics_path: str) -> str:
    """Path of the PNG of the nearest training images, beside the metrics."""
    return metrics_path.removesuffix(".json") + ".png"


def _note_path(name: str) -> str:
    return f"sweeps/{checked_name(name)}.json"


def _block_path(shelf: Shelf, key: str, index: int) -> str:
    return f"{shelf}/{checked_name(key)}/{index:06d}.safetensors"
