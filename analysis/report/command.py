"""The command `analysis report`."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.options import Dirs, File, Names, Steps
from model.commands.command_line import Command
from model.errors import printable


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Write one HTML page with findings, charts, lineages and samples, and print its path."""

    dirs: Dirs
    """Results folders (--out of sweep run); several are joined."""
    out: Path = Path("report.html")
    """File to write: a new one, or a report that this command wrote."""
    metric: Names = ()
    """Metrics (kid) or columns (final_loss) of findings, curves and ledger; default:
    findings about kid, curves of everything, the ledger of gains."""
    step: Steps = ()
    """Name of a term of the error ledger, and settings of its lineages, as in
    analysis ledger. Repeat it in order; default: no ledger."""
    forecast: File = None
    """What `sweep plan --forecast --format json` prints of these lineages, drawn
    beside gains. It also becomes the first arm of the ledger of gains."""
    max_size: float = 30.0
    """Largest size in megabytes (MB); samples that would make the page larger are left out."""
    confidence: float = 0.95
    """Coverage of the intervals over seeds, in (0, 1)."""

    def run(self, args: Sequence[str]) -> int:
        """Write the page."""
        from analysis.outputs import check_file, write_file
        from analysis.reading.results import load_results
        from analysis.report.page import ReportRequest, build_page, is_report
        from analysis.statistics.forecasts import load_forecasts
        from analysis.statistics.seeds import check_confidence
        from analysis.tables.ledger import parse_step

        check_confidence(self.confidence)
        check_file(self.out, is_ours=is_report)
        steps = [parse_step(text) for text in self.step]
        forecasts = None if self.forecast is None else load_forecasts(self.forecast)
        request = ReportRequest(
            dirs=self.dirs,
            frame=load_results(self.dirs),
            metrics=self.metric,
            steps=steps,
            forecasts=forecasts,
            confidence=self.confidence,
            max_megabytes=self.max_size,
            command=shlex.join(["analysis", "report", *args]),
        )
        write_file(self.out, build_page(request))
        sys.stdout.write(f"{printable(str(self.out))}\n")
        return 0
