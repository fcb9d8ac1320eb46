"""The store: finished nodes, data sets, sample streams, and the scratch of unfinished ones, by key.

    <root>/generations/<key>/      one node, done exactly when record.json is in it
    <root>/datasets/<key>/         one prepared data set, published the same way
    <root>/streams/<stream>/       immutable blocks of images
    <root>/features/<key>/         immutable blocks of features of images
    <root>/selections/<key>/       which of its candidates a filter keeps, and their scores
    <root>/sweeps/<key>.json       what a sweep asks for whose results folder is elsewhere
    <root>/work/<key>/             the claim, and one folder of scratch per owner

Store is what the rest of sweep uses; LocalStore keeps it in a folder that machines may share, as
above, sweep.object_store in a bucket. Must not know how a key is made, what an image shows, or Ray.
"""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from sweep import claims, scratch
from sweep.arrays import dump_array, load_array
from sweep.claims import Claim, ClaimInfo
from sweep.files import (
    CorruptError,
    Shelf,
    check_folder,
    checked_name,
    create_file,
    explained,
    owner_id,
)
from sweep.inventory import Item, delete_from_folder, folder_items
from sweep.records import (
    DatasetCard,
    MetricsRecord,
    NodeRecord,
    RecordError,
    SweepRecord,
    read_json,
)

BlockShelf = Literal["streams", "features", "selections"]


class Store(Protocol):
    """What a sweep asks of its store. Every method may raise StoreError where the disk refuses.

    Files of nodes and data sets, blocks and scratch are checked when read. Of several processes
    that publish under one key the first wins; the others get False and read what the first wrote.
    """

    def has_node(self, key: str) -> bool:
        """Whether a node is done."""
        ...

    def done_nodes(self, keys: Collection[str]) -> set[str]:
        """Those of so many keys whose nodes are done."""
        ...

    def read_node(self, key: str) -> NodeRecord:
        """The record of a done node.

        Raises:
            FileNotFoundError: The node is not done.
            CorruptError: Its record is damaged, or another node's.
        """
        ...

    def read_file(self, key: str, name: str) -> bytes:
        """A file of a done node; CorruptError where it does not have the record's SHA-256."""
        ...

    def publish_node(self, key: str, files: Mapping[str, bytes], record: NodeRecord) -> bool:
        """Publish a node whole, filling record.files; False where another process was first."""
        ...

    def verify_node(self, key: str) -> list[str]:
        """Names of a node's damaged or missing files; empty for a whole node."""
        ...

    def quarantine_node(self, key: str) -> bool:
        """Move a damaged node away, to be computed again; False where it is whole or gone."""
        ...

    def has_dataset(self, key: str) -> bool:
        """Whether a data set was prepared."""
        ...

    def read_card(self, key: str) -> DatasetCard:
        """The card of a prepared data set; errors as read_node."""
        ...

    def read_dataset_file(self, key: str, name: str) -> bytes:
        """A file of a prepared data set; errors as read_file."""
        ...

    def locate_dataset_file(self, key: str, name: str) -> Path:
        """Where on this machine a file of a data set lies, checked; errors as read_file."""
        ...

    def publish_dataset(
        self, key: str, files: Mapping[str, bytes | memoryview], card: DatasetCard
    ) -> bool:
        """Publish a data set whole, filling card.files; False where another process was first."""
        ...

    def verify_dataset(self, key: str) -> list[str]:
        """Names of a data set's damaged or missing files; empty for a whole one."""
        ...

    def quarantine_dataset(self, key: str) -> bool:
        """Move a damaged data set away; False where it is whole or gone."""
        ...

    def write_metrics(self, key: str, spec: str, record: MetricsRecord) -> None:
        """Keep a done node's numbers under one metric specification, replacing older ones."""
        ...

    def read_metrics(self, key: str, spec: str) -> MetricsRecord | None:
        """A node's numbers under a metric specification, or None where it was not evaluated."""
        ...

    def note_sweep(self, key: str, record: SweepRecord) -> None:
        """Keep what a sweep asks for, replacing what was noted under the key."""
        ...

    def read_sweeps(self) -> dict[str, SweepRecord]:
        """Every sweep that was noted, by key."""
        ...

    def claim(self, key: str, *, owner: str | None = None) -> Claim | None:
        """Claim a key, or None while a live process holds it.

        Look again whether the node is done after claiming: its last holder may just have finished.
        """
        ...

    def read_claims(self) -> dict[str, ClaimInfo]:
        """Every claim by key, dead ones included."""
        ...

    def save_scratch(self, key: str, name: str, data: bytes) -> None:
        """Keep a training checkpoint of a node; the newest two remain."""
        ...

    def load_scratch(self, key: str, name: str) -> bytes | None:
        """The newest whole checkpoint that any owner left, or None."""
        ...

    def drop_scratch(self, key: str) -> None:
        """Delete all scratch of a node, whoever wrote it; its claim stays."""
        ...

    def has_file(self, key: str, name: str) -> bool:
        """Whether a file of a node is there (a copied folder may lack weights)."""
        ...

    def has_block(self, stream: str, index: int, *, shelf: BlockShelf = "streams") -> bool:
        """Whether a block of a stream was written."""
        ...

    def write_block(
        self, stream: str, index: int, images: np.ndarray, *, shelf: BlockShelf = "streams"
    ) -> bool:
        """Write a block, an array of any shape and dtype; False where it is there: it stays."""
        ...

    def read_block(self, stream: str, index: int, *, shelf: BlockShelf = "streams") -> np.ndarray:
        """Read a block.

        Raises:
            FileNotFoundError: It was not written.
            CorruptError: It is not what was written; discard_block, then compute it again.
        """
        ...

    def discard_block(self, stream: str, index: int, *, shelf: BlockShelf = "streams") -> None:
        """Delete a block, if it is there, so that it is computed again."""
        ...

    def free_bytes(self) -> int | None:
        """Room left in bytes; None where nothing limits it but its price."""
        ...

    def items(self) -> list[Item]:
        """All that lies in it, for cleaning up."""
        ...

    def delete_item(self, item: Item) -> None:
        """Delete an item; what is gone already is no error."""
        ...

    def check(self) -> None:
        """Raise ValueError, naming --store, unless it can be written to."""
        ...

    @property
    def place(self) -> str:
        """Where it is: a folder, or a URL."""
        ...


class LocalStore:
    """A Store in a folder, on a local disk or NFS; as many processes and machines as like share it.

    Cheap to make and to pickle: it holds no open files and writes nothing until asked to.
    """

    def __init__(self, root: Path | str, *, ttl_seconds: float = 60.0) -> None:
        """Use a folder as store; a claim without heartbeat for `ttl_seconds` is free."""
        self.root = Path(root).absolute()
        self.ttl_seconds = ttl_seconds
        self._nodes = Shelf(self.root, "generations", "record.json", NodeRecord)
        self._datasets = Shelf(self.root, "datasets", "card.json", DatasetCard)
        self._work = self.root / "work"

    def has_node(self, key: str) -> bool:
        """See Store."""
        return self._nodes.has(key)

    def done_nodes(self, keys: Collection[str]) -> set[str]:
        """See Store."""
        return {key for key in keys if self._nodes.has(key)}

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
        """See Store; what was damaged is kept in work/corrupt-<key>-.../."""
        return self._nodes.set_damaged_aside(key)

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
        """See Store."""
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
        """See Store; what was damaged is kept in work/corrupt-<key>-.../."""
        return self._datasets.set_damaged_aside(key)

    def write_metrics(self, key: str, spec: str, record: MetricsRecord) -> None:
        """See Store."""
        path = self._metrics_path(key, spec)
        if not self.has_node(key):
            raise FileNotFoundError(
                f"{path} must belong to a done node, got {key!r}; train it first"
            )
        with explained(path):
            record.save(path)

    def read_metrics(self, key: str, spec: str) -> MetricsRecord | None:
        """See Store."""
        path = self._metrics_path(key, spec)
        with explained(path):
            if not path.exists():
                return None
        try:
            data = read_json(path)
        except RecordError as error:
            raise CorruptError(str(error)) from None
        return MetricsRecord.of_json(data, path)

    def note_sweep(self, key: str, record: SweepRecord) -> None:
        """See Store."""
        path = self.root / "sweeps" / f"{checked_name(key)}.json"
        with explained(path):
            record.save(path)

    def read_sweeps(self) -> dict[str, SweepRecord]:
        """See Store."""
        paths = sorted((self.root / "sweeps").glob("*.json"))
        return {path.stem: SweepRecord.load(path) for path in paths}

    def claim(self, key: str, *, owner: str | None = None) -> Claim | None:
        """See Store."""
        return claims.acquire(
            self._work / checked_name(key), owner or owner_id(), ttl_seconds=self.ttl_seconds
        )

    def read_claims(self) -> dict[str, ClaimInfo]:
        """See Store."""
        return claims.read_claims(self._work, ttl_seconds=self.ttl_seconds)

    def save_scratch(self, key: str, name: str, data: bytes) -> None:
        """See Store."""
        scratch.save(self._work / checked_name(key), name, data=data, owner=owner_id())

    def load_scratch(self, key: str, name: str) -> bytes | None:
        """See Store; damaged checkpoints on the way are deleted."""
        return scratch.load(self._work / checked_name(key), name)

    def drop_scratch(self, key: str) -> None:
        """See Store."""
        scratch.drop(self._work / checked_name(key))

    def has_file(self, key: str, name: str) -> bool:
        """See Store."""
        with explained(path := self._nodes.path(key) / checked_name(name)):
            return path.exists()

    def has_block(self, stream: str, index: int, *, shelf: BlockShelf = "streams") -> bool:
        """See Store."""
        with explained(path := self._block_path(shelf, stream, index)):
            return path.exists()

    def write_block(
        self, stream: str, index: int, images: np.ndarray, *, shelf: BlockShelf = "streams"
    ) -> bool:
        """See Store."""
        path = self._block_path(shelf, stream, index)
        if self.has_block(stream, index, shelf=shelf):
            return False
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return create_file(path, dump_array(images))

    def read_block(self, stream: str, index: int, *, shelf: BlockShelf = "streams") -> np.ndarray:
        """See Store."""
        path = self._block_path(shelf, stream, index)
        if not self.has_block(stream, index, shelf=shelf):
            raise FileNotFoundError(f"{path} must exist, got no such block; sample it again")
        with explained(path):
            data = path.read_bytes()
        images = load_array(data)
        if images is None:
            raise CorruptError(
                f"{path} must hold the images it was written with, got {len(data)} damaged bytes; "
                "delete it and run the same sweep command again"
            )
        return images

    def discard_block(self, stream: str, index: int, *, shelf: BlockShelf = "streams") -> None:
        """See Store."""
        with explained(path := self._block_path(shelf, stream, index)):
            path.unlink(missing_ok=True)

    def items(self) -> list[Item]:
        """See Store."""
        return folder_items(self.root)

    def delete_item(self, item: Item) -> None:
        """See Store."""
        delete_from_folder(self.root, item)

    def check(self) -> None:
        """See Store."""
        check_folder(self.root, "--store")

    @property
    def place(self) -> str:
        """See Store."""
        return str(self.root)

    def free_bytes(self) -> int | None:
        """See Store."""
        folder = next(path for path in (self.root, *self.root.parents) if path.exists())
        with explained(folder):
            return shutil.disk_usage(folder).free

    def _metrics_path(self, key: str, spec: str) -> Path:
        return self._nodes.path(key) / "metrics" / f"{checked_name(spec)}.json"

    def _block_path(self, shelf: BlockShelf, stream: str, index: int) -> Path:
        return self.root / shelf / checked_name(stream) / f"{index:06d}.safetensors"
