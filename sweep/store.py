"""What a sweep asks of its store: finished nodes, data sets, blocks and scratch, by key.

sweep.local_store keeps it in a folder that machines may share, sweep.object_store in a bucket. Must
not know how a key is made, what an image shows, or Ray.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from sweep.claims import Claim, ClaimInfo
from sweep.inventory import Item
from sweep.records import (
    DatasetCard,
    MetricsRecord,
    NodeRecord,
    SweepRecord,
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

    def note_sweep(self, name: str, record: SweepRecord) -> None:
        """Keep what a run of a sweep asks for, replacing what was noted under the name."""
        ...

    def list_sweeps(self) -> list[str]:
        """Names of all notes."""
        ...

    def read_sweep(self, name: str) -> SweepRecord:
        """A note; raises RecordError where it is damaged."""
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
        """Raise UsageError, naming --store, unless it can be written to."""
        ...

    @property
    def place(self) -> str:
        """Where it is: a folder, or a URL."""
        ...
