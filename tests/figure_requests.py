"""Requests for figures of results folders, for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.figures.request import FigureRequest
from analysis.reading.labels import Labels
from analysis.reading.results import load_results
from analysis.widths import COLUMN


def figure_request(dirs: Sequence[Path], folder: Path, **changes: Any) -> FigureRequest:
    """Return a request for png files of kid and of every setting's lowest seed, with changes."""
    frame = load_results(dirs)
    settings: dict[str, Any] = {
        "dirs": dirs,
        "frame": frame,
        "labels": Labels(frame),
        "folder": folder,
        "metrics": ["kid/pixels"],
        "image_format": "png",
        "seed": None,
        "confidence": 0.95,
        "width": COLUMN,
        "log": False,
        "note": print,
    }
    return FigureRequest(**{**settings, **changes})
