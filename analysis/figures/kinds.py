"""The kinds of figures that `analysis figure` draws, listed in FIGURES."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.figures.curves import draw_curves
from analysis.figures.grids import draw_grids


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureRequest:
    """What to draw of some results folders."""

    dirs: Sequence[Path]
    frame: pd.DataFrame
    """The table of analysis.reading.results.load_results for `dirs`."""
    folder: Path
    """Folder for the figures."""
    metrics: Sequence[str]
    """Columns drawn as curves."""
    image_format: str
    """png, pdf or svg."""
    seed: int | None
    """Seed of the image grids; None takes the lowest."""
    confidence: float
    """Coverage of the intervals over seeds, in (0, 1)."""
    note: Callable[[str], None]
    """Called with a sentence for each figure that cannot be drawn."""


def draw_figures(request: FigureRequest, kinds: Sequence[str]) -> list[Path]:
    """Draw kinds of figures (see FIGURES) and return the paths written."""
    return [path for kind in kinds for path in FIGURES[kind](request)]


def _curves(request: FigureRequest) -> list[Path]:
    if not request.metrics:
        request.note("no curves, because no generation has been measured yet")
    paths = []
    for metric in request.metrics:
        paths += draw_curves(
            request.frame,
            metric,
            folder=request.folder,
            image_format=request.image_format,
            confidence=request.confidence,
        )
    return paths


def _grids(request: FigureRequest) -> list[Path]:
    return draw_grids(
        request.frame,
        request.dirs,
        folder=request.folder,
        image_format=request.image_format,
        seed=request.seed,
        note=request.note,
    )


FIGURES: dict[str, Callable[[FigureRequest], list[Path]]] = {"curves": _curves, "grids": _grids}
