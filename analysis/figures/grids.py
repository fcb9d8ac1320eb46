"""Image grids, laid out like the paper's figures 2 to 7 (arXiv 2303.01255).

There are figures of the real images and of V_1, and for each setting one figure with a block of
3 x 6 images for each of V_2 to V_G. The images are cut from the previews that the sweep wrote.
Positions and sizes are whole pixels, so that every pixel of an image is a square in a PNG.
"""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import DPI, FAINT, save_figure, styled
from analysis.reading.columns import MIXTURE, grouped, setting_axes
from analysis.reading.labels import describe_setting, file_stem
from analysis.reading.results import run_names
from analysis.reading.settings import BASE, Usual, find_usual
from model.errors import UsageError, reading
from sweep.records import LineageRecord, load_card, load_lineages

ROWS, COLUMNS = 3, 6
TILE_SIDE = 96
"""Smallest displayed side of an image in pixels (always a multiple of the image's size)."""
GAP = 4
BLOCK_GAP = 22
LEFT, TOP, MARGIN = 64, 40, 10
TITLE_WIDTH, TITLE_LINE = 68, 18
"""Characters in a line of a title, and the pixels that each further line adds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One block of a figure: a label on its left, and its images or a text instead of them."""

    label: str
    tiles: np.ndarray | None
    """(N, S, S, 3) uint8, or None."""
    instead: str = ""


def draw_grids(
    frame: pd.DataFrame,
    dirs: Sequence[Path],
    *,
    folder: Path,
    image_format: str,
    seed: int | None,
    note: Callable[[str], None],
) -> list[Path]:
    """Draw the real images, V_1, and V_2 ... V_G of every setting, for one seed.

    Args:
        frame: The table of analysis.reading.results.load_results for the same `dirs`.
        dirs: Results folders.
        folder: Folder for the figures.
        image_format: png, pdf or svg.
        seed: Seed of the lineages shown; None takes each setting's lowest.
        note: Called with a sentence for each figure that cannot be drawn.

    Returns:
        The paths written.

    Raises:
        UsageError: No lineage has the seed, or a preview does not fit the image size.
    """
    seeds = sorted(frame["seed"].dropna().unique())
    if seed is not None and seed not in seeds:
        raise UsageError(f"--seed must be one of {', '.join(map(str, seeds))}, got {seed}")
    runs = run_names(dirs)
    records = {(run, rec.id): rec for run, path in runs.items() for rec in load_lineages(path)}
    chosen = []
    models = frame[frame["member"] != MIXTURE]
    axes = setting_axes(models)
    names = Names(axes=axes, usual=find_usual(models, axes))
    for values, part in grouped(models, axes):
        rows = part[part["seed"] == (part["seed"].min() if seed is None else seed)]
        if rows.empty:
            note(f"{names.plainly(values)} has no seed {seed} and is left out")
            continue
        chosen.append(Lineage(values=values, rows=rows, records=records, runs=runs))
    kinds = (_real_pages, _first_pages, _setting_pages)
    pages = [page for kind in kinds for page in kind(chosen, names, note)]
    if len({stem for stem, _, _ in pages}) < len(pages):  # the changes are ambiguous
        pages = [page for kind in kinds for page in kind(chosen, replace(names, usual=None), note)]
    paths = []
    with styled():
        for stem, title, blocks in pages:
            path = folder / f"{stem}.{image_format}"
            paths.append(save_figure(draw_blocks(blocks, title=title), path))
    return paths


Page = tuple[str, str, list[Block]]
"""File stem, title and blocks of a figure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """Names figures by the settings that they show."""

    axes: Sequence[str]
    usual: Usual | None

    def told(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values to mention in a name."""
        return dict(values) if self.usual is None else self.usual.changes(values)

    def words(self, values: Mapping[str, Any]) -> str:
        """Describe values for a title; empty if all are usual."""
        return describe_setting(self.told(values), self.axes)

    def plainly(self, values: Mapping[str, Any]) -> str:
        """Describe values as plain text."""
        return self.words(values).replace(r"$\alpha$", "alpha") or self.whole

    def stem(self, first: str, values: Mapping[str, Any]) -> str:
        """Return a file name without suffix."""
        return file_stem(first, self.told(values), self.axes)

    @property
    def whole(self) -> str:
        """Name of values that are all usual."""
        return "the sweep" if self.usual is None else BASE


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """A setting, and the rows of its lineage for one seed."""

    values: dict[str, Any]
    rows: pd.DataFrame
    records: Mapping[tuple[str, str], LineageRecord]
    runs: Mapping[str, Path]

    @property
    def place(self) -> tuple[str, str]:
        """(run, id) of the lineage record of the rows."""
        first = self.rows.iloc[0]
        return first["run"], first["lineage"]

    @property
    def image_size(self) -> int:
        """Side of an image in pixels."""
        return int(self.records[self.place].config["data"]["image_size"])

    @property
    def dataset(self) -> Path:
        """Folder of the data set."""
        return self.runs[self.place[0]] / "datasets" / self.records[self.place].dataset

    def block(self, generation: int) -> Block:
        """Return the images of V_generation, or a block that says why there are none."""
        label = f"$V_{{{generation}}}$"
        rows = self.rows[self.rows["generation"] == generation]
        status = rows["status"].iloc[0]
        key = rows["node"].iloc[0]
        places = [path / "generations" / str(key) / "preview.png" for path in self.runs.values()]
        for place in places:
            if place.exists():
                return Block(label=label, tiles=read_tiles(place, self.image_size))
        words = {"done": "no preview", "missing": "not copied", "diverged": "diverged"}
        return Block(label=label, tiles=None, instead=words.get(status, "not computed yet"))


def read_tiles(path: Path, size: int) -> np.ndarray:
    """Cut the first ROWS x COLUMNS images from a sheet without padding.

    Args:
        path: A PNG that is filled with images row by row.
        size: Side of an image in pixels.

    Returns:
        (N, size, size, 3) uint8, N <= ROWS x COLUMNS; grey images are repeated to three channels.

    Raises:
        UsageError: The file is not a PNG, or its sides are not multiples of `size`.
    """
    with reading(path):
        data = path.read_bytes()
    try:
        sheet = matplotlib.image.imread(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError) as error:  # raised by Pillow's decoder
        raise UsageError(
            f"{path} must be an intact PNG file, got a damaged one ({error})"
        ) from None
    if sheet.ndim == 2:
        sheet = np.repeat(sheet[:, :, None], 3, axis=2)
    H, W = sheet.shape[:2]
    if H % size or W % size:
        raise UsageError(
            f"{path} must have sides that are multiples of data.image_size={size}, got {W} x {H}"
        )
    pixels = np.rint(255 * sheet[:, :, :3]).astype(np.uint8)
    tiles = pixels.reshape(H // size, size, W // size, size, 3).swapaxes(1, 2)
    return tiles.reshape(-1, size, size, 3)[: ROWS * COLUMNS]


def draw_blocks(blocks: Sequence[Block], *, title: str) -> Figure:
    """Draw blocks of images one below the other, each with its label on the left."""
    side = max([tile_side(b.tiles.shape[1]) for b in blocks if b.tiles is not None] or [TILE_SIDE])
    width, height = block_size(side)
    lines = textwrap.wrap(title, TITLE_WIDTH)
    more = TITLE_LINE * max(0, len(lines) - 1)
    W = LEFT + width + MARGIN
    H = TOP + more + len(blocks) * (height + BLOCK_GAP) - BLOCK_GAP + MARGIN
    figure = Figure(figsize=(W / DPI, H / DPI))
    middle = 1 - (TOP + more) / 2 / H
    figure.text(LEFT / W, middle, "\n".join(lines), va="center", fontsize=8, color=FAINT)
    for index, block in enumerate(blocks):
        top = more + block_top(index, side)
        axes = figure.add_axes((LEFT / W, 1 - (top + height) / H, width / W, height / H))
        axes.set_axis_off()
        if block.tiles is None:
            axes.text(0.5, 0.5, block.instead, ha="center", va="center", color=FAINT)
        else:
            axes.imshow(lay_out(block.tiles, side), interpolation="nearest", aspect="auto")
        middle = 1 - (top + height / 2) / H
        figure.text(LEFT / 2 / W, middle, block.label, ha="center", va="center", fontsize=11)
    return figure


def tile_side(size: int) -> int:
    """Return the displayed side of an image: the first multiple of `size` >= TILE_SIDE."""
    return size * max(1, -(-TILE_SIDE // size))


def block_size(side: int) -> tuple[int, int]:
    """Return the width and height of a block in pixels."""
    return COLUMNS * (side + GAP) - GAP, ROWS * (side + GAP) - GAP


def block_top(index: int, side: int) -> int:
    """Return the distance of a block from the figure's upper edge in pixels."""
    return TOP + index * (block_size(side)[1] + BLOCK_GAP)


def lay_out(tiles: np.ndarray, side: int) -> np.ndarray:
    """Arrange images in ROWS x COLUMNS on white.

    Args:
        tiles: (N, S, S, 3) uint8, where S divides `side`.
        side: Displayed side of an image in pixels.

    Returns:
        (height, width, 3) uint8, of block_size(side).
    """
    width, height = block_size(side)
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    scale = side // tiles.shape[1]
    for index, tile in enumerate(tiles):
        y, x = (index // COLUMNS) * (side + GAP), (index % COLUMNS) * (side + GAP)
        canvas[y : y + side, x : x + side] = tile.repeat(scale, axis=0).repeat(scale, axis=1)
    return canvas


def _real_pages(
    lineages: Sequence[Lineage], names: Names, note: Callable[[str], None]
) -> list[Page]:
    pages = []
    for values, group in _share(lineages, lambda lineage: lineage.dataset):
        folder = group[0].dataset
        if not (folder / "preview.png").exists():
            note(f"no figure of the real images, because {folder / 'preview.png'} does not exist")
            continue
        card = load_card(group[0].runs[group[0].place[0]], folder.name)
        tiles = read_tiles(folder / "preview.png", group[0].image_size)
        title = _title("Real images" + (f" ({card.name})" if card else ""), names.words(values))
        pages.append((names.stem("grid-real", values), title, [Block(label="real", tiles=tiles)]))
    return pages


def _first_pages(
    lineages: Sequence[Lineage], names: Names, note: Callable[[str], None]
) -> list[Page]:
    pages = []
    for values, group in _share(lineages, lambda lineage: lineage.rows["node"].iloc[0]):
        block = group[0].block(1)
        if block.tiles is None:
            note(f"no figure of V1 of {names.plainly(values)}: {block.instead}")
            continue
        first = "First generation, trained on real images"
        title = _title(first, names.words(values), _seed(group[0]))
        pages.append((names.stem("grid-v1", values), title, [block]))
    return pages


def _setting_pages(
    lineages: Sequence[Lineage], names: Names, note: Callable[[str], None]
) -> list[Page]:
    pages = []
    for lineage in lineages:
        later = sorted(n for n in set(lineage.rows["generation"]) if n > 1)
        blocks = [lineage.block(n) for n in later]
        if not any(block.tiles is not None for block in blocks):
            note(f"{names.plainly(lineage.values)} has no generation after V1 and is left out")
            continue
        words = names.words(lineage.values)
        base = "" if words or names.usual is None else BASE
        stem = names.stem("grid", lineage.values) + (f"-{base}" if base else "")
        title = _title(words or base, _seed(lineage), "same noise in every generation")
        pages.append((stem, title, blocks))
    return pages


def _seed(lineage: Lineage) -> str:
    return f"seed {lineage.rows['seed'].iloc[0]}"


def _title(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _share(
    lineages: Sequence[Lineage], key: Callable[[Lineage], Any]
) -> list[tuple[dict[str, Any], list[Lineage]]]:
    """Group lineages by a key, and name each group by the settings its lineages share."""
    groups: dict[Any, list[Lineage]] = {}
    for lineage in lineages:
        groups.setdefault(key(lineage), []).append(lineage)
    if len(groups) < 2:
        return [({}, group) for group in groups.values()]
    shared = []
    for group in groups.values():
        first = group[0].values
        same = {a: v for a, v in first.items() if all(_equal(g.values[a], v) for g in group)}
        shared.append((same, group))
    return shared


def _equal(first: Any, second: Any) -> bool:
    return first == second or (first != first and second != second)
