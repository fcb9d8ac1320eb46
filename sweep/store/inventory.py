"""Which of a store's files are ours, and to which item each belongs, for cleaning up.

A file is ours if its whole path has the form that this package writes. Any other file below a store
is foreign: it is never deleted.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sweep.store.folder import RECORDS, Entry, is_unfinished

ItemKind = Literal[
    "node",
    "dataset",
    "streams",
    "features",
    "selections",
    "scratch",
    "damaged",
    "remains",
    "foreign",
]
"""`damaged` items were set aside; `remains` are unfinished files of a process that died."""

FOLDERS = ("generations", "datasets", "streams", "features", "selections", "work")
"""Top-level folders of a store in a folder that hold items."""
BUCKET_FOLDERS = ("records", "files", "metrics", "scratch", "corrupt", "clock")
"""Further ones of a bucket."""
OTHER_FOLDERS = ("claims", "sweeps", "lineages")
"""Folders that hold no items, but perhaps unfinished files."""

_NODE_KEY, _DATASET_KEY = "[0-9a-f]{64}", "[0-9a-f]{16}"
_KEY = f"(?:{_NODE_KEY}|{_DATASET_KEY}|run-[0-9a-f]{{32}}(?:-[0-9a-f]{{8}})?)"
_NODE = r"(?:record\.json|config\.json|pool\.json|curves\.npz|preview\.png|model\.safetensors)"
_DATASET = r"(?:card\.json|images\.npy|arrays\.npz|preview\.png)"
_SPEC = r"[0-9a-f]{16}\.(?:json|png)"
_BLOCK = r"[0-9]{6,}\.safetensors"
_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"
_STATE = rf"{_NAME}\.[0-9]{{6,}}"
_OWNER = f"{_NAME}-[0-9]+-[0-9a-f]{{8}}"
_ASIDE = f"(?:{_NODE_KEY}|{_DATASET_KEY})-[0-9a-f]{{8}}"

LAYOUT: tuple[tuple[ItemKind, str], ...] = (
    ("node", f"generations/({_NODE_KEY})/(?:{_NODE}|metrics/{_SPEC})"),
    ("node", rf"records/nodes/({_NODE_KEY})\.json"),
    ("node", f"files/nodes/({_NODE_KEY})/[0-9a-f]{{16}}-{_NODE}"),
    ("node", f"metrics/({_NODE_KEY})/{_SPEC}"),
    ("dataset", f"datasets/({_DATASET_KEY})/(?:{_DATASET}|metrics/{_SPEC})"),
    ("dataset", rf"records/datasets/({_DATASET_KEY})\.json"),
    ("dataset", f"files/datasets/({_DATASET_KEY})/[0-9a-f]{{16}}-{_DATASET}"),
    ("dataset", f"metrics/({_DATASET_KEY})/{_SPEC}"),
    ("streams", f"streams/({_NODE_KEY})/{_BLOCK}"),
    ("features", f"features/({_NODE_KEY})/{_BLOCK}"),
    ("selections", f"selections/({_NODE_KEY})/{_BLOCK}"),
    ("scratch", f"work/({_KEY})/{_OWNER}/(?:{_STATE}|publish-[0-9a-f]{{8}}/{_NAME})"),
    ("scratch", rf"work/({_KEY})/(?:claim|progress)\.json"),  # of earlier versions
    ("scratch", rf"scratch/({_KEY})/{_STATE}\.{_OWNER}"),
    ("damaged", f"work/(corrupt-{_ASIDE})/(?:{_NODE}|{_DATASET}|metrics/{_SPEC})"),
    ("damaged", rf"corrupt/(?:nodes|datasets)/({_ASIDE})\.json"),
    ("remains", "(clock)/[0-9a-f]{32}"),
)
"""The form of the path of each file of an item, relative to the store. Its group is the key."""
_LAYOUT = [(kind, re.compile(form)) for kind, form in LAYOUT]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A group of files in a store that are deleted together, or all that are foreign."""

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
        item = item_of(entry.path)
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


def item_of(path: str) -> tuple[ItemKind, str] | None:
    """Kind and key of the item that contains a file; None if it is in no folder of items."""
    for kind, form in _LAYOUT:
        if match := form.fullmatch(path):
            return kind, match[1]
    folder, _, name = path.rpartition("/")
    top = folder.partition("/")[0]
    if is_unfinished(name) and top in ("", *FOLDERS, *BUCKET_FOLDERS, *OTHER_FOLDERS):
        return "remains", name.lstrip(".")
    return ("foreign", "") if folder and top in (*FOLDERS, *BUCKET_FOLDERS) else None


def _is_record(entry: Entry) -> bool:
    """Whether a file is the record that publishes a node or data set."""
    parts = entry.path.split("/")
    if not entry.size or len(parts) != 3:
        return False
    return parts[0] == "records" or (
        parts[0] in ("generations", "datasets") and parts[2] in RECORDS.values()
    )
