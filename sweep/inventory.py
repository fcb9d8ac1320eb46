"""What lies in a store, item by item: for cleaning up. Must not know what an item is for."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweep.bucket import Bucket, Entry
from sweep.files import explained
from sweep.leases import file_system_time

Kind = Literal[
    "node", "dataset", "streams", "features", "selections", "scratch", "damaged", "remains"
]
"""`damaged` was set aside, `remains` are unfinished files of a process that died."""

BLOCKS: tuple[Kind, ...] = ("streams", "features", "selections")
OLD_SECONDS = 3600.0
"""Age from which an unfinished file counts as one that nobody will finish."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """Something in a store that can be deleted whole."""

    kind: Kind
    key: str
    size: int
    """Bytes."""
    age_seconds: float
    """Since something in it last changed, by the store's clock."""
    paths: tuple[str, ...]
    """Where it is, below the store's root."""


def is_unfinished(name: str) -> bool:
    """Whether a file's name is that of one that is being written, or was when its writer died."""
    return re.fullmatch(r"\..*\.tmp", name) is not None


def folder_items(root: Path) -> list[Item]:
    """All items of a store in a folder."""
    with explained(root):
        return list(_folder_items(root)) if root.is_dir() else []


def delete_from_folder(root: Path, item: Item) -> None:
    """Delete an item of a store in a folder; what is gone already is no error."""
    for name in item.paths:
        path = root / name
        with explained(path):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def bucket_items(bucket: Bucket) -> list[Item]:
    """All items of a store in a bucket."""
    found: dict[tuple[Kind, str], list[Entry]] = {}
    now = bucket.now()
    named = set()
    files: dict[tuple[str, str], list[Entry]] = {}
    for entry in bucket.list(""):
        parts = entry.path.split("/")
        if len(parts) < (3 if parts[0] in ("records", "files") else 2):
            continue  # none of ours
        if parts[0] == "records" and entry.size:
            named.add((parts[1], parts[2].removesuffix(".json")))
            files.setdefault((parts[1], parts[2].removesuffix(".json")), []).append(entry)
        elif parts[0] == "files":
            files.setdefault((parts[1], parts[2]), []).append(entry)
        elif parts[0] == "metrics":
            files.setdefault(("nodes", parts[1]), []).append(entry)
        elif parts[0] in ("streams", "features", "selections", "scratch"):
            found.setdefault((_kind(parts[0]), parts[1]), []).append(entry)
        elif parts[0] == "corrupt":
            found.setdefault(("damaged", parts[-1]), []).append(entry)
        elif parts[0] == "clock":
            found.setdefault(("remains", parts[0]), []).append(entry)
    for (shelf, key), entries in files.items():
        if (shelf, key) in named:
            found["node" if shelf == "nodes" else "dataset", key] = entries
        else:
            found["remains", key] = entries
    return [
        Item(
            kind=kind,
            key=key,
            size=sum(entry.size for entry in entries),
            age_seconds=now - max(entry.modified for entry in entries),
            paths=tuple(entry.path for entry in entries),
        )
        for (kind, key), entries in found.items()
    ]


def _kind(folder: str) -> Kind:
    return next(kind for kind in (*BLOCKS, "scratch") if kind == folder)


def _folder_items(root: Path) -> Iterator[Item]:
    now = file_system_time(root)

    def item(kind: Kind, path: Path) -> Item:
        sizes, times = _measure(path)
        return Item(
            kind=kind,
            key=path.name.lstrip("."),
            size=sum(sizes),
            age_seconds=now - max(times, default=0.0),
            paths=(str(path.relative_to(root)),),
        )

    shelves: tuple[tuple[str, Kind, str], ...] = (
        ("generations", "node", "record.json"),
        ("datasets", "dataset", "card.json"),
    )
    for folder, kind, index in shelves:
        for path in _entries(root / folder):
            yield item(kind if (path / index).exists() else "remains", path)
    for kind in BLOCKS:
        for path in _entries(root / kind):
            yield item(kind, path)
    for path in _entries(root / "work"):
        damaged = path.name.startswith("corrupt-")
        yield item("damaged" if damaged else "scratch", path)
    for path in _unfinished(root):
        yield item("remains", path)


def _unfinished(root: Path) -> Iterator[Path]:
    """Files that were being written, which all have such names."""
    for folder, _, names in os.walk(root):
        for name in names:
            if is_unfinished(name):
                yield Path(folder) / name


def _entries(folder: Path) -> Iterable[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def _measure(path: Path) -> tuple[list[int], list[float]]:
    """Sizes and times of the files at or below a path; what vanishes meanwhile is left out."""
    names = [Path(folder) / name for folder, _, files in os.walk(path) for name in files]
    sizes, times = [], []
    for file in [path, *names]:
        with suppress(OSError):
            status = file.stat()
            times.append(status.st_mtime)
            if not file.is_dir():
                sizes.append(status.st_size)
    return sizes, times
