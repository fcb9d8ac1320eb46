"""What holds of every table and figure, whatever settings, classes, runs and metrics are called."""

import io
import json
import math
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from figure_requests import figure_request
from hostile_names import HOSTILE, VALUES
from hypothesis import given, settings
from hypothesis import strategies as st
from latex_tables import latex_rows, plain_text, usual_count
from results_folder import write_folder

from analysis.escapes import escape_csv
from analysis.figures.drawing.lines import arrange_lines
from analysis.figures.drawing.text import figure_text
from analysis.figures.kinds import draw_figures
from analysis.reading.columns import CLASS, METRIC_COLUMNS, SPLIT, grouped, setting_axes
from analysis.reading.labels import Labels
from analysis.reading.results import load_class_results, load_results
from analysis.tables.build import build_tables, format_interval
from analysis.tables.render import render_tables, render_tidy
from analysis.tables.table import Table

EXTRACTORS = st.sampled_from(("pixels", "$x$", "a|b", "<b>", "V1", "=1+1", "a_b, c", "\x1b[31m"))
ENCODABLE = tuple(name for name in HOSTILE if name.isascii() or name.isprintable())
"""Names that a JSON file can hold; one with lone surrogates is refused when it is read."""
FOLDERS = st.sampled_from(
    [n for n in ENCODABLE if n.strip(".") and not re.search(r"[/\0]|x{99}", n)]
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Results folders whose names all are chosen by strangers."""

    folders: list[Path]
    values: list[Any]
    """The value of the setting `x.y` in each folder."""
    classes: tuple[str, ...]
    frame: pd.DataFrame


def encodable(value: object) -> bool:
    return not re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False))


def unique(names: tuple[str, ...], count: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=count, max_size=count, unique=True)


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    """Names of runs and classes, values of a setting, seeds, splits, and who diverged."""
    values = draw(st.lists(VALUES.filter(encodable), min_size=1, max_size=4))
    return {
        "values": list({json.dumps(value): value for value in values}.values()),
        "runs": draw(st.lists(FOLDERS, min_size=4, max_size=4, unique=True)),
        "classes": tuple(
            draw(st.lists(st.sampled_from(ENCODABLE), min_size=1, max_size=5, unique=True))
        ),
        "seeds": draw(st.sampled_from(((0,), (0, 1), (2**53, 2**53 + 1)))),
        "splits": draw(st.sampled_from(((), (0,), (0, 1)))),
        "extractor": draw(EXTRACTORS),
        "diverged": draw(st.booleans()),
    }


def write_case(root: Path, plan: dict[str, Any]) -> Case:
    """Write a folder for each value of the setting."""
    folders = [
        write_folder(
            root / run,
            alphas=(1.0,),
            generations=2,
            settings={"x": {"y": value}},
            diverged=((1.0, plan["seeds"][0], 2),) if plan["diverged"] else (),
            warnings=[f"kid/{plan['extractor']} has | few; images"],
            **{name: plan[name] for name in ("classes", "seeds", "splits", "extractor")},
        )
        for run, value in zip(plan["runs"], plan["values"], strict=False)
    ]
    values, classes = plan["values"], plan["classes"]
    return Case(folders=folders, values=values, classes=classes, frame=load_results(folders))


def build(frame: pd.DataFrame, names: list[str]) -> list[Table]:
    return build_tables(frame, names, by=(), confidence=0.95)


def cells_of(text: str) -> list[list[str]]:
    """The cells of the rows of Markdown tables, header and rule included."""
    lines = [line for line in text.split("\n") if line.startswith("|")]
    return [re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1] for line in lines]


@settings(max_examples=5)
@given(plans())
def test_tables(plan):
    check_tables(plan)


@pytest.mark.slow
@settings(max_examples=100)
@given(plans())
def test_many_tables(plan):
    check_tables(plan)


def check_tables(plan: dict[str, Any]) -> None:
    """Every fact about the tables of one case."""
    with tempfile.TemporaryDirectory() as root:
        case = write_case(Path(root), plan)
        check_tidy(case)
        kid = f"kid/{plan['extractor']}"
        (table,) = tables = build(case.frame, [kid])
        check_rows(case, table, plan)
        check_formats(tables)
        check_composition(case)
        check_classes(case, plan["extractor"])


def check_tidy(case: Case) -> None:
    """One row per setting, seed, split, generation and member, also in csv."""
    frame = case.frame
    units = [column for column in ("seed", SPLIT) if column in frame]
    keys = ["x.y", *units, "generation", "member"] if "x.y" in frame else [*units, "generation"]
    assert not frame.duplicated(keys).any()
    read = pd.read_csv(io.StringIO(render_tidy(frame)))
    assert len(read) == len(frame)
    assert list(read.columns) == list(map(escape_csv, frame.columns))
    pd.testing.assert_series_equal(read["pixel_std"], frame["pixel_std"])
    assert read["run"].nunique() == len(case.folders)
    sizes = frame[list(METRIC_COLUMNS[:2])].dropna()
    assert (sizes == 20).all(axis=None)


def check_rows(case: Case, table: Table, plan: dict[str, Any]) -> None:
    """A row for each setting and no other, with as many lineages as there are."""
    names = [tuple(row[: table.num_names]) for row in table.rows]
    assert len(set(names)) == len(names) == len(case.values)
    units = len(plan["seeds"]) * max(1, len(plan["splits"]))
    assert set(table.summary["num_lineages"]) == {units}
    done = table.summary["n"] + table.summary["num_diverged"]
    assert (done == table.summary["num_lineages"]).all()


def check_formats(tables: list[Table]) -> None:
    """Markdown and LaTeX hold the numbers of the csv, in tables whose rows have equal lengths."""
    (table,) = tables
    rows = cells_of(render_tables(tables, "md"))
    assert {len(row) for row in rows} == {len(table.header)}
    assert len(rows) == len(table.rows) + 2
    read = pd.read_csv(io.StringIO(render_tables(tables, "csv")))
    assert len(read) == len(table.summary)
    numbers = [number for row in rows[2:] for number in row[table.num_names :]]
    latex = render_tables(tables, "latex")
    typeset = latex_rows(latex)[1:]
    assert [len(row) for row in typeset] == [len(table.header)] * len(table.rows)
    count = usual_count(latex)
    plain = [_untypeset(number, count) for row in typeset for number in row[table.num_names :]]
    several = bool((read["num_splits"] > 1).any())
    expected = [expected_cell(row, several) for row in read.to_dict("records")]
    assert sorted(number.strip() for number in numbers) == sorted(expected) == sorted(plain)


def _untypeset(cell: str, count: str) -> str:
    """The text of a cell of LaTeX; a bare interval is one of the usual number of seeds."""
    text = plain_text(cell)
    is_bare = "+-" in text and "(" not in text
    return f"{text} ({count})" if is_bare else text


def expected_cell(row: dict, several: bool) -> str:
    """A cell of a table, from the line of the csv with its numbers."""
    seeds, splits, n = (int(row[name]) for name in ("num_seeds", "num_splits", "n"))
    missing = "" if n == seeds * splits else f"{n} of "
    count = f"{missing}{seeds} x {splits}" if several else str(n)
    text = format_interval(row["mean"], row["half_width"], n, count)
    diverged = f"diverged {row['num_diverged']}/{row['num_lineages']}"
    if not row["num_diverged"]:
        return text
    return f"{text}; {diverged}" if n else diverged


def check_composition(case: Case) -> None:
    """The share of real images is that of the counts: 100 of 100, then 100 of 200."""
    (table,) = build(case.frame, ["composition"])
    for name, numbers in (("num_images", [100, 200]), ("real_share", [1, 0.5])):
        rows = table.summary[(table.summary["metric"] == name) & (table.summary["n"] > 0)]
        assert [numbers[n - 1] for n in rows["generation"]] == rows["mean"].tolist()


def check_classes(case: Case, extractor: str) -> None:
    """A row for each setting and class, whose shares sum to 1 in every generation."""
    frame = load_class_results(case.folders)
    (table,) = build(frame, [f"class_share/{extractor}"])
    names = [tuple(row[: table.num_names]) for row in table.rows]
    assert len(set(names)) == len(names) == len(case.values) * len(case.classes)
    measured = table.summary[table.summary["n"] > 0]
    by = [axis for axis in ("x.y", "generation") if axis in measured]
    for _, part in grouped(measured, by):
        assert math.isclose(part["mean"].sum(), 1)
    labels = Labels(frame)
    assert len(labels.names(CLASS, frame[CLASS])) == len(case.classes)
    read = pd.read_csv(io.StringIO(render_tidy(frame)))
    assert read[CLASS].nunique() == len(case.classes)


@settings(max_examples=2)
@given(plans())
def test_figures(plan):
    check_figures(plan)


@pytest.mark.slow
@settings(max_examples=40)
@given(plans())
def test_many_figures(plan):
    check_figures(plan)


def check_figures(plan: dict[str, Any]) -> None:
    """Every file is listed once, exists once, and shows one thing; so does every colour."""
    with tempfile.TemporaryDirectory() as root:
        case = write_case(Path(root), plan)
        out = Path(root) / "figures"
        metrics = [f"kid/{plan['extractor']}", "pixel_std"]
        request = figure_request(case.folders, out, metrics=metrics, image_format="svg")
        paths = draw_figures(request, ["curves", "grids"])
        assert len({path.name.lower() for path in paths}) == len(paths)
        assert sorted(out.iterdir()) == sorted(paths)
        assert sum(path.name.startswith("curves-") for path in paths) == 2
        measured = plan["diverged"] and len(plan["seeds"]) == 1  # then no V_2 has a preview
        assert len(paths) >= (4 if measured else 4 + len(case.values) - 1)
        axes = setting_axes(case.frame)
        ((panel,),) = arrange_lines(case.frame, axes[:1], request.labels)
        assert len({(x.colour, x.marker, x.dashes) for x in panel.lines}) == len(panel.lines)
        assert len({figure_text(line.label, 34) for line in panel.lines}) == len(case.values)
