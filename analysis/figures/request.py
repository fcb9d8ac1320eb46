"""What to draw of some results folders, and where to save it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import save_figure


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
    """Seed of the image grids; None takes each setting's lowest."""
    confidence: float
    """Coverage of the intervals over seeds, in (0, 1)."""
    note: Callable[[str], None]
    """Called with a sentence for each figure that cannot be drawn."""

    def save(self, figure: Figure, stem: str) -> Path:
        """Write a figure to the file with a stem (its name without suffix), and return the path."""
        return save_figure(figure, self.folder / f"{stem}.{self.image_format}")
