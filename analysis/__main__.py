"""The `analysis` command: tables and figures of result folders, and whether a folder is whole.

    analysis table runs/quickstart
    analysis figure runs/quickstart --out figures
    analysis check runs/quickstart

Results go to stdout, notes and errors to stderr. pandas and matplotlib are imported by the command
that needs them.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from model.errors import UsageError

Dirs = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR...")]
Dir = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


def table(
    dirs: Dirs,
    /,
    metric: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = (),
    by: Annotated[tuple[str, ...], tyro.conf.arg(metavar="AXIS...")] = (),
    format: Literal["md", "csv", "latex"] | None = None,  # noqa: A002 - the name of the flag
    tidy: bool = False,
    classes: bool = False,
    confidence: float = 0.95,
    out: Path | None = None,
) -> int:
    """Print a table of each metric, with t intervals over seeds, and of the pools' composition.

    Args:
        dirs: Result folders (--out of sweep run); several are joined.
        metric: Metrics (kid, fid/pixels), other columns (final_loss), composition or contraction;
            none is kid and composition.
        by: Settings of the rows; a setting that varies and is not named splits the tables. None
            takes every setting that varies.
        format: Markdown, csv with a line per setting and generation, or LaTeX; none is md.
        tidy: One csv line per lineage, generation and member, with every column.
        classes: Numbers per class (class_share, class_kid, ...) instead, a row for each class.
        confidence: Coverage of the intervals over seeds, in (0, 1).
        out: File to write instead of printing.
    """
    from analysis.reading.columns import resolve_metrics
    from analysis.reading.results import load_class_results, load_results
    from analysis.statistics.seeds import check_confidence
    from analysis.tables.build import COMPOSITION, CONTRACTION, build_tables
    from analysis.tables.render import render_tables, render_tidy

    check_confidence(confidence)
    if tidy and (metric or by or format not in (None, "csv")):
        raise UsageError(
            "--tidy must stand without --metric, --by and a --format other than csv, got one of "
            "them; it is the whole table"
        )
    frame = load_class_results(dirs) if classes else load_results(dirs)
    if tidy:
        text = render_tidy(frame)
    else:
        special = [name for name in metric if name in (COMPOSITION, CONTRACTION)]
        wanted = [name for name in metric if name not in special]
        columns = resolve_metrics(frame, wanted) if wanted or not metric else []
        names = [*columns, *(special or ([] if metric or classes else [COMPOSITION]))]
        tables = build_tables(frame, names, by=by, confidence=confidence)
        text = render_tables(tables, format or "md")
    if out is None:
        sys.stdout.write(text)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    return 0


def figure(
    dirs: Dirs,
    /,
    out: Path,
    kind: Literal["curves", "grids", "all"] = "all",
    metric: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = (),
    format: Literal["png", "pdf", "svg"] = "png",  # noqa: A002 - the name of the flag
    seed: int | None = None,
    confidence: float = 0.95,
) -> int:
    """Draw metrics against generations, and the paper's grids of images; prints the files written.

    Args:
        dirs: Result folders (--out of sweep run); several are joined.
        out: Folder for the figures.
        kind: Curves, image grids, or all.
        metric: Metrics of the curves (kid, fid/pixels) or other columns (final_loss); none is kid.
        format: File format.
        seed: Seed of the image grids; none takes the lowest.
        confidence: Coverage of the intervals over seeds, in (0, 1).
    """
    from analysis.figures.kinds import FIGURES, FigureRequest, draw_figures
    from analysis.reading.columns import resolve_metrics
    from analysis.reading.results import load_results
    from analysis.statistics.seeds import check_confidence

    check_confidence(confidence)
    frame = load_results(dirs)
    request = FigureRequest(
        dirs=dirs,
        frame=frame,
        folder=out,
        metrics=resolve_metrics(frame, metric),
        image_format=format,
        seed=seed,
        confidence=confidence,
        note=_print_note,
    )
    for path in draw_figures(request, list(FIGURES) if kind == "all" else [kind]):
        print(path)
    return 0


def check(folder: Dir, /) -> int:
    """Compare a results folder with its own records; exits with 1 where it is not whole.

    Args:
        folder: A results folder (--out of sweep run), or a copy of one.
    """
    from analysis.reading.integrity import inspect_folder

    found = inspect_folder(folder)
    for problem in found.problems:
        print(f"problem: {problem}")
    if found.not_copied:
        print(f"not copied: the weights of {len(found.not_copied)} of {found.num_nodes} nodes")
    print(
        f"{found.num_lineages} lineages, {found.num_nodes} nodes, {found.num_files} files as "
        f"recorded, {len(found.problems)} problems"
    )
    return 1 if found.problems else 0


COMMANDS: dict[str, Callable[..., int]] = {"table": table, "figure": figure, "check": check}


def main(args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 a folder that is not whole, 2 usage."""
    try:
        status = tyro.extras.subcommand_cli_from_dict(
            dict(COMMANDS),
            prog="analysis",
            description="Tables and figures of the result folders that sweep run writes.",
            args=args,
        )
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _print_note(sentence: str) -> None:
    print(f"note: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
