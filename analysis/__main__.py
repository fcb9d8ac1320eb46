"""The `analysis` command: tables, figures, a page and TensorBoard files of results folders.

    analysis table runs/quickstart
    analysis figure runs/quickstart --out figures
    analysis report runs/quickstart --out report.html
    analysis board runs/quickstart --out board
    analysis verdict runs/quickstart
    analysis ledger runs/why --step fit:family=exact-gaussian --step network:family=ddim
    analysis check runs/quickstart

Results go to stdout, notes and errors to stderr. Only commands that need pandas or matplotlib
import them.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from analysis.ledger import Ledger
from analysis.options import Dirs, File, Names, Settings, Width
from analysis.report.command import Report
from model.commands.command_line import Command, Program
from model.errors import UsageError, printable

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.tables.table import Table as TableOfResults

TYPESET = ("md", "html", "latex")
"""Formats of tables for reading, which the whole tidy table does not have."""


@dataclass(frozen=True, kw_only=True)
class Table(Command):
    """Print tables of metrics, with t intervals over seeds, and of the composition of the pools."""

    dirs: Dirs
    """Results folders (--out of sweep run); several are joined."""
    metric: Names = ()
    """Metrics (kid), columns (final_loss), composition, contraction; default: kid composition."""
    by: Annotated[tuple[str, ...], tyro.conf.arg(metavar="AXIS...")] = ()
    """Settings that name rows; others that vary and do not follow from them split the tables.
    Default: all that vary."""
    format: Literal["md", "csv", "parquet", "html", "latex"] | None = None
    """Markdown, HTML or LaTeX; csv or Parquet: a line per setting and generation; default: md."""
    width: Annotated[str | None, tyro.conf.arg(metavar="column|page|INCHES")] = None
    """With --format latex: width that a table may take; default: column (3.25 inches)."""
    tidy: bool = False
    """Print csv with one line per lineage, generation and member, and every column."""
    classes: bool = False
    """Show metrics per class (class_share, class_kid, ...), with a row for each class."""
    where: Settings = ()
    """Rows to use, e.g. member=0 generation=4; an axis may be named repeatedly. Default: all."""
    against: Annotated[str | None, tyro.conf.arg(metavar="CONTROL")] = None
    """Print differences from a control within each seed, with tests. The control is V1 of the same
    lineage, base, random (the filter) or AXIS=VALUE."""
    margin: float | None = None
    """With --against: smallest difference that matters, which adds a test of equivalence."""
    generation: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N...")] = ()
    """With --against: generations to compare; default: all of them, and their slopes."""
    confidence: float = 0.95
    """Coverage of the intervals over seeds, in (0, 1)."""
    out: Path | None = None
    """File to write instead of printing: a new one, or a table that this command wrote."""
    require_same_environment: bool = False
    """Refuse results of different versions, devices or numbers of threads."""

    def run(self, args: Sequence[str]) -> int:
        """Print or write the tables."""
        from analysis.outputs import check_file, write_file
        from analysis.reading.results import load_class_results, load_results
        from analysis.reading.rows import keep_rows
        from analysis.tables.build import mixed_environments
        from analysis.tables.render import as_file, is_table

        self._check_options()
        if self.out is not None:
            check_file(self.out, is_ours=is_table)
        frame = load_class_results(self.dirs) if self.classes else load_results(self.dirs)
        if self.where:
            frame = keep_rows(frame, self.where)
        if (differing := mixed_environments(frame)) and self.require_same_environment:
            raise UsageError(
                f"--require-same-environment must find one environment, got {differing} (models); "
                "show the runs separately, or leave the option out"
            )
        style = self.format or ("csv" if self.tidy else "md")
        content = self._render(frame, style)
        if isinstance(content, str) and self.out is None:
            print(content, end="")
        elif self.out is not None:
            write_file(self.out, as_file(content, style) if isinstance(content, str) else content)
        return 0

    def _check_options(self) -> None:
        """Raise UsageError for options that do not go together."""
        from analysis.statistics.seeds import check_confidence
        from analysis.tables.parquet import check_parquet

        check_confidence(self.confidence)
        if self.tidy and (self.metric or self.by or self.format in TYPESET):
            raise UsageError(
                "--tidy must be used without --metric, --by or a --format other than csv and "
                "parquet, got one of them; it always prints the whole table"
            )
        if self.against is None and (self.margin is not None or self.generation):
            name = "--margin" if self.margin is not None else "--generation"
            raise UsageError(f"{name} must be used with --against, got it alone")
        if self.against is not None and (self.tidy or self.by):
            raise UsageError("--against must be used without --tidy and --by, got one of them")
        if self.width is not None and self.format != "latex":
            raise UsageError("--width must be used with --format latex, got it with another format")
        if self.format == "parquet":
            check_parquet()
            if self.out is None:
                raise UsageError("--format parquet must be used with --out FILE, got none")

    def _render(self, frame: "DataFrame", style: str) -> str | bytes:
        """Render the tables; those in LaTeX that are too wide are named on stderr."""
        from analysis.tables.latex import describe_misfits
        from analysis.tables.parquet import as_parquet
        from analysis.tables.render import long_table, render_tables, render_tidy
        from analysis.widths import width_in_inches

        width = width_in_inches(self.width or "column")
        if self.tidy:
            return as_parquet(frame) if style == "parquet" else render_tidy(frame)
        tables = self._tables(frame)
        if style == "latex":
            for sentence in describe_misfits(tables, width):
                print(f"note: {printable(sentence)}", file=sys.stderr)
        if style == "parquet":
            return as_parquet(long_table(tables))
        return render_tables(tables, style, width=width)

    def _tables(self, frame: "DataFrame") -> "list[TableOfResults]":
        from analysis.reading.columns import resolve_metrics
        from analysis.tables.build import COMPOSITION, SPECIAL_TABLES, build_tables

        special = [name for name in self.metric if name in SPECIAL_TABLES]
        others = [name for name in self.metric if name not in special]
        if self.against is not None:
            return self._comparisons(frame, special)
        if not self.metric and not self.classes:
            special = [COMPOSITION]
        columns = resolve_metrics(frame, others) if others or not self.metric else []
        names = [*columns, *special]
        return build_tables(frame, names, by=self.by, confidence=self.confidence)

    def _comparisons(self, frame: "DataFrame", special: Sequence[str]) -> "list[TableOfResults]":
        from analysis.reading.columns import resolve_metrics
        from analysis.tables.comparisons import build_comparisons

        if special:
            raise UsageError(f"--against must be used with a --metric, got {special[0]}")
        assert self.against is not None
        return build_comparisons(
            frame,
            resolve_metrics(frame, self.metric),
            against=self.against,
            confidence=self.confidence,
            margin=self.margin,
            generations=self.generation,
        )


@dataclass(frozen=True, kw_only=True)
class Figure(Command):
    """Draw curves of metrics by generation and grids of images, and print the files written."""

    dirs: Dirs
    """Results folders (--out of sweep run); several are joined."""
    out: Path
    """Folder for the figures. Only figures that this command drew are replaced."""
    kind: Literal[
        "curves",
        "gain",
        "grids",
        "neighbours",
        "paths",
        "real-share",
        "shares",
        "trees",
        "all",
    ] = "all"
    """Kind of figures: curves of metrics; gain, the variance gain along principal directions; image
    grids; neighbours, samples above the nearest training images; paths of precision against recall,
    or of the second of two metrics against the first; real-share, the share of real images in the
    pool against the change of a metric since V1; shares of classes; trees of models, coloured by a
    metric. all draws curves and grids."""
    metric: Names = ()
    """Metrics (kid, fid/pixels) or other columns (final_loss) of curves, paths, real-share and
    trees; default: kid."""
    where: Settings = ()
    """Lineages and models to draw, as in analysis table, e.g. alpha=1 member=0; default: all."""
    format: Literal["png", "pdf", "svg"] = "png"
    """File format."""
    width: Width = "column"
    """Width on paper, with text of 8 points: column (3.25 inches), page (6.75), or inches."""
    log: bool = False
    """Make the y axes of curves logarithmic."""
    seed: int | None = None
    """Seed of image grids (default: the lowest) and of trees (default: all)."""
    confidence: float = 0.95
    """Coverage of the intervals over seeds or, for a single seed, from images; in (0, 1)."""
    forecast: File = None
    """What `sweep plan --forecast --format json` prints of these lineages, drawn beside gains."""

    def run(self, args: Sequence[str]) -> int:
        """Draw the figures."""
        from analysis.figures.kinds import ALL, draw_figures
        from analysis.figures.request import FigureRequest
        from analysis.reading.columns import resolve_metrics
        from analysis.reading.labels import Labels
        from analysis.reading.results import load_results
        from analysis.reading.rows import keep_rows
        from analysis.statistics.forecasts import load_forecasts
        from analysis.statistics.seeds import check_confidence
        from analysis.widths import width_in_inches

        check_confidence(self.confidence)
        width = width_in_inches(self.width)
        frame = load_results(self.dirs)
        if self.where:
            frame = keep_rows(frame, self.where)
        request = FigureRequest(
            dirs=self.dirs,
            frame=frame,
            labels=Labels(frame),
            where=self.where,
            folder=self.out,
            metrics=resolve_metrics(frame, self.metric),
            image_format=self.format,
            seed=self.seed,
            confidence=self.confidence,
            width=width,
            log=self.log,
            forecasts=None if self.forecast is None else load_forecasts(self.forecast),
            note=lambda sentence: print(f"note: {printable(sentence)}", file=sys.stderr),
        )
        for path in draw_figures(request, ALL if self.kind == "all" else [self.kind]):
            print(printable(str(path)))
        return 0


@dataclass(frozen=True, kw_only=True)
class Board(Command):
    """Write TensorBoard files of results folders, and print the command that shows them."""

    dirs: Dirs
    """Results folders (--out of sweep run), or copies without weights; several are joined."""
    out: Path
    """Folder for the files: a new one, or one that this command wrote, which is replaced."""

    def run(self, args: Sequence[str]) -> int:
        """Write the files."""
        from analysis.board import write_joined_board
        from sweep.tensorboard import viewing_command

        write_joined_board(self.dirs, self.out)
        print(printable(viewing_command(self.out)))
        return 0


@dataclass(frozen=True, kw_only=True)
class Check(Command):
    """Compare the files of a results folder with its records; exit with 1 if there are problems."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Results folder (--out of sweep run), or a copy of one."""

    def run(self, args: Sequence[str]) -> int:
        """Print the problems, and the numbers of lineages, nodes and matching files."""
        from analysis.reading.integrity import UNCHECKED, inspect_folder

        findings = inspect_folder(self.folder)
        for problem in findings.problems:
            print(f"problem: {printable(problem)}")
        for sentence in findings.notes:
            print(printable(sentence))
        unchecked = [f"{name}/" for name in UNCHECKED if (self.folder / name).is_dir()]
        if unchecked:
            print(f"not checked: {', '.join(unchecked)}, which are not results")
        print(
            f"{findings.num_lineages} lineages, {findings.num_nodes} nodes, "
            f"{findings.num_files} files match, {len(findings.problems)} problems"
        )
        return 1 if findings.problems else 0


@dataclass(frozen=True, kw_only=True)
class Verdict(Command):
    """Say whether each hypothesis of sweep preregister is supported, refuted or undecided.

    Exits with 1 if a model that decides one is not yet trained or measured.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Results folder (--out of sweep run)."""

    def run(self, args: Sequence[str]) -> int:
        """Print the verdicts."""
        from analysis.reading.hypotheses import load_hypotheses
        from analysis.tables.verdicts import describe_verdicts

        tested = load_hypotheses(self.folder)
        print(describe_verdicts(tested), end="")
        return 0 if all(each.is_complete for each in tested) else 1


PROGRAM = Program(
    name="analysis",
    description="Tables, figures and reports of the results folders that sweep run writes.",
    commands={
        "table": Table,
        "figure": Figure,
        "report": Report,
        "board": Board,
        "verdict": Verdict,
        "ledger": Ledger,
        "check": Check,
    },
)


def main() -> None:
    """Entry point of the console command."""
    sys.exit(PROGRAM.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
