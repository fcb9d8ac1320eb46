"""`sweep data`: what a run would read of a data set and what not, and a sheet of its images."""

import shlex
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from model.commands.files import write_file
from model.config import DataConfig
from model.data.datasets import DATASETS, Dataset, own_files, read_dataset
from model.data.npz import read_npz_head
from model.data.own_images import IMAGE_SUFFIXES
from model.data.reading import PARQUET, Contents, Seen
from model.errors import (
    MissingFileError,
    UsageError,
    printable,
    printable_name,
    shown,
    suggestion,
    user_path,
)
from model.images import encode_png, tile, to_bytes
from sweep.estimate.sizes import format_bytes
from sweep.lineage.datasets import preview_limits

SIDE = 64
"""Default of data.image_size for images of any size: that of the paper."""
PARTS = ("train", "reference", "validation")
"""Parts of the split."""
SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")
"""Files that the package `datasets` writes into a folder that it saves."""
MOST_LINES = 40
"""Number of classes that are listed; of more, the largest and the smallest are."""
MOST_KINDS = 8
"""Number of sizes that are listed."""
COLUMNS, MOST_ROWS = 12, 100
"""Images per row of a sheet, and its largest number of rows."""
LEAST_SIDE = 32
"""Smaller images are enlarged on a sheet."""


def settings_of(source: str) -> DataConfig:
    """The settings that read a folder, a file or a known data set.

    Raises:
        UsageError: It is none of these.
    """
    if source in DATASETS:
        return DataConfig(name=source, image_size=8 if source == "digits" else SIDE)
    path = user_path("PATH", source)
    if path.is_dir():
        is_saved = any((path / name).is_file() for name in SAVED)
        suffixes = {file.suffix.lower() for file in path.rglob("*")}
        is_parquet = PARQUET in suffixes and not suffixes & set(IMAGE_SUFFIXES)
        name = "huggingface" if is_saved else "parquet" if is_parquet else "folder"
        return DataConfig(name=name, path=source, image_size=SIDE)
    if path.is_file() and path.suffix.lower() == PARQUET:
        return DataConfig(name="parquet", path=source, image_size=SIDE)
    if path.is_file() and path.suffix.lower() == ".npz":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # reading it again gives them
            head = read_npz_head(path)
        side, dtype = head.shape[-1], "uint8" if head.dtype == np.uint8 else "float32"
        return DataConfig(name="npz", path=source, image_size=side, dtype=dtype)
    rule = "PATH must be a folder, an .npz or .parquet file or the name of a data set"
    kind = UsageError if path.exists() else MissingFileError
    raise kind(f"{rule}, got {shown(source)}{suggestion(source, DATASETS)}")


def describe_data(config: DataConfig, sheet: Path | None) -> str:
    """Read a data set as a run would, say what is in it, and write a sheet of its images.

    Raises:
        UsageError, MissingFileError: As in a run, which would not start either.
    """
    if sheet is not None and (sheet.suffix.lower() != ".png" or sheet.is_dir()):
        raise UsageError(f"--sheet must be a .png file, got {shown(str(sheet))}")
    dataset, contents = read_dataset(config)
    lines = list(data_lines(config, dataset, contents))
    if sheet is not None:
        write_file(sheet, sheet_png(dataset))
        lines += ["", f"{sheet}: {_rows_of_sheet(dataset)}"]
    return "\n".join(lines)


def data_lines(config: DataConfig, dataset: Dataset, contents: Contents) -> Iterator[str]:
    """Yield the lines that describe a loaded data set."""
    (N, C, H, W), seen = dataset.images.shape, contents.seen
    yield f"settings     {shlex.join(flags_of(config))}"
    yield f"images       {N:,}, read as {H}x{W}x{C} {dataset.images.dtype}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading the images gave them
        own = own_files(config)
    if own is not None:
        size = sum(file.stat().st_size for file in own[1])
        yield f"files        {len(own[1]):,} with {format_bytes(size)}"
    for name, counts in (("formats", seen.formats), ("modes", seen.modes)):
        if counts:
            yield f"{name:13}{', '.join(f'{kind} {n:,}' for kind, n in counts.most_common())}"
    if seen.sizes:
        yield f"sizes        {_sizes(seen)} (height x width, before cropping and resizing)"
    yield from _not_read(seen)
    if contents.parts is not None:
        counts = np.bincount(contents.parts, minlength=3)
        named = zip(("train", "validation", "test"), counts, strict=True)
        yield f"official     {', '.join(f'{n:,} {part}' for part, n in named)} images"
    sizes = (f"{len(getattr(dataset, part)):,} {part}" for part in PARTS)
    yield f"split        {config.split}: {', '.join(sizes)} images"
    yield f"memory       {format_bytes(dataset.images.nbytes)}, and as much in the store"
    yield from _class_lines(dataset)


def flags_of(config: DataConfig) -> list[str]:
    """The options of `sweep run` with which it reads this data set."""
    default = DataConfig()
    words = []
    for name in (f.name for f in fields(config)):
        value = getattr(config, name)
        if name == "name" or value != getattr(default, name):
            words += [f"--data.{name.replace('_', '-')}", str(value)]
    return words


def _sizes(seen: Seen) -> str:
    common = [f"{h}x{w} {n:,}" for (h, w), n in seen.sizes.most_common(MOST_KINDS)]
    if len(common) == len(seen.sizes):
        return ", ".join(common)
    low, high = (each(seen.sizes, key=lambda size: size[0] * size[1]) for each in (min, max))
    return (
        f"{len(seen.sizes):,} different, from {low[0]}x{low[1]} to {high[0]}x{high[1]}, most often "
        f"{', '.join(common[:3])}"
    )


def _not_read(seen: Seen) -> Iterator[str]:
    """Yield a line for each kind of content that is not read, with its number and an example."""
    kinds = {
        **seen.skipped,
        "further frames of files": seen.frames,
        "EXIF orientation of files": seen.turns,
    }
    for kind, names in kinds.items():
        if names:
            yield f"not read     {kind}: {len(names):,}, for example {printable(names[0])}"


def _class_lines(dataset: Dataset) -> Iterator[str]:
    """Yield a table of the images of each class in each part of the split."""
    from tabulate import tabulate

    if dataset.labels is None:
        yield "classes      none"
        return
    parts = [dataset.class_counts(getattr(dataset, part)) or () for part in PARTS]
    total = dataset.class_counts(np.arange(len(dataset.images))) or ()
    names = map(printable_name, dataset.class_names)
    rows: list[Sequence[object]] = list(zip(names, total, *parts, strict=True))
    few, many = min(total), max(total)
    yield f"classes      {len(rows):,}, with {few:,}{f' to {many:,}' * (few < many)} images each"
    if len(rows) > MOST_LINES:
        ordered = sorted(rows, key=lambda row: -int(str(row[1])))
        half = MOST_LINES // 2
        more = (f"... {len(rows) - 2 * half:,} more ...", *[""] * (len(PARTS) + 1))
        rows = [*ordered[:half], more, *ordered[-half:]]
    yield ""
    columns, aligned = ["class", "images", *PARTS], ["left", *["right"] * (1 + len(PARTS))]
    yield tabulate(rows, columns, disable_numparse=True, colalign=aligned)


def _rows_of_sheet(dataset: Dataset) -> str:
    """What the rows of a sheet show."""
    if dataset.labels is None:
        return "training images"
    names = [printable_name(name) for name in dataset.class_names[:MOST_ROWS]]
    more = len(dataset.class_names) - len(names)
    shown_names = ", ".join(names[:MOST_LINES]) + (", ..." if len(names) > MOST_LINES else "")
    left_out = f"; {more:,} more classes are left out" if more else ""
    return f"training images, a row for each class from top to bottom ({shown_names}){left_out}"


def sheet_png(dataset: Dataset) -> bytes:
    """A PNG sheet of training images as a run would read them, with a row for each class."""
    images, train = dataset.images, dataset.train
    chosen = train[: COLUMNS * COLUMNS]
    groups = [chosen[i : i + COLUMNS] for i in range(0, len(chosen), COLUMNS)]
    if dataset.labels is not None:
        labels, shown_classes = dataset.labels[train], range(len(dataset.class_names))[:MOST_ROWS]
        groups = [train[labels == label][:COLUMNS] for label in shown_classes]
    C, H, W = dataset.shape
    cells = np.zeros((len(groups), COLUMNS, C, H, W), np.uint8)
    limits = preview_limits(dataset)
    for row, group in zip(cells, groups, strict=True):
        row[: len(group)] = to_bytes(images[group], limits=limits)
    enlarged = -(-LEAST_SIDE // W)
    cells = cells.repeat(enlarged, axis=3).repeat(enlarged, axis=4)
    framed = np.pad(cells, ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1)), constant_values=255)
    return encode_png(tile(framed.reshape(-1, *framed.shape[2:]), COLUMNS))
