"""Image grids, laid out like the paper's figures 2 to 7 (arXiv 2303.01255).

There are figures of the real images and of V_1, and for each setting one figure with a block of
3 x 6 images for each of V_2 to V_G. The images are cut from the previews that the sweep wrote.
Positions and sizes are whole pixels, so in a PNG every pixel of an image is a square.
"""

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.request import Drawing, FigureRequest
from analysis.figures.style import DPI, FAINT
from analysis.figures.text import figure_text
from analysis.reading.checks import image_size
from analysis.reading.columns import MIXTURE, SPLIT, grouped, setting_axes, sort_key, unit_columns
from analysis.reading.labels import Labels
from analysis.reading.results import run_names
from analysis.reading.settings import BASE, Usual, find_usual
from model.errors import UsageError, reading
from sweep.records import LineageRecord, load_card, load_lineages, node_dir

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
    """One block of a figure: images, or a text instead of them, with a label on their left."""

    label: str
    tiles: np.ndarray | None
    """(N, S, S, 3) uint8, or None."""
    instead: str = ""
    """Why there are no images; drawn in their place."""


Page = tuple[list[str], str, list[Block]]
"""Parts of the file's name, title and blocks of a figure."""
Note = Callable[[str], None]
"""Receives a sentence about a figure that cannot be drawn."""


def plan_grids(request: FigureRequest) -> Iterator[Drawing]:
    """Plan figures of the real images, V_1, and V_2 ... V_G of every setting, for one seed.

    Raises:
        UsageError: No lineage has the seed, or a preview is damaged or of an unexpected size.
    """
    models = request.frame[request.frame["member"] != MIXTURE]
    axes, labels = setting_axes(models), request.labels
    all_axes = Usual(axes=tuple(axes), values={}, labels=labels)
    usual = find_usual(models, axes, labels) or all_axes
    lineages = list(_choose_lineages(request, models, usual))
    pages = _make_pages(lineages, usual, request.note)
    if len({tuple(name) for name, _, _ in pages}) < len(pages):  # equal names; use all axes
        pages = _make_pages(lineages, all_axes, request.note)
    for name, title, blocks in pages:
        yield Drawing(name=name, draw=partial(draw_blocks, blocks, title=title))


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """A setting, and the rows of its lineage for one seed."""

    values: dict[str, Any]
    unit: str
    """The seed, and the split of the data if there are several."""
    rows: pd.DataFrame
    record: LineageRecord
    folder: Path
    """Results folder of the record."""
    folders: Collection[Path]
    """All results folders, which may hold its nodes."""

    @property
    def dataset(self) -> Path:
        """Folder of the data set."""
        return self.folder / "datasets" / self.record.dataset

    def read_tiles(self, path: Path) -> np.ndarray:
        """Cut the first images from a preview with the module's function of this name."""
        return read_tiles(path, image_size(self.folder, self.record))

    def block(self, generation: int) -> Block:
        """Return the images of V_generation, or a block that says why there are none."""
        label = f"$V_{{{generation}}}$"
        row = self.rows[self.rows["generation"] == generation].iloc[0]
        for folder in self.folders:
            path = node_dir(folder, str(row["node"])) / "preview.png"
            if path.exists():
                return Block(label=label, tiles=self.read_tiles(path))
        reasons = {"done": "no preview", "missing": "not copied", "diverged": "diverged"}
        reason = reasons.get(row["status"], "not computed yet")
        return Block(label=label, tiles=None, instead=reason)


def _choose_lineages(
    request: FigureRequest, models: pd.DataFrame, usual: Usual
) -> Iterator[Lineage]:
    """Yield the lineage of each setting with the requested seed, or else with its lowest seed."""
    names, seed = request.labels.names("seed", models["seed"]), request.seed
    if seed is not None and seed not in models["seed"].tolist():
        raise UsageError(f"--seed must be one of {', '.join(names)}, got {seed}")
    folders = run_names(request.dirs)
    records = {(run, rec.id): rec for run, path in folders.items() for rec in load_lineages(path)}
    for values, part in grouped(models, setting_axes(models)):
        rows = part if seed is None else part[part["seed"] == seed]
        if rows.empty:
            request.note(f"{_plainly(usual, values)} has no seed {seed} and is left out")
            continue
        unit, rows = next(grouped(rows, unit_columns(rows)))
        run, name = rows[["run", "lineage"]].iloc[0]
        yield Lineage(
            values=values,
            unit=_name_unit(request.labels, models, unit),
            rows=rows,
            record=records[run, name],
            folder=folders[run],
            folders=folders.values(),
        )


def _name_unit(labels: Labels, models: pd.DataFrame, unit: Mapping[str, Any]) -> str:
    """Name a seed, and a split of the data if there are several: `seed 0, split_seed 1`."""
    words = [f"seed {labels.name('seed', unit['seed'])}"]
    if SPLIT in unit and len(labels.names(SPLIT, models[SPLIT])) > 1:
        words.append(f"split_seed {labels.name(SPLIT, unit[SPLIT])}")
    return ", ".join(words)


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
    H, W = sheet.shape[:2]
    if H % size or W % size:
        raise UsageError(
            f"{path} must have sides that are multiples of data.image_size={size}, got {W} x {H}"
        )
    colours = np.broadcast_to(np.atleast_3d(sheet)[:, :, :3], (H, W, 3))
    pixels = np.rint(255 * colours).astype(np.uint8)
    tiles = pixels.reshape(H // size, size, W // size, size, 3).swapaxes(1, 2)
    return tiles.reshape(-1, size, size, 3)[: ROWS * COLUMNS]


def draw_blocks(blocks: Sequence[Block], *, title: str) -> Figure:
    """Draw blocks of images one below the other, each with its label on the left."""
    side = max([tile_side(b.tiles.shape[1]) for b in blocks if b.tiles is not None] or [TILE_SIDE])
    width, height = block_size(side)
    text = figure_text(title, TITLE_WIDTH)
    more = TITLE_LINE * text.count("\n")
    W = LEFT + width + MARGIN
    H = TOP + more + len(blocks) * (height + BLOCK_GAP) - BLOCK_GAP + MARGIN
    figure = Figure(figsize=(W / DPI, H / DPI))
    middle = 1 - (TOP + more) / 2 / H
    figure.text(LEFT / W, middle, text, va="center", fontsize=8, color=FAINT)
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


def _make_pages(lineages: Sequence[Lineage], usual: Usual, note: Note) -> list[Page]:
    makers = (_real_pages, _first_pages, _setting_pages)
    return [page for make in makers for page in make(lineages, usual, note)]


def _real_pages(lineages: Sequence[Lineage], usual: Usual, note: Note) -> Iterator[Page]:
    for values, (first, *_) in _share(lineages, lambda lineage: lineage.dataset):
        path = first.dataset / "preview.png"
        if not path.exists():
            note(f"no figure of the real images, because {path} does not exist")
            continue
        card = load_card(first.folder, first.record.dataset)
        title = _title("Real images" + (f" ({card.name})" if card else ""), usual.title(values))
        block = Block(label="real", tiles=first.read_tiles(path))
        yield usual.file_name("grid-real", values), title, [block]


def _first_pages(lineages: Sequence[Lineage], usual: Usual, note: Note) -> Iterator[Page]:
    for values, (first, *_) in _share(lineages, lambda lineage: lineage.rows["node"].iloc[0]):
        block = first.block(1)
        if block.tiles is None:
            note(f"no figure of V1 of {_plainly(usual, values)}: {block.instead}")
            continue
        words = "First generation, trained on real images"
        title = _title(words, usual.title(values), first.unit)
        yield usual.file_name("grid-v1", values), title, [block]


def _setting_pages(lineages: Sequence[Lineage], usual: Usual, note: Note) -> Iterator[Page]:
    for lineage in lineages:
        later = sorted(n for n in set(lineage.rows["generation"]) if n > 1)
        blocks = [lineage.block(n) for n in later]
        if all(block.tiles is None for block in blocks):
            note(f"{_plainly(usual, lineage.values)} has no generation after V1 and is left out")
            continue
        words = usual.title(lineage.values)
        base = "" if words or not usual.values else BASE
        name = [*usual.file_name("grid", lineage.values), *([base] if base else [])]
        yield name, _title(words or base, lineage.unit, "same noise in every generation"), blocks


def _title(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _plainly(usual: Usual, values: Mapping[str, Any]) -> str:
    """Name a setting as plain text."""
    return usual.title(values) or (BASE if usual.values else "the sweep")


def _share(
    lineages: Sequence[Lineage], key: Callable[[Lineage], Any]
) -> Iterator[tuple[dict[str, Any], list[Lineage]]]:
    """Yield the lineages of each key, after the settings that name them.

    These are the settings that are equal within a group; there are none if it is the only group.
    """
    groups: dict[Any, list[Lineage]] = {}
    for lineage in lineages:
        groups.setdefault(key(lineage), []).append(lineage)
    for group in groups.values():
        axes = group[0].values if len(groups) > 1 else {}
        settings = {axis: {sort_key([lineage.values[axis]]) for lineage in group} for axis in axes}
        yield {axis: axes[axis] for axis in axes if len(settings[axis]) == 1}, group
