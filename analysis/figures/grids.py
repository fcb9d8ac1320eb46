"""Image grids, as the paper's figures 2 to 7 (arXiv 2303.01255).

For each setting, one figure has a row of real images and a row of each generation, whose images in
a column have the same noise. Sheets show more of the real images, and of V_1. The images are cut
from the previews that the sweep wrote; analysis.figures.drawing.tiles lays them out.
"""

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
import pandas as pd

from analysis.figures.drawing.tiles import Block, draw_blocks, row_columns, sheet_columns
from analysis.figures.request import Drawing, FigureRequest, check_seed
from analysis.reading.checks import image_size
from analysis.reading.columns import MIXTURE, grouped, setting_axes, sort_key, unit_columns
from analysis.reading.labels import Labels
from analysis.reading.results import run_names
from analysis.reading.settings import BASE, Usual, find_usual
from analysis.reading.trees import name_unit
from model.errors import UsageError, reading
from sweep.records import LineageRecord, load_card, load_lineages, node_dir

SHEET_ROWS = 3
"""Rows of images in a sheet."""


class Page(NamedTuple):
    """A figure of images."""

    name: list[str]
    """Parts of the file's name."""
    title: str
    blocks: list[Block]
    rows: int
    """Rows of each block."""


Note = Callable[[str], None]
"""Receives a sentence about a figure that cannot be drawn."""


def plan_grids(request: FigureRequest) -> Iterator[Drawing]:
    """Plan figures of the real images, of V_1, and of V_1 ... V_G of every setting, for one seed.

    Raises:
        UsageError: No lineage has the seed, or a preview is damaged or of an unexpected size.
    """
    models = request.frame[request.frame["member"] != MIXTURE]
    usual = name_settings(models, request.labels)
    lineages = list(choose_lineages(request, models, usual))
    pages = _make_pages(lineages, usual, request.note)
    if len({tuple(page.name) for page in pages}) < len(pages):  # equal names
        pages = _make_pages(lineages, _all_axes(models, request.labels), request.note)
    for name, title, blocks, rows in pages:
        columns = (row_columns if rows == 1 else sheet_columns)(request.width)
        draw = partial(
            draw_blocks, blocks, title=title, width=request.width, rows=rows, columns=columns
        )
        yield Drawing(name=name, draw=draw)


def name_settings(models: pd.DataFrame, labels: Labels) -> Usual:
    """Name settings by what differs from the usual ones, or else by all that varies."""
    return find_usual(models, setting_axes(models), labels) or _all_axes(models, labels)


def _all_axes(models: pd.DataFrame, labels: Labels) -> Usual:
    return Usual(axes=tuple(setting_axes(models)), values={}, labels=labels)


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
        """Cut the images from a preview with the module's function of this name."""
        return read_tiles(path, image_size(self.folder, self.record))

    def real_block(self) -> Block | None:
        """Return real images, or None if the data set's preview is missing."""
        path = self.dataset / "preview.png"
        return Block(label="real", tiles=self.read_tiles(path)) if path.exists() else None

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


def choose_lineages(
    request: FigureRequest, models: pd.DataFrame, usual: Usual
) -> Iterator[Lineage]:
    """Yield the lineage of each setting with the requested seed, or else with its lowest seed."""
    seed = request.seed
    check_seed(request, models)
    folders = run_names(request.dirs)
    records = {(run, rec.id): rec for run, path in folders.items() for rec in load_lineages(path)}
    for values, part in grouped(models, setting_axes(models)):
        rows = part if seed is None else part[part["seed"] == seed]
        if rows.empty:
            request.note(f"{name_plainly(usual, values)} has no seed {seed} and is left out")
            continue
        unit, rows = next(grouped(rows, unit_columns(rows)))
        run, name = rows[["run", "lineage"]].iloc[0]
        yield Lineage(
            values=values,
            unit=name_unit(request.labels, models, unit),
            rows=rows,
            record=records[run, name],
            folder=folders[run],
            folders=folders.values(),
        )


def read_tiles(path: Path, size: int) -> np.ndarray:
    """Cut the images from a sheet without padding.

    Args:
        path: A PNG that is filled with images row by row.
        size: Side of an image in pixels.

    Returns:
        (N, size, size, 3) uint8; grey images are repeated to three channels.

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
    return tiles.reshape(-1, size, size, 3)


def _make_pages(lineages: Sequence[Lineage], usual: Usual, note: Note) -> list[Page]:
    makers = (_real_pages, _first_pages, _setting_pages)
    return [page for make in makers for page in make(lineages, usual, note)]


def _real_pages(lineages: Sequence[Lineage], usual: Usual, note: Note) -> Iterator[Page]:
    for values, (first, *_) in _share(lineages, lambda lineage: lineage.dataset):
        if (block := first.real_block()) is None:
            path = first.dataset / "preview.png"
            note(f"no figure of the real images, because {path} does not exist")
            continue
        card = load_card(first.folder, first.record.dataset)
        title = join_words("Real images" + (f" ({card.name})" if card else ""), usual.title(values))
        yield Page(usual.file_name("grid-real", values), title, [block], SHEET_ROWS)


def _first_pages(lineages: Sequence[Lineage], usual: Usual, note: Note) -> Iterator[Page]:
    for values, (first, *_) in _share(lineages, lambda lineage: lineage.rows["node"].iloc[0]):
        block = first.block(1)
        if block.tiles is None:
            note(f"no figure of V1 of {name_plainly(usual, values)}: {block.instead}")
            continue
        words = "First generation, trained on real images"
        title = join_words(words, usual.title(values), first.unit)
        yield Page(usual.file_name("grid-v1", values), title, [block], SHEET_ROWS)


def _setting_pages(lineages: Sequence[Lineage], usual: Usual, note: Note) -> Iterator[Page]:
    for lineage in lineages:
        generations = sorted(set(lineage.rows["generation"]))
        blocks = [lineage.block(n) for n in generations]
        if all(block.tiles is None for block in blocks[1:]):
            note(
                f"{name_plainly(usual, lineage.values)} has no generation after V1 and is left out"
            )
            continue
        words = usual.title(lineage.values)
        base = "" if words or not usual.values else BASE
        name = [*usual.file_name("grid", lineage.values), *([base] if base else [])]
        title = join_words(words or base, lineage.unit, "same noise in each column")
        real = lineage.real_block()
        yield Page(name, title, [*([real] if real else []), *blocks], 1)


def join_words(*parts: str) -> str:
    """Join the parts of a title that are not empty."""
    return ", ".join(filter(None, parts))


def name_plainly(usual: Usual, values: Mapping[str, Any]) -> str:
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
