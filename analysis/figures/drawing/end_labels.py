"""Labels at the ends of lines, moved apart where they would overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation, Transform

OFFSET, SAMPLE = 0.18, 0.11
"""Distances of a label and of its marker from the right end of the axes in inches."""
PADDING = 0.01
"""Smallest distance of two labels in inches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EndLabel:
    """A label at the right of the axes, and the line that it names."""

    text: str
    """Text for matplotlib."""
    x: float
    y: float
    """The end of the line in data coordinates, inside the axes."""
    colour: str
    marker: str
    """Marker of the line; empty for one without."""


def add_labels(axes: Axes, labels: Sequence[EndLabel]) -> list[Text]:
    """Write labels at the right of the axes, for which the layout of the figure leaves room.

    Their heights are those of separate_labels, once the layout is known.
    """
    transform = _beside(axes, OFFSET)
    return [axes.text(1, 0.5, label.text, transform=transform, va="center") for label in labels]


def separate_labels(axes: Axes, labels: Sequence[EndLabel], texts: Sequence[Text]) -> None:
    """Move labels apart, and repeat each line's marker beside its label.

    The layout of the figure must have been computed, and must not change afterwards.
    """
    figure, box = axes.get_figure(), axes.get_window_extent()
    assert figure is not None
    sizes = np.array([text.get_window_extent().height + PADDING * figure.dpi for text in texts])
    ends = [_end(axes, label) for label in labels]
    heights = spread_out(np.array([y for _, y in ends]), sizes / box.height)
    beside = 1 + SAMPLE * figure.dpi / box.width
    for label, text, end, height in zip(labels, texts, ends, heights, strict=True):
        text.set_position((1, height))
        leader = Line2D(*zip(end, (beside, height), strict=True), lw=0.6, ls=(0, (1, 1.5)))
        sample = Line2D([beside], [height], marker=label.marker, mec="white", mew=0.4)
        for line in (leader, sample):
            line.set(color=label.colour, transform=axes.transAxes, clip_on=False)
            axes.add_artist(line)


def spread_out(wanted: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the positions nearest to the wanted ones (least squares) without an overlap in [0, 1].

    Labels keep their order. If they do not fit into [0, 1], they are centred on it.

    Args:
        wanted: (N,) wanted centres.
        sizes: (N,) sizes.
    """
    order = np.argsort(wanted, kind="stable")
    before = np.cumsum(sizes[order]) - sizes[order] / 2  # centres of labels without gaps
    free = max(0.0, 1 - float(sizes.sum()))
    start = min(0.0, (1 - float(sizes.sum())) / 2)
    blocks: list[list[float]] = []  # pools of adjacent violators: [mean offset, number]
    for offset in wanted[order] - before:
        blocks.append([float(offset), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (last, n), (first, m) = blocks.pop(), blocks.pop()
            blocks.append([(first * m + last * n) / (m + n), m + n])
    offsets = np.repeat([mean for mean, _ in blocks], [int(n) for _, n in blocks])
    positions = np.empty(len(wanted))
    positions[order] = before + np.clip(offsets, start, start + free)
    return positions


def _end(axes: Axes, label: EndLabel) -> tuple[float, float]:
    """The end of a line in coordinates of the axes."""
    x, y = axes.transAxes.inverted().transform(axes.transData.transform((label.x, label.y)))
    return float(x), float(y)


def _beside(axes: Axes, inches: float) -> Transform:
    """Coordinates of the axes, moved to the right."""
    figure = axes.get_figure()
    assert figure is not None
    return axes.transAxes + ScaledTranslation(inches, 0, figure.dpi_scale_trans)
