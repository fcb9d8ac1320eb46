"""The matplotlib style of figures, applied only while drawing and never set globally."""

import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure

from analysis.outputs import write_file

PALETTE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's colour-blind-safe palette (https://jfly.uni-koeln.de/color/), black first."""

LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK = "#262626"
FAINT = "#6e6e6e"
DPI = 300
FONT_SIZE = 8.0
"""Size of all text in points, at the width at which a figure is printed."""
FONT = "DejaVu Sans"

STYLE: dict[str, Any] = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "font.family": FONT,
    "font.size": FONT_SIZE,
    "text.hinting": "none",  # or text is wider than analysis.figures.drawing.text measures
    **{
        f"{name}size": FONT_SIZE
        for name in ("axes.title", "axes.label", "xtick.label", "ytick.label")
    },
    "figure.titlesize": FONT_SIZE,
    "figure.labelsize": FONT_SIZE,
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.0,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "axes.prop_cycle": cycler(color=PALETTE),
    "svg.fonttype": "none",
    "svg.hashsalt": "collapse-sweep",
    "pdf.fonttype": 42,
}

AUTHOR = "analysis figure of collapse-sweep"
"""Metadata by which a figure of ours is recognised."""

METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": AUTHOR},
    "svg": {"Date": None, "Creator": AUTHOR},
    "pdf": {"CreationDate": None, "Creator": AUTHOR, "Producer": None},
}
"""Metadata of each format: no times, so that equal figures give identical files."""


@contextmanager
def styled() -> Generator[None]:
    """Apply the style inside the with-block, and restore rcParams afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(cast("Any", STYLE))
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix (png, pdf or svg)."""
    image_format, buffer = path.suffix.removeprefix("."), io.BytesIO()
    figure.savefig(buffer, format=image_format, dpi="figure", metadata=METADATA[image_format])
    write_file(path, buffer.getvalue())
