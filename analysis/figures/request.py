"""What to draw of some results folders, and the figures that are drawn of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.reading.labels import Labels
from analysis.statistics.forecasts import Forecasts
from model.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureRequest:
    """What to draw of some results folders."""

    dirs: Sequence[Path]
    frame: pd.DataFrame
    """The table of analysis.reading.results.load_results for `dirs`."""
    labels: Labels
    """Names of the values in the table."""
    where: Sequence[str]
    """AXIS=VALUE by which the rows of the table were selected."""
    folder: Path
    """Folder for the figures."""
    metrics: Sequence[str]
    """Columns drawn as curves."""
    image_format: str
    """png, pdf or svg."""
    seed: int | None
    """Seed of the image grids; None takes each setting's lowest."""
    confidence: float
    """Coverage of the intervals, in (0, 1)."""
    width: float
    """Width of each figure in inches."""
    log: bool
    """Whether the y axes of curves are logarithmic."""
    forecasts: Forecasts | None
    """The forecast of each lineage, which is drawn beside gains; None if none was given."""
    note: Callable[[str], None]
    """Called with a sentence for each figure that cannot be drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure that is drawn when its file is written."""

    name: Sequence[str]
    """Parts of its name, which no other figure has."""
    draw: Callable[[], Figure]


def check_seed(request: FigureRequest, frame: pd.DataFrame) -> None:
    """Raise UsageError unless the table has the seed that is asked for, if any."""
    if request.seed is not None and request.seed not in frame["seed"].tolist():
        names = ", ".join(request.labels.list_seeds(frame))
        raise UsageError(f"--seed must be one of {names}, got {request.seed}")
