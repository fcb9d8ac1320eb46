"""The store in a folder, on a local disk or NFS.

    <root>/generations/<key>/      one node, done exactly when record.json is in it
    <root>/datasets/<key>/         one prepared data set, published the same way
    <root>/streams/<stream>/       immutable blocks of images
    <root>/features/<key>/         immutable blocks of features of images
    <root>/selections/<key>/       which of its candidates a filter keeps, and their scores
    <root>/sweeps/<name>.json      what runs ask for whose results folders are elsewhere
    <root>/work/<key>/             the claim, and one folder of scratch per owner

Must not know how a key is made, what an image shows, or Ray.
"""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

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
from sweep.store import BlockShelf


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
        self._work, self._sweeps = self.root / "work", self.root / "sweeps"

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

    def note_sweep(self, name: str, record: SweepRecord) -> None:
        """See Store."""
        with explained(path := self._sweeps / f"{checked_name(name)}.json"):
            record.save(path)

    def list_sweeps(self) -> list[str]:
        """See Store."""
        return sorted(path.stem for path in self._sweeps.glob("*.json"))

    def read_sweep(self, name: str) -> SweepRecord:
        """See Store."""
        return SweepRecord.load(self._sweeps / f"{checked_name(name)}.json")

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
