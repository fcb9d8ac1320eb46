"""LaTeX compiles the tables of all committed runs, and those that are said to fit do.

Needs Debian's texlive-latex-recommended and texlive-science.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from hostile_names import HOSTILE

from analysis.reading.columns import metric_columns
from analysis.reading.results import load_class_results, load_results
from analysis.tables.build import COMPOSITION, CONTRACTION, build_tables
from analysis.tables.comparisons import build_comparisons
from analysis.tables.latex import (
    POINTS_PER_INCH,
    PREAMBLE,
    describe_misfits,
    estimate_width,
    lacks_letters,
    render_latex,
)
from analysis.tables.table import Table
from analysis.widths import COLUMN, PAGE
from model.errors import UsageError

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RUNS = {path.parent.name: [path.parent] for path in sorted(EXPERIMENTS.glob("*/sweep.json"))}
RUNS["joined"] = sorted(path.parent for path in EXPERIMENTS.glob("paper-digits-seed*/sweep.json"))
FRAME = rf"""\documentclass[twocolumn]{{article}}
\usepackage[letterpaper, textwidth={PAGE}in, columnsep={PAGE - 2 * COLUMN}in]{{geometry}}
%s
\begin{{document}}
\hfuzz=0pt
%s
\end{{document}}
"""


def missing() -> str:
    """What LaTeX lacks; empty if nothing."""
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return "pdflatex is not installed"
    files = ("booktabs.sty", "siunitx.sty", "geometry.sty")
    lacking = [name for name in files if not _finds(name)]
    return f"LaTeX has no {', '.join(lacking)}" if lacking else ""


def _finds(name: str) -> bool:
    return subprocess.run(["kpsewhich", name], capture_output=True, check=False).returncode == 0


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]


def tables_of(dirs: Sequence[Path]) -> list[Table]:
    """Every table of some runs."""
    frame = load_results(dirs)
    metrics = metric_columns(frame)
    names = [*metrics, COMPOSITION, CONTRACTION]
    tables = build_tables(frame, names, by=(), confidence=0.95)
    with suppress(UsageError):  # a run without metrics per class
        classes = load_class_results(dirs)
        tables += build_tables(classes, metric_columns(classes), by=(), confidence=0.95)
    if frame["generation"].max() > 1:
        tables += build_comparisons(frame, metrics, against="V1", confidence=0.95)
    return tables


def compile_latex(folder: Path, body: str) -> tuple[Path, str]:
    """The PDF and the log, whose lines are not broken."""
    packages = "".join(re.findall(r"^% (\\usepackage.*\n)", PREAMBLE, re.MULTILINE))
    (folder / "paper.tex").write_text(FRAME % (packages, body))
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "max_print_line": "10000"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False)
    log = (folder / "paper.log").read_text(errors="replace")
    assert done.returncode == 0, log[-3000:]
    return folder / "paper.pdf", log


def typeset(table: Table, number: int) -> str:
    """The table for a column and for a page, and its true width in the log."""
    parts = []
    for width in (COLUMN, PAGE):
        text = render_latex([table], width)
        (tabular,) = re.findall(r"\\small\n.*\\end{tabular}", text, re.DOTALL)
        box = tabular.replace("pt}\n", "pt}%\n")
        parts.append(rf"\typeout{{table:{number}:{width}}}\sbox0{{{box}}}\typeout{{wide:\the\wd0}}")
        parts.append(f"\n{text}\\clearpage\n")
    return "".join(parts)


@pytest.mark.parametrize("run", RUNS)
def test_what_is_said_to_fit_fits(run, tmp_path):
    check_widths(tables_of(RUNS[run]), tmp_path)


def test_numbers_of_all_kinds_are_measured(tmp_path):
    """Thousands and long decimals, which siunitx prints in groups, exponents and mixed cells."""
    columns = [
        ["12345", "1234567", "-2"],
        ["0.12345 +- 0.00012 (3)", "1234567 +- 12345 (3)", "1 +- 0 (3)"],
        ["-1.2e-10 +- 3e-11 (3)", "1e+20", "-"],
        ["diverged 1/3", "2.05 +- 0.64 (2); diverged 1/3", "-3"],
        ["100000 (100% real)", "diverged 3/3", "-"],
        ["<0.0001", "0.012", "0.5"],
    ]
    tables = [
        Table(
            title=f"{i}",
            header=["pool.alpha", "V1", "V2"],
            rows=[["1", cell, cell] for cell in cells],
            num_names=1,
            caption="Invented.",
            summary=pd.DataFrame(),
        )
        for i, cells in enumerate(columns)
    ]
    check_widths(tables, tmp_path)


def check_widths(tables: Sequence[Table], folder: Path) -> None:
    """Neither a column nor a page is exceeded, and the estimated width is a little too large."""
    _, log = compile_latex(folder, "".join(typeset(t, i) for i, t in enumerate(tables)))
    assert "Missing character" not in log
    _, *parts = re.split(r"^table:(\d+):([\d.]+)$", log, flags=re.MULTILINE)
    assert len(parts) == 3 * 2 * len(tables)
    for number, width, said in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        table = tables[int(number)]
        if not describe_misfits([table], float(width)):
            assert "Overfull" not in said, table.title
            assert "Float too large" not in said, table.title
        true = float(re.findall(r"wide:([\d.]+)pt", said)[0]) / POINTS_PER_INCH
        assert 1 <= estimate_width(table) / true < 1.1, table.title


def test_every_name_that_pdflatex_has_letters_for_compiles(tmp_path):
    """As a title, as the header of columns, as a name of rows, as a number and in the caption."""
    names = [name for name in HOSTILE if not lacks_letters(name)]
    assert len(names) > 50
    tables = [
        Table(
            title=name,
            header=[name, name],
            rows=[[name, name]],
            num_names=1,
            caption=f"{name}.",
            summary=pd.DataFrame(),
        )
        for name in names
    ]
    texts = [f"{render_latex([table], PAGE)}\\clearpage\n" for table in tables]
    _, log = compile_latex(tmp_path, "".join(texts))
    assert "Missing character" not in log
