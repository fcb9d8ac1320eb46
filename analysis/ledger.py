"""The command `analysis ledger`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from analysis.options import Dirs, File, Names, Settings, Steps
from analysis.statistics.forecasts import GAINS
from model.commands.command_line import Command
from model.errors import UsageError, check_choice

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Ledger(Command):
    """Split the difference between samples and real images into terms that add up to it.

    Each --step names lineages that differ from those of the step before in one thing. A step adds
    the difference of the two, with the same seed. For example, with the exact score of the pool's
    Gaussian first, and then a network, the second term is what the network has not learned.
    """

    dirs: Dirs
    """Results folders (--out of sweep run); several are joined."""
    step: Steps = ()
    """Name of a term, and settings of its lineages, one for each seed. Repeat it in order."""
    metric: Names = GAINS
    """Metrics (kid) or columns."""
    where: Settings = ()
    """Rows to use in all steps, as in analysis table, e.g. alpha=1 member=0. Default: all."""
    forecast: File = None
    """What `sweep plan --forecast --format json` prints of the first step's lineages. It becomes
    an arm of the sampler alone, and the first step adds the rest. For gains only."""
    format: Literal["md", "csv", "html", "latex"] = "md"
    """Markdown, HTML or LaTeX; csv: a line per term and generation."""
    confidence: float = 0.95
    """Coverage of the intervals over seeds, in (0, 1)."""
    figure: File = None
    """Draw the terms as bars into this .png, .pdf or .svg file too."""
    width: str = "page"
    """Width of the figure on paper: column (3.25 inches), page (6.75), or inches."""

    def run(self, args: Sequence[str]) -> int:
        """Print the tables."""
        from analysis.reading.columns import resolve_metrics
        from analysis.reading.results import load_results
        from analysis.reading.rows import keep_rows
        from analysis.statistics.forecasts import load_forecasts
        from analysis.statistics.seeds import check_confidence
        from analysis.tables.ledger import build_ledger, parse_step
        from analysis.tables.render import render_tables
        from analysis.widths import width_in_inches

        check_confidence(self.confidence)
        if not self.step:
            raise UsageError("--step must be given at least once, got none")
        steps = [parse_step(text) for text in self.step]
        width = width_in_inches(self.width)
        if self.figure is not None:
            check_figure(self.figure)
        forecast = None if self.forecast is None else load_forecasts(self.forecast)
        frame = load_results(self.dirs)
        if self.where:
            frame = keep_rows(frame, self.where)
        tables = build_ledger(
            frame,
            resolve_metrics(frame, self.metric),
            steps,
            confidence=self.confidence,
            forecast=forecast,
        )
        if self.figure is not None:
            summaries = [table.summary for table in tables]
            write_bars(summaries, self.figure, width)
        sys.stdout.write(render_tables(tables, self.format))
        return 0


def check_figure(path: Path) -> None:
    """Raise UsageError unless a file can be a figure in place of nothing or of one of ours."""
    from analysis.figures.kinds import is_figure
    from analysis.outputs import check_file

    check_choice("the ending of --figure", path.suffix, (".png", ".pdf", ".svg"))
    check_file(path, is_ours=is_figure, option="--figure")


def write_bars(summaries: "Sequence[pd.DataFrame]", path: Path, width: float) -> None:
    """Draw ledgers as bars."""
    from analysis.figures.drawing.style import save_figure, styled
    from analysis.figures.ledger import draw_ledger

    with styled():
        save_figure(draw_ledger(summaries, width=width), path)
