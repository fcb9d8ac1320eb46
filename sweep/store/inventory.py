"""What lies in a store, item by item, for cleaning up."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sweep.store.folder import RECORDS, Entry, is_unfinished

ItemKind = Literal[
    "node", "dataset", "streams", "features", "selections", "scratch", "damaged", "remains"
]
"""`damaged` was set aside, `remains` are unfinished files of a process that died."""

FOLDERS: dict[str, ItemKind] = {
    "generations": "node",
    "datasets": "dataset",
    "streams": "streams",
    "features": "features",
    "selections": "selections",
    "work": "scratch",
    "metrics": "node",
    "scratch": "scratch",
}
"""Topmost folders with what lies in them, in a folder and in a bucket."""

BY_RECORD: dict[str, ItemKind] = {"nodes": "node", "datasets": "dataset"}
"""Kinds of a bucket's folders records/ and files/."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """Something in a store that can be deleted whole."""

    kind: ItemKind
    key: str
    size: int
    """Bytes."""
    age_seconds: float
    """Since something in it last changed, by the store's clock."""
    paths: tuple[str, ...]
    """Its files, below the store's root, the record first."""


def items_of(entries: Iterable[Entry], now: float) -> list[Item]:
    """The items that a store's files make up."""
    found: dict[tuple[ItemKind, str], list[Entry]] = {}
    for entry in entries:
        place = _place(entry.path)
        if place is not None:
            found.setdefault(place, []).append(entry)
    items = []
    for (kind, key), files in found.items():
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


def _place(path: str) -> tuple[ItemKind, str] | None:
    """Kind and key of the item that a file belongs to; None if it belongs to none."""
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
    return (FOLDERS[top], below[0]) if top in FOLDERS else None


def _is_record(entry: Entry) -> bool:
    """Whether a file is the record that publishes a node or data set."""
    parts = entry.path.split("/")
    if not entry.size or len(parts) != 3:
        return False
    return parts[0] == "records" or (
        parts[0] in ("generations", "datasets") and parts[2] in RECORDS.values()
    )
