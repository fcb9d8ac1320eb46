"""The kinds of figures that `analysis figure` draws, listed in FIGURES."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from analysis.escapes import file_stems
from analysis.figures.curves import plan_curves
from analysis.figures.drawing.style import AUTHOR, save_figure, styled
from analysis.figures.gains import plan_gain
from analysis.figures.grids import plan_grids
from analysis.figures.neighbours import plan_neighbours
from analysis.figures.paths import plan_paths
from analysis.figures.real_share import plan_real_share
from analysis.figures.request import Drawing, FigureRequest
from analysis.figures.shares import plan_shares
from analysis.figures.trees import plan_trees
from analysis.outputs import check_file, check_folder, is_in_figures


def draw_figures(request: FigureRequest, kinds: Sequence[str]) -> list[Path]:
    """Draw kinds of figures (see FIGURES) and return the paths written.

    Raises:
        UsageError: A figure cannot be drawn, or its file exists and is not a figure of ours.
    """
    check_folder(request.folder)
    drawings = [drawing for kind in kinds for drawing in FIGURES[kind](request)]
    stems = file_stems([drawing.name for drawing in drawings])
    paths = [request.folder / f"{stem}.{request.image_format}" for stem in stems]
    for path in paths:
        if not is_in_figures(path):  # all of these are ours, also those of earlier versions
            check_file(path, is_ours=is_figure)
    with styled():
        for drawing, path in zip(drawings, paths, strict=True):
            save_figure(drawing.draw(), path)
    return paths


def is_figure(content: bytes) -> bool:
    """Whether the content of a file is a figure of ours."""
    return AUTHOR.encode() in content


FIGURES: dict[str, Callable[[FigureRequest], Iterable[Drawing]]] = {
    "curves": plan_curves,
    "gain": plan_gain,
    "grids": plan_grids,
    "neighbours": plan_neighbours,
    "paths": plan_paths,
    "real-share": plan_real_share,
    "shares": plan_shares,
    "trees": plan_trees,
}
ALL = ("curves", "grids")
"""The kinds that any results have."""
