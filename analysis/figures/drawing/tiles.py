"""Draws blocks of images in whole pixels, so that in a PNG every pixel of an image is a square."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.drawing.style import FAINT, FONT_SIZE
from analysis.figures.drawing.text import fit_text

DPI = 200
"""Smallest number of pixels per inch."""
LEFT, MARGIN, GAP, BLOCK_GAP = 0.3, 0.04, 0.03, 0.08
"""Widths in inches of labels, of the right margin, and of the gaps between images and blocks."""
LINE = 1.3 * FONT_SIZE / 72
"""Height of a line of the title in inches."""
ROW_TILE, SHEET_TILE = 0.36, 0.48
"""Approximate side of an image in inches, in figures of rows and in sheets."""
MOST_COLUMNS = 16
"""Columns of a wide figure; a preview has 64 images."""
UNKNOWN_SIZE = 64
"""Side in pixels of images that are not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One block of a figure: images, or a text instead of them, with a label on their left."""

    label: str
    tiles: np.ndarray | None
    """(N, S, S, 3) uint8, or None."""
    instead: str = ""
    """Why there are no images; drawn in their place."""
    captions: Sequence[str] = ()
    """Text below each column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Positions of images in pixels, from the upper left corner."""

    rows: int
    """Rows of each block."""
    columns: int
    side: int
    """Displayed side of an image, a multiple of its size."""
    gap: int
    block_gap: int
    left: int
    top: int
    dpi: int

    @property
    def block_width(self) -> int:
        """Width of a block."""
        return self.columns * (self.side + self.gap) - self.gap

    @property
    def block_height(self) -> int:
        """Height of a block."""
        return self.rows * (self.side + self.gap) - self.gap

    def block_top(self, index: int) -> int:
        """Distance of a block from the upper edge."""
        return self.top + index * (self.block_height + self.block_gap)

    def corner(self, block: int, tile: int) -> tuple[int, int]:
        """The first (y, x) of an image of a block."""
        row, column = divmod(tile, self.columns)
        step = self.side + self.gap
        return self.block_top(block) + row * step, self.left + column * step


def row_columns(width: float) -> int:
    """Columns of figures with a row for each generation, of some inches' width."""
    return _num_columns(width, ROW_TILE)


def sheet_columns(width: float) -> int:
    """Columns of sheets of some inches' width."""
    return _num_columns(width, SHEET_TILE)


def _num_columns(width: float, tile: float) -> int:
    return min(MOST_COLUMNS, max(1, round((width - LEFT - MARGIN) / tile)))


def fit_layout(
    size: int, *, width: float, rows: int, columns: int, num_lines: int, captions: bool = False
) -> Layout:
    """Return the layout of images of a size in a figure of some inches' width.

    Args:
        size: Side of an image in pixels.
        width: Width of the figure in inches.
        rows: Rows of each block.
        columns: Columns of each block.
        num_lines: Lines of the title.
        captions: Whether there is a line of text below each block.
    """
    tile = (width - LEFT - MARGIN + GAP) / columns - GAP
    side = size * math.ceil(DPI * tile / size)
    dpi = math.ceil(side / tile)
    gap = round(GAP * dpi)
    images = columns * (side + gap) - gap
    gaps = gap if rows == 1 else round(BLOCK_GAP * dpi)
    return Layout(
        rows=rows,
        columns=columns,
        side=side,
        gap=gap,
        block_gap=gaps + round(LINE * dpi) if captions else gaps,
        left=int(width * dpi) - images - round(MARGIN * dpi),
        top=round((num_lines * LINE + 0.06) * dpi),
        dpi=dpi,
    )


def draw_blocks(
    blocks: Sequence[Block], *, title: str, width: float, rows: int, columns: int
) -> Figure:
    """Draw blocks of images one below the other, each with its label on the left."""
    sizes = [block.tiles.shape[1] for block in blocks if block.tiles is not None]
    text = fit_text(title, width - 0.1)
    layout = fit_layout(
        max(sizes, default=UNKNOWN_SIZE),
        width=width,
        rows=rows,
        columns=columns,
        num_lines=text.count("\n") + 1,
        captions=(captions := any(block.captions for block in blocks)),
    )
    last_gap = 0 if captions else layout.block_gap
    bottom = layout.block_top(len(blocks)) - last_gap + round(MARGIN * layout.dpi)
    # A hundredth of a pixel more, so that no rounding loses a pixel.
    figure = Figure(figsize=(width, (bottom + 0.01) / layout.dpi), dpi=layout.dpi)
    W, H = figure.bbox.width, figure.bbox.height
    figure.text(0.05 / width, 1 - 0.03 * layout.dpi / H, text, va="top", color=FAINT)
    for index, block in enumerate(blocks):
        lower = bottom - layout.block_top(index) - layout.block_height
        width_share, height_share = layout.block_width / W, layout.block_height / H
        axes = figure.add_axes((layout.left / W, lower / H, width_share, height_share))
        axes.set_axis_off()
        if block.tiles is None:
            axes.text(0.5, 0.5, block.instead, ha="center", va="center", color=FAINT)
        else:
            axes.imshow(lay_out(block.tiles, layout), interpolation="nearest", aspect="auto")
        for column, caption in enumerate(block.captions[:columns]):
            x = layout.corner(index, column)[1] + layout.side / 2
            y = lower - layout.gap / 2
            figure.text(x / W, y / H, caption, ha="center", va="top", color=FAINT)
        middle = (lower + layout.block_height / 2) / H
        figure.text(layout.left / 2 / W, middle, block.label, ha="center", va="center")
    return figure


def lay_out(tiles: np.ndarray, layout: Layout) -> np.ndarray:
    """Arrange the first images of a block on white.

    Args:
        tiles: (N, S, S, 3) uint8, where S divides the layout's `side`.
        layout: The layout; images beyond its rows and columns are left out.

    Returns:
        (block_height, block_width, 3) uint8.
    """
    canvas = np.full((layout.block_height, layout.block_width, 3), 255, dtype=np.uint8)
    scale, step = layout.side // tiles.shape[1], layout.side + layout.gap
    for index, tile in enumerate(tiles[: layout.rows * layout.columns]):
        row, column = divmod(index, layout.columns)
        area = canvas[row * step :, column * step :][: layout.side, : layout.side]
        area[:] = tile.repeat(scale, axis=0).repeat(scale, axis=1)
    return canvas
