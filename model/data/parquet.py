"""Parquet files of encoded images and their classes, as Hugging Face's data sets have them.

They are read by pyarrow (extra `parquet`), without the network; images are decoded as those of
image files. pyarrow is imported by the functions that need it.
"""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.config import DataConfig
from model.data.columns import chosen_image_column, chosen_label_column, classes_of, decode_cell
from model.data.reading import PARQUET, Contents, collect_pixels, decoding, need_package
from model.data.splits import SPLIT_NAMES, check_split
from model.errors import MissingFileError, UsageError, check_regular, printable, shown, user_path

INSTALL = "install it with: pip install 'collapse-sweep[parquet]'"
WHOLE = "a whole Parquet file"
ROWS = 64
"""Number of images that are read from a file at once."""
LABEL = "label"
"""Column of classes of files that do not tell which one it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """The files of a data set in the order of their splits, and the columns that are read."""

    root: Path
    files: list[Path]
    others: list[Path]
    """Files that are not read."""
    parts: list[int] | None
    """The official split of each file; None if there is only one."""
    sizes: list[int]
    """Number of rows of each file."""
    image: str
    label: str | None
    class_names: tuple[str, ...] | None
    """Names of the classes that the labels number; None if labels are any numbers or words."""
    unread: list[str]
    """Columns that are not read."""


def describe_parquet(config: DataConfig) -> Contents:
    """Contents of Parquet files: all but the pixels. They are grey if the first image is."""
    return _contents(_open(config), config)


def load_parquet(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Images of Parquet files, centre-cropped and resized; transparency is dropped."""
    table = _open(config)
    contents = _contents(table, config)

    def images() -> Iterator[np.ndarray]:
        for file in table.files:
            for i, cell in enumerate(_cells(file, table.image)):
                yield decode_cell(cell, _name(file, i), contents.channels, contents.seen)

    pixels = collect_pixels(images(), contents, config)
    contents.seen.warn("data.path")
    return pixels, contents


def parquet_files(config: DataConfig) -> list[Path]:
    """The .parquet files of a data set, sorted by name."""
    if config.path is None:
        raise UsageError("data.path must be set for data.name=parquet, got None")
    root = user_path("data.path", config.path)
    if not root.exists():
        raise MissingFileError(
            f"data.path must be an existing .parquet file or a folder of them, got "
            f"{shown(config.path)}"
        )
    files = [root] if root.is_file() else sorted(_visible(root, PARQUET))
    if not files:
        raise UsageError(
            f"data.path must hold files ending in {PARQUET}, got none in {shown(config.path)}"
        )
    for file in files:
        check_regular(file)
    return files


def _visible(root: Path, suffix: str = "") -> Iterator[Path]:
    """The files below a folder that are not hidden, with a suffix."""
    for path in root.rglob(f"*{suffix}"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not hidden and not path.is_dir():
            yield path


def _open(config: DataConfig) -> _Table:
    need_package("pyarrow", "pyarrow", config, install=INSTALL)
    files = parquet_files(config)
    root = user_path("data.path", config.path or "")
    parts = _parts(files, root)
    if parts is not None:
        order = sorted(range(len(files)), key=lambda i: (parts[i], files[i]))
        files, parts = [files[i] for i in order], [parts[i] for i in order]
    check_split(config, () if parts is None else sorted(set(parts)))
    heads = [_head(file) for file in files]
    schema = heads[0][0]
    features = _features(schema)
    columns = [name for name in schema.names if _holds_images(schema.field(name).type)]
    typed = [name for name in columns if features.get(name, {}).get("_type") == "Image"]
    named = [n for n in schema.names if features.get(n, {}).get("_type") == "ClassLabel"]
    plain = [name for name in schema.names if _holds_classes(schema.field(name).type)]
    image = chosen_image_column(typed or columns, schema.names, config)
    label = chosen_label_column(named, plain, config)
    if label is None and LABEL in plain:
        label = LABEL
    used = [image, *([] if label is None else [label])]
    names = features.get(label or "", {}).get("names")
    for (other, _), file in zip(heads, files, strict=True):
        for column in used:
            if column not in other.names or other.field(column).type != schema.field(column).type:
                raise UsageError(
                    f"data.path must have the same column {column!r} in all files, got another in "
                    f"{file}"
                )
    others = [] if root.is_file() else sorted(set(_visible(root)) - set(files))
    if others:
        warnings.warn(
            f"data.path has files that are not read: {len(others):,}, the first is "
            f"{printable(str(others[0].relative_to(root)))}; those ending in {PARQUET} are read",
            stacklevel=1,
        )
    return _Table(
        root=root,
        files=files,
        others=others,
        parts=parts,
        sizes=[rows for _, rows in heads],
        image=image,
        label=label,
        class_names=tuple(map(str, names)) if label in named else None,
        unread=[name for name in schema.names if name not in used],
    )


def _parts(files: list[Path], root: Path) -> list[int] | None:
    """The official split that the name of each file, or of its folder, contains.

    None if no name contains one, or all the same one.

    Raises:
        UsageError: Only some names contain a split, or the files lie in several folders that are
            not called as splits.
    """
    if root.is_file():
        return None
    parts = [_part(file.stem, file.parent.name if file.parent != root else "") for file in files]
    folders = {file.parent for file in files if file.parent.name.lower() not in SPLIT_NAMES}
    if len(folders) > 1:
        names = sorted(str(folder.relative_to(root)) for folder in folders)
        raise UsageError(
            f"data.path must have its {PARQUET} files in one folder, or in folders called train, "
            f"validation and test, got {shown(names)}; set it to one of these"
        )
    found = {part for part in parts if part is not None}
    if len(set(parts)) == 1:
        return None
    if None in parts:
        without = files[parts.index(None)].relative_to(root)
        raise UsageError(
            f"data.path must have a split in the name of every file or of none, got "
            f"{shown(str(without))} beside files of {len(found)} splits; rename or move it"
        )
    return [part for part in parts if part is not None]


def _part(stem: str, folder: str) -> int | None:
    """The split that a file belongs to, by a word of its name, or the name of its folder."""
    if folder.lower() in SPLIT_NAMES:
        return SPLIT_NAMES[folder.lower()]
    found = {SPLIT_NAMES[w] for w in re.split(r"[-_. ]+", stem.lower()) if w in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


def _head(file: Path) -> tuple[Any, int]:
    """The schema and the number of rows of a file."""
    import pyarrow.parquet as pq

    with decoding(file, WHOLE), pq.ParquetFile(file) as opened:
        return opened.schema_arrow, opened.metadata.num_rows


def _features(schema: Any) -> dict[str, Any]:
    """What Hugging Face's package tells of each column; empty for files of other programs."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return {name: each for name, each in features.items() if isinstance(each, dict)}
    return {}


def _holds_images(kind: Any) -> bool:
    """Whether a column contains encoded images: bytes, or a struct with a field of bytes."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(f.name == "bytes" and _holds_images(f.type) for f in kind.fields)
    return types.is_binary(kind) or types.is_large_binary(kind)


def _holds_classes(kind: Any) -> bool:
    from pyarrow import types

    tests = (types.is_integer, types.is_string, types.is_large_string, types.is_boolean)
    return any(test(kind) for test in tests)


def _contents(table: _Table, config: DataConfig) -> Contents:
    if not any(table.sizes):
        raise UsageError(f"data.path must hold images, got none in {shown(config.path)}")
    first = next(file for file, size in zip(table.files, table.sizes, strict=True) if size)
    channels = decode_cell(next(_cells(first, table.image)), _name(first, 0)).shape[2]
    labels, names = None, ()
    if table.label is not None:
        values = [v for file in table.files for v in _cells(file, table.label)]
        labels, names = classes_of(values, table.class_names, f"{table.label} of {config.path}")
    contents = Contents(
        num_images=sum(table.sizes),
        channels=channels,
        labels=labels,
        class_names=names,
        parts=None if table.parts is None else np.repeat(table.parts, table.sizes),
    )
    for column in table.unread:
        contents.seen.skip("columns", column)
    for file in table.others:
        contents.seen.skip("files", str(file))
    return contents


def _name(file: Path, number: int) -> str:
    return f"image {number} (from 0) of {file}"


def _cells(file: Path, column: str) -> Iterator[Any]:
    """The values of a column."""
    import pyarrow.parquet as pq

    with decoding(file, WHOLE), pq.ParquetFile(file) as opened:
        for batch in opened.iter_batches(ROWS, columns=[column]):
            batch.validate(full=True)
            yield from batch.column(0).to_pylist()
