"""A label stands for one value: of a setting, a class, a seed or a run."""

import io
import json

import pandas as pd
import pytest
from hostile_names import HOSTILE, NAMES, NEAR, VALUES
from hypothesis import given
from hypothesis import strategies as st

from analysis.escapes import escape_csv, escape_latex, escape_markdown, file_stems
from analysis.figures.drawing.text import figure_text
from analysis.reading.labels import Labels, spell


def name_all(values: list) -> list[str]:
    """The names of the values of one setting, as a table has them."""
    frame = pd.DataFrame({"x.y": pd.Series(spell(values), dtype=object)})
    labels = Labels(frame)
    return [labels.name("x.y", value) for value in frame["x.y"]]


def distinct(values: list) -> list:
    """The values without repetitions, as JSON tells them apart."""
    return list({json.dumps(value): value for value in values}.values())


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0.3, 0.1 + 0.2], ["0.3", "0.30000000000000004"]),
        ([0.1, 0.1 + 0.2], ["0.1", "0.3"]),
        ([0.5, 1.0, 40.0], ["0.5", "1", "40"]),
        ([None, 0.5], ["-", "0.5"]),
        ([None, "-"], ["-", '"-"']),
        ([None, "None"], ["-", "None"]),
        ([1, "1"], ["1", '"1"']),
        ([1, 1.0], ["1", "1.0"]),
        ([1, True], ["1", "true"]),
        ([0.0, -0.0], ["0.0", "-0.0"]),
        (["1", "01", "1.0"], ['"1"', '"01"', '"1.0"']),
        ([[1], "[1]"], ["[1]", '"[1]"']),
        ([[16, 32], [32, 64]], ["[16, 32]", "[32, 64]"]),
        (["a, b", ""], ['"a, b"', '""']),
        (["caf\u00e9", "cafe\u0301"], ['"caf\\u00e9"', '"cafe\\u0301"']),
        ([1e300, 1.5], ["1e+300", "1.5"]),
        ([2**53, 2**53 + 1, 0.5], ["9007199254740992", "9007199254740993", "0.5"]),
    ],
)
def test_names_are_as_short_as_the_other_values_allow(values, names):
    assert name_all(values) == names


@given(st.lists(VALUES, max_size=6))
def test_each_value_has_a_name_of_its_own_in_every_format(values):
    values = distinct(values)
    names = name_all(values)
    for escape in (escape_markdown, escape_latex, escape_csv, lambda text: figure_text(text, 34)):
        assert len({escape(name) for name in names}) == len(values)
    assert len(set(file_stems([["grid", name] for name in names]))) == len(values)


@given(st.lists(VALUES, max_size=6))
def test_each_value_is_a_cell_of_its_own(values):
    """For Python, which groups rows by cells, and for whoever reads the csv file with pandas."""
    values = distinct(values)
    cells = spell(values)
    assert len(set(cells)) == len(values)
    text = pd.DataFrame({"x": pd.Series(map(escape_csv, cells), dtype=object), "y": 1}).to_csv()
    read = pd.read_csv(io.StringIO(text))
    assert read["x"].nunique(dropna=False) == len(values)


@given(st.dictionaries(NAMES, NAMES, max_size=3), st.dictionaries(NAMES, NAMES, max_size=3))
def test_two_settings_never_have_one_name(one, other):
    """Even if a value looks like the name of another setting: `b, x = 1`."""
    axes = [f"group.{key}" for key in HOSTILE[:4]]
    settings = [dict(zip(axes, values.values(), strict=False)) for values in (one, other)]
    columns = {axis: spell([each.get(axis) for each in settings]) for axis in axes}
    frame = pd.DataFrame(columns, dtype=object)
    labels = Labels(frame)
    rows = frame.to_dict("records")
    same = rows[0] == rows[1]
    assert (labels.list_settings(rows[0]) == labels.list_settings(rows[1])) == same
    assert (labels.describe_setting(rows[0]) == labels.describe_setting(rows[1])) == same
    assert (labels.file_name("grid", rows[0]) == labels.file_name("grid", rows[1])) == same


@given(st.lists(NEAR, min_size=1))
def test_a_value_has_the_same_name_wherever_it_stands(values):
    """Whatever part of a table is looked at."""
    frame = pd.DataFrame({"x.y": pd.Series(spell(values), dtype=object)})
    labels = Labels(frame)
    names = [labels.name("x.y", value) for value in frame["x.y"]]
    assert [labels.name("x.y", value) for value in frame["x.y"][::-1]] == names[::-1]
