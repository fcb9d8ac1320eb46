"""Pages of panels: one figure for each page, with its panels below a note, and their names."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.drawing.end_labels import EndLabel, add_labels, separate_labels
from analysis.figures.drawing.lines import Line, Panel
from analysis.figures.drawing.style import FAINT, FONT_SIZE
from analysis.figures.drawing.text import fit_text, text_inches
from analysis.figures.request import Drawing

LINE_INCHES = 1.25 * FONT_SIZE / 72
"""Height of a line of text."""
LABEL_SHARE = 0.3
"""Largest width of labels at line ends, as a share of the figure's width."""
AXIS_INCHES = 0.5
"""Room for the numbers and the name of an axis."""
HEIGHT, TALLEST, SMALL_HEIGHT = 1.6, 2.4, 0.75
"""Smallest and usual largest height of a panel, and height of a small one."""
ASPECT = 0.45
"""Height of a panel between these sizes, as a share of its width with labels."""
SMALL_WIDTH = 0.85
"""Smallest width of a small panel."""
TICK_INCHES = 0.24
"""Smallest distance of the names of generations."""
SAMPLE_INCHES = 0.4
"""Room for the sample of a line and the gaps beside it in the key of small panels."""


def plan_pages(
    name: Sequence[str],
    pages: Sequence[Sequence[Panel]],
    *,
    remarks: Callable[[Sequence[Panel]], Iterable[str]],
    draw: Callable[..., Figure],
) -> Iterator[Drawing]:
    """Plan a figure for each page of panels.

    Args:
        name: Parts of the file's name; with several pages, the number of the page is another one.
        pages: The panels of each figure.
        remarks: Returns the parts of the note above some panels.
        draw: Draws panels below the text `note`.
    """
    for number, panels in enumerate(pages, start=1):
        part = [f"part-{number}"] if len(pages) > 1 else []
        note = "; ".join(remarks(panels))
        yield Drawing(name=[*name, *part], draw=partial(draw, panels, note=note))


def lay_out(
    titles: Sequence[str],
    *,
    columns: int,
    width: float,
    height: float,
    note: str,
    names: tuple[str, str],
    key: Sequence[Line] = (),
) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels with equal axes.

    Args:
        titles: Title of each panel as text for matplotlib, or empty.
        columns: Number of panels beside each other.
        width: Width of the figure in inches.
        height: Height of the axes of a panel in inches.
        note: Text above the panels.
        names: Names of the x axis and of the y axis.
        key: Lines that are named below the panels.
    """
    text, num_rows = fit_text(note, width - 0.1), math.ceil(len(titles) / columns)
    above = LINE_INCHES * max(title.count("\n") + 1 if title else 0 for title in titles)
    panels = num_rows * (height + above) + AXIS_INCHES
    labels = [fit_text(line.label, width - SAMPLE_INCHES - 0.1) for line in key]
    across = _num_across(labels, width)
    below = sum(
        max(label.count("\n") + 1 for label in labels[i : i + across])
        for i in range(0, len(labels), across)
    )
    total = panels + LINE_INCHES * (text.count("\n") + 1 + 1.15 * below)
    figure = Figure(figsize=(width, total), layout="constrained")
    figure.suptitle(text, x=0.05 / width, ha="left", color=FAINT)
    grid = figure.subplots(num_rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(titles) :]:
        axes.remove()
    used = list(grid.flat[: len(titles)])
    for index, (axes, title) in enumerate(zip(used, titles, strict=True)):
        axes.set_title(title, loc="left")
        if index + columns >= len(titles):
            axes.tick_params(labelbottom=True)
    x_name, y_name = fit_text(names[0], width), fit_text(names[1], panels)
    _ = figure.supylabel(y_name) if num_rows > 1 else used[0].set_ylabel(y_name)
    # The layout would write the key over a name of all columns.
    _ = figure.supxlabel(x_name) if columns > 1 and not key else used[-1].set_xlabel(x_name)
    if key:
        figure.legend(
            [_sample(line) for line in key],
            labels,
            loc="outside lower left",
            ncols=across,
            frameon=False,
            handlelength=1.6,
            handletextpad=0.5,
            columnspacing=0.8,
            borderpad=0.0,
            borderaxespad=0.5,
            labelspacing=0.1,
        )
    return figure, used


def _num_across(labels: Sequence[str], width: float) -> int:
    """Names beside each other in the key of a figure of some inches' width."""
    widest = max(map(text_inches, labels), default=0.0) + SAMPLE_INCHES
    most = max(1, int((width - 0.1) / widest))
    return math.ceil(len(labels) / math.ceil(len(labels) / most)) if labels else 1


def _sample(line: Line) -> Line2D:
    sample = Line2D([], [], marker=line.marker, mec="white", mew=0.4)
    sample.set(color=line.colour, linestyle=line.dashes)
    return sample


def name_ends(figure: Figure, used: Sequence[Axes], labels: Sequence[Sequence[EndLabel]]) -> None:
    """Write the names of each panel's lines at their ends, and fix the layout of the figure."""
    texts = [add_labels(axes, named) for axes, named in zip(used, labels, strict=True)]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, named, written in zip(used, labels, texts, strict=True):
        separate_labels(axes, named, written)


def num_columns(panels: Sequence[Panel], width: float) -> int:
    """Small panels are beside each other, and others only on a page."""
    if not panels[0].is_small:
        return min(len(panels), max(1, int(width / 3)))
    words = [word for panel in panels for word in re.split(r"\s|(?<=-)", panel.title)]
    widest = max(SMALL_WIDTH, *(text_inches(fit_text(word, width)) for word in words)) + 0.05
    most = max(1, int((width - AXIS_INCHES) / widest))
    num_rows = math.ceil(len(panels) / most)
    return math.ceil(len(panels) / num_rows)


def panel_inches(labels: Sequence[EndLabel], width: float) -> float:
    """The height of the axes of a panel, for its labels and the width of both."""
    if not labels:
        return SMALL_HEIGHT
    needed = LINE_INCHES * sum(label.text.count("\n") + 1.2 for label in labels)
    return max(min(max(HEIGHT, ASPECT * width), TALLEST), needed)
