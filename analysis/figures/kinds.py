"""The kinds of figures that `analysis figure` draws, listed in FIGURES."""

from collections.abc import Callable, Sequence
from pathlib import Path

from analysis.figures.curves import draw_curves
from analysis.figures.grids import draw_grids
from analysis.figures.request import FigureRequest
from analysis.figures.style import styled


def draw_figures(request: FigureRequest, kinds: Sequence[str]) -> list[Path]:
    """Draw kinds of figures (see FIGURES) and return the paths written."""
    with styled():
        return [path for kind in kinds for path in FIGURES[kind](request)]


FIGURES: dict[str, Callable[[FigureRequest], list[Path]]] = {
    "curves": draw_curves,
    "grids": draw_grids,
}
