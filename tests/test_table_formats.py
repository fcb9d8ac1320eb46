"""Formats of tables: HTML and Parquet, and what every format says about its numbers."""

import io
import subprocess
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest
from hostile_names import HOSTILE
from results_folder import write_folder

from analysis.__main__ import PROGRAM
from analysis.reading.results import load_results
from analysis.tables.build import build_tables
from analysis.tables.comparisons import build_comparisons
from analysis.tables.parquet import as_parquet
from analysis.tables.render import TABLE_FORMATS, is_table, long_table, render_tables
from analysis.tables.table import Table
from model.errors import printable_name


def tables_of(folder) -> list[Table]:
    frame = load_results([folder])
    of_seeds = build_tables(frame, ["kid/pixels"], by=(), confidence=0.95)
    compared = build_comparisons(frame, ["kid/pixels"], against="V1", confidence=0.95)
    return [*of_seeds, *compared]


class Page(HTMLParser):
    """The text of each element of a page that has no elements inside it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[tuple[str, str]] = []
        self.loaded: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.texts.append((tag, ""))
        self.loaded += [name for name, _ in attrs if name in ("src", "href", "onclick")]

    def handle_data(self, data):
        if self.texts:
            tag, text = self.texts[-1]
            self.texts[-1] = (tag, text + data)

    def cells(self, tag: str) -> list[str]:
        return [text.rstrip("\n") for name, text in self.texts if name == tag]


@pytest.mark.parametrize("style", [*TABLE_FORMATS, "parquet"])
def test_every_format_says_what_was_measured_on_which_seeds_and_where(style, tmp_path):
    for table in tables_of(write_folder(tmp_path / "a", num_generated=37, num_reference=41)):
        if style == "parquet":
            text = pd.read_parquet(io.BytesIO(as_parquet(long_table([table])))).to_string()
        else:
            text = render_tables([table], style)
        if style in ("csv", "parquet") and table.summary.empty:
            continue  # its numbers are those of the table before it
        for words in ("37", "41", "pixels", "0, 1, 2", "device=cpu"):
            assert words in text.replace(r"\_", "_")


def test_html_shows_names_and_loads_nothing():
    rows = [[name, "1.5 +- 0.2 (3)"] for name in HOSTILE]
    table = Table(
        title="<b>",
        header=["x.y", "V1"],
        rows=rows,
        num_names=1,
        caption="&",
        summary=pd.DataFrame(),
    )
    page = Page(render_tables([table], "html"))
    assert page.loaded == []
    assert page.cells("h2") == ["<b>"]
    assert page.cells("th")[2:] == list(map(printable_name, HOSTILE))
    assert set(page.cells("td")) == {"1.5 \u00b1 0.2 (3)"}
    assert "script" not in {tag for tag, _ in page.texts}


def test_parquet_has_the_numbers_of_csv(tmp_path):
    folder = write_folder(tmp_path / "a", diverged=((1.0, 2, 2),))
    frame = long_table(tables_of(folder)[:1])
    read = pd.read_parquet(io.BytesIO(as_parquet(frame)))
    assert list(read.columns) == list(frame.columns)
    assert read["mean"].tolist() == frame["mean"].tolist()
    assert [str(read[name].dtype) for name in ("metric", "pool.alpha", "n")] == [
        "string",
        "Float64",
        "Int64",
    ]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, "slope"], "string"),
        ([1, 2.5, None], "Float64"),
        ([1, None], "Int64"),
        ([True, None], "boolean"),
        ([True, 1], "string"),
        ([2**70, 1], "string"),
        (["caf\udce9", None], "string"),
        ([None, None], "Float64"),
    ],
)
def test_a_column_of_parquet_has_one_type(cells, kind):
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object)})
    content = as_parquet(frame)
    read = pd.read_parquet(io.BytesIO(content))["x"]
    assert str(read.dtype) == kind
    assert read.isna().tolist() == [cell is None for cell in cells]
    assert is_table(content)


def test_a_parquet_table_that_its_user_changed_is_kept(tmp_path, capsys):
    folder, out = write_folder(tmp_path / "a"), tmp_path / "table.parquet"
    words = ["table", str(folder), "--format", "parquet", "--out", str(out)]
    assert PROGRAM.run(words) == 0
    assert PROGRAM.run(words) == 0
    frame = pd.read_parquet(out)
    frame.loc[0, "mean"] = 0.0
    frame.to_parquet(out)
    changed = out.read_bytes()
    assert PROGRAM.run(words) == 2
    assert out.read_bytes() == changed
    assert "--out must be new, or unchanged" in capsys.readouterr().err


def test_a_damaged_parquet_file_is_kept(tmp_path):
    content = as_parquet(pd.DataFrame({"x": [1.0]}))
    assert not is_table(content[:-20])
    assert not is_table(b"PAR1")


def test_the_whole_tidy_table_can_be_parquet(tmp_path):
    folder, out = write_folder(tmp_path / "a"), tmp_path / "tidy.parquet"
    words = ["table", str(folder), "--tidy", "--format", "parquet", "--out", str(out)]
    assert PROGRAM.run(words) == 0
    assert list(pd.read_parquet(out).columns) == list(load_results([folder]).columns)


def test_parquet_needs_a_file(tmp_path, capsys):
    assert PROGRAM.run(["table", str(write_folder(tmp_path / "a")), "--format", "parquet"]) == 2
    assert "--format parquet must be used with --out FILE" in capsys.readouterr().err


def test_parquet_without_pyarrow_names_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = tmp_path / "table.parquet"
    words = ["table", str(write_folder(tmp_path / "a")), "--format", "parquet", "--out", str(out)]
    assert PROGRAM.run(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --format parquet must have pyarrow, got none; pip install")
    assert len(error.splitlines()) == 1


def test_only_latex_needs_matplotlib():
    """Whose import takes longer than a small table."""
    code = (
        "import sys, analysis.tables.build, analysis.tables.render as render; "
        "render.render_tables([], 'md'); print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
