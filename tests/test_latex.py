"""Tables as LaTeX, without compiling them."""

import re

import pandas as pd
import pytest
from latex_tables import latex_rows, plain_text
from results_folder import write_folder

from analysis.__main__ import PROGRAM
from analysis.reading.labels import NAMES_IN_PAPERS
from analysis.reading.results import load_results
from analysis.reading.rows import keep_rows
from analysis.tables.build import build_tables
from analysis.tables.latex import describe_misfits, estimate_width, render_latex
from analysis.tables.table import Table
from analysis.widths import COLUMN, PAGE


def table_of(cells: list[str], *, header: str = "V1", title: str = "kid") -> Table:
    """A table with one column of numbers."""
    return Table(
        title=title,
        header=["pool.alpha", header],
        rows=[[str(i), cell] for i, cell in enumerate(cells)],
        num_names=1,
        caption="Made up.",
        summary=pd.DataFrame(),
    )


def wide_table(folder, generations: int) -> Table:
    frame = load_results([write_folder(folder, generations=generations)])
    return build_tables(frame, ["kid/pixels"], by=(), confidence=0.95)[0]


def test_the_packages_that_it_needs_are_comments_at_the_top():
    first = render_latex([table_of(["1"])], COLUMN).split("\n")[:3]
    assert first == ["% The preamble needs:", r"% \usepackage{booktabs}", r"% \usepackage{siunitx}"]


@pytest.mark.parametrize(("name", "lacks"), [("caf\u00e9", False), ("\u65e5\u672c", True)])
def test_letters_that_pdflatex_does_not_know_are_told(name, lacks):
    text = render_latex([table_of(["1"], title=name)], COLUMN)
    assert ("use LuaLaTeX" in text) is lacks
    assert name in text


def test_each_table_has_a_label_of_its_own():
    titles = ["kid/pixels", "kid pixels", "kid"]
    text = render_latex([table_of(["1"], title=title) for title in titles], COLUMN)
    labels = re.findall(r"\\label{tab:([A-Za-z0-9.-]+)}", text)
    assert len(set(labels)) == 3
    assert labels[2] == "kid"


def test_the_same_table_of_two_runs_has_two_labels(tmp_path):
    tables = []
    for name in ("a", "b"):
        frame = load_results([write_folder(tmp_path / name)])
        tables += build_tables(frame, ["kid/pixels"], by=(), confidence=0.95)
    texts = [render_latex([table], COLUMN) for table in tables]
    labels = [re.findall(r"\\label{(.*)}", text) for text in texts]
    assert labels == [["tab:a-kid-pixels"], ["tab:b-kid-pixels"]]


def test_known_settings_have_the_names_of_papers(tmp_path):
    frame = load_results([write_folder(tmp_path / "a", epochs=(40, 80))])
    (table, _) = build_tables(frame, ["kid/pixels"], by=["pool.alpha"], confidence=0.95)
    text = render_latex([table], COLUMN)
    assert latex_rows(text)[0][0] == r"$\alpha$"
    assert r"\caption{kid/pixels, epochs = 40. " in text


def test_no_two_settings_have_the_same_name_in_papers():
    assert len(set(NAMES_IN_PAPERS.values())) == len(NAMES_IN_PAPERS)


@pytest.mark.parametrize("name", ["pool.alpha", "a, pool.alpha", "x.pool.alpha"])
def test_only_the_settings_themselves_have_them(name):
    table = table_of(["1"])
    table.rows[0][0] = name
    assert latex_rows(render_latex([table], COLUMN))[1][0] == name


def test_numbers_are_aligned_by_siunitx_and_other_cells_span_their_columns():
    cells = ["1.10 +- 0.25 (3)", "12.345 +- 1.1 (3)", "-2 +- 0 (3)", "0.5", "diverged 1/3", "-"]
    text = render_latex([table_of(cells)], COLUMN)
    assert r"{@{}lS[table-format=-2.3]@{\,}l@{}}" in text
    for row in (r"12.345 & $\pm$ \num{1.1}", r"0.5 &  \\", r"\multicolumn{2}{c@{}}{diverged 1/3}"):
        assert row in text
    numbers = [plain_text(row[1]) for row in latex_rows(text)[1:]]
    assert numbers == ["1.10 +- 0.25", "12.345 +- 1.1", "-2 +- 0", *cells[3:]]


def test_numbers_without_anything_after_them_have_one_column():
    text = render_latex([table_of(["0.012", "<0.0001", "1.2e-10"])], COLUMN)
    assert r"{@{}lS[table-format=1.3]@{}}" in text
    assert r"{\textless{}0.0001}" in text
    assert r"{\num{1.2e-10}}" in text


def test_generations_that_name_rows_are_in_mathematics_and_other_names_are_not():
    table = Table(
        title="kid",
        header=["class", "", "difference"],
        rows=[["V1", "V2", "0.5"], ["-", "slope", "1"]],
        num_names=2,
        caption="Made up.",
        summary=pd.DataFrame(),
    )
    rows = latex_rows(render_latex([table], COLUMN))[1:]
    assert rows == [["V1", "$V_{2}$", "0.5"], ["--", "slope", "1"]]


def test_the_usual_number_of_seeds_is_in_the_caption_and_others_are_in_their_cells():
    cells = ["1.0 +- 0.2 (3)", "2.0 +- 0.3 (3)", "3.0 +- 0.4 (2)", "4.0 +- 0.5 (2); diverged 1/3"]
    text = render_latex([table_of(cells)], COLUMN)
    assert "Where an interval has no number in parentheses, it is 3." in text
    _, *rows = latex_rows(text)
    assert [re.findall(r"\((\d)\)", row[1]) for row in rows] == [[], [], ["2"], ["2"]]


def test_a_table_for_a_page_spans_both_columns():
    table = table_of(["1"])
    assert r"\begin{table}" in render_latex([table], COLUMN)
    assert r"\begin{table*}" in render_latex([table], PAGE)


def test_a_table_that_is_too_wide_names_the_generations_that_fit(tmp_path):
    table = wide_table(tmp_path / "a", 8)
    (sentence,) = describe_misfits([table], COLUMN)
    match = re.search(r"it fits with --where ([\w= ]+), or use --width page", sentence)
    assert match
    kept = match[1].split()
    assert (kept[0], kept[-1]) == ("generation=1", "generation=8")
    frame = keep_rows(load_results([tmp_path / "a"]), kept)
    (narrow,) = build_tables(frame, ["kid/pixels"], by=(), confidence=0.95)
    assert estimate_width(narrow) <= COLUMN < estimate_width(table)
    assert describe_misfits([narrow], COLUMN) == []


def test_a_name_that_is_too_wide_is_named():
    table = table_of(["1"])
    table.rows[0][0] = "x" * 100
    (sentence,) = describe_misfits([table], COLUMN)
    assert "the columns that name its rows take" in sentence
    assert sentence.endswith("and pool.alpha most of them")


def test_the_note_is_on_stderr_and_the_table_on_stdout(tmp_path, capsys):
    folder = str(write_folder(tmp_path / "a", generations=8))
    assert PROGRAM.run(["table", folder, "--format", "latex"]) == 0
    streams = capsys.readouterr()
    assert "note: kid/pixels is about" in streams.err
    assert "inches wide" not in streams.out


def test_only_latex_has_a_width(tmp_path, capsys):
    folder = str(write_folder(tmp_path / "a"))
    assert PROGRAM.run(["table", folder, "--width", "page"]) == 2
    assert "error: --width must be used with --format latex" in capsys.readouterr().err
