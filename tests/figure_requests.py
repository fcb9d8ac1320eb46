"""Requests for figures of results folders, and their texts, for tests."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.figures.drawing.style import styled
from analysis.figures.kinds import FIGURES
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
        "where": (),
        "folder": folder,
        "metrics": ["kid/pixels"],
        "image_format": "png",
        "seed": None,
        "confidence": 0.95,
        "width": COLUMN,
        "log": False,
        "forecasts": None,
        "note": print,
    }
    return FigureRequest(**{**settings, **changes})


def figures(dirs: Sequence[Path], kind: str = "curves", **changes) -> list[Figure]:
    """The figures of some results folders, laid out but not written."""
    request = figure_request(dirs, Path("unused"), **changes)
    with styled():
        drawn = [drawing.draw() for drawing in FIGURES[kind](request)]
        for figure in drawn:
            FigureCanvasAgg(figure).draw()
    return drawn


def texts(figure: Figure) -> list[Text]:
    """Every text that is seen; matplotlib has names of ticks beyond the axes, too."""
    both = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    of_ticks = {
        id(text) for axis in both for tick in axis.findobj(Tick) for text in tick.findobj(Text)
    }
    shown = [text for text in figure.findobj(Text) if id(text) not in of_ticks]
    for axis in both:
        low, high = axis.get_view_interval()
        shown += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    return [text for text in shown if text.get_visible() and text.get_text().strip()]


def words(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in texts(figure))


def check_texts(figure: Figure) -> None:
    """Every text has 8 points, is inside the figure, and covers no other one."""
    boxes = [(text, text.get_window_extent()) for text in texts(figure)]
    inside = figure.bbox.padded(1.0)
    for text, box in boxes:
        assert text.get_fontsize() == 8
        assert inside.contains(box.x0, box.y0), text
        assert inside.contains(box.x1, box.y1), text
    for (one, box), (other, other_box) in combinations(boxes, 2):
        assert not box.padded(-1.0).overlaps(other_box.padded(-1.0)), (one, other)
