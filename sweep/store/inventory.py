"""Groups a store's files into items, for cleaning up."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sweep.store.folder import RECORDS, Entry, is_unfinished

ItemKind = Literal[
    "node", "dataset", "streams", "features", "selections", "scratch", "damaged", "remains"
]
"""`damaged` items were set aside; `remains` are unfinished files of a process that died."""

FOLDERS: dict[str, ItemKind] = {
    "generations": "node",
    "datasets": "dataset",
    "streams": "streams",
    "features": "features",
    "selections": "selections",
    "work": "scratch",
}
"""Kind of the items in each top-level folder of a store in a folder."""

ALL_FOLDERS: dict[str, ItemKind] = FOLDERS | {"metrics": "node", "scratch": "scratch"}
"""Kind of the items in each top-level folder of a store of either kind."""

BY_RECORD: dict[str, ItemKind] = {"nodes": "node", "datasets": "dataset"}
"""Kind of the items in each subfolder of a bucket's records/ and files/."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A group of files in a store that are deleted together."""

    kind: ItemKind
    key: str
    size: int
    """Bytes."""
    age_seconds: float
    """Time since any of its files last changed, by the store's clock."""
    paths: tuple[str, ...]
    """Its files relative to the store's root, the record first."""


def items_of(entries: Iterable[Entry], now: float) -> list[Item]:
    """Group a store's files into items."""
    groups: dict[tuple[ItemKind, str], list[Entry]] = {}
    for entry in entries:
        item = _item_of(entry.path)
        if item is not None:
            groups.setdefault(item, []).append(entry)
    items = []
    for (kind, key), files in groups.items():
        published = any(_is_record(entry) for entry in files)
        unnamed = kind in ("node", "dataset") and not published
        items.append(
            Item(
                kind="remains" if unnamed else kind,
                key=key,
                size=sum(entry.size for entry in files),
                age_seconds=now - max(entry.modified for entry in files),
                paths=tuple(e.path for e in sorted(files, key=lambda e: not _is_record(e))),
            )
        )
    return items


def _item_of(path: str) -> tuple[ItemKind, str] | None:
    """Kind and key of the item that contains a file; None if there is none."""
    top, *below = path.split("/")
    if is_unfinished(path.rpartition("/")[2]):
        return "remains", path.rpartition("/")[2].lstrip(".")
    if top == "clock":
        return "remains", top
    if len(below) < 2:
        return None
    if top in ("records", "files"):
        kind = BY_RECORD.get(below[0])
        return None if kind is None else (kind, below[1].removesuffix(".json"))
    if top == "work" and below[0].startswith("corrupt-"):
        return "damaged", below[0]
    if top == "corrupt":
        return "damaged", below[1]
    return (ALL_FOLDERS[top], below[0]) if top in ALL_FOLDERS else None


def _is_record(entry: Entry) -> bool:
    """Whether a file is the record that publishes a node or data set."""
    parts = entry.path.split("/")
    if not entry.size or len(parts) != 3:
        return False
    return parts[0] == "records" or (
        parts[0] in ("generations", "datasets") and parts[2] in RECORDS.values()
    )
