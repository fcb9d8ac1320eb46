"""Names are shown as they are in every format, and never act on what shows them."""

import csv
import io
import re
from collections.abc import Callable

import pandas as pd
import pytest
from hostile_names import HOSTILE, NAMES
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[import-not-found]

from analysis.escapes import escape_csv, escape_html, escape_latex, escape_markdown, file_stems
from analysis.figures.drawing.text import figure_text
from model.errors import printable_name
from sweep.tensorboard import escape_tag


def stem(name: str) -> str:
    """The file of a name when all hostile names have one."""
    stems = file_stems([["grid", other] for other in HOSTILE])
    return stems[HOSTILE.index(name)]


def figure_label(name: str) -> str:
    return figure_text(name, 34)


ESCAPES: dict[str, Callable[[str], str]] = {
    "terminal": printable_name,
    "markdown": escape_markdown,
    "html": escape_html,
    "latex": escape_latex,
    "csv": escape_csv,
    "figure": figure_label,
    "tensorboard": escape_tag,
    "file": stem,
}


def is_safe_on_a_terminal(text: str) -> bool:
    return text.isprintable()


def is_one_cell_of_markdown(text: str) -> bool:
    """A renderer finds a table of one cell, whose text is the name."""
    return not re.search(r"(?<!\\)(?:\\\\)*[|<`$]", text)


def is_text_in_html(text: str) -> bool:
    """In an element and in a quoted attribute."""
    return not re.search(r"""[<>"']|&(?!(?:lt|gt|amp|quot|#x27);)""", text)


def is_text_in_latex(text: str) -> bool:
    """Without our own commands, no character that LaTeX acts on is left."""
    ours = r"\\(?:text\w+|symbol)\{(?:34)?\}|\\[&%$#_{}]|(?<=[-',])\{\}|^\{\}(?=[\[*])"
    rest = re.sub(ours, " ", text)
    return not re.search(r"[\\&%$#_{}~^<>|`\"]|--|''|^[\[*]", rest)


def is_no_formula(text: str) -> bool:
    """Nor is it one in countries where semicolons separate cells."""
    return not re.search(r"(?:^|;) *[-=+@]", text)


def is_no_mathematics(text: str) -> bool:
    lines = text.split("\n")
    return all(line.isprintable() and not is_math_text(line) for line in lines)


def fits_an_event(text: str) -> bool:
    value = Summary.Value(tag=text, simple_value=1.0)
    return Summary.Value.FromString(value.SerializeToString()).tag == text


def is_a_file_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9.-]{1,240}", text) is not None


SAFE: dict[str, Callable[[str], bool]] = {
    "terminal": is_safe_on_a_terminal,
    "markdown": lambda text: is_safe_on_a_terminal(text) and is_one_cell_of_markdown(text),
    "html": lambda text: is_safe_on_a_terminal(text) and is_text_in_html(text),
    "latex": lambda text: is_safe_on_a_terminal(text) and is_text_in_latex(text),
    "csv": lambda text: is_safe_on_a_terminal(text) and is_no_formula(text),
    "figure": is_no_mathematics,
    "tensorboard": lambda text: is_safe_on_a_terminal(text) and fits_an_event(text),
    "file": is_a_file_name,
}


@pytest.mark.parametrize("output", ESCAPES)
def test_a_name_does_nothing_in_any_format(output):
    assert [name for name in HOSTILE if not SAFE[output](ESCAPES[output](name))] == []


@pytest.mark.parametrize("output", ESCAPES)
def test_different_names_stay_different_in_every_format(output):
    """Also for systems on which upper and lower case are one file."""
    texts = [ESCAPES[output](name) for name in HOSTILE]
    assert len({text.lower() if output == "file" else text for text in texts}) == len(HOSTILE)


@pytest.mark.parametrize("output", [name for name in ESCAPES if name != "file"])
@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_any_two_names_stay_different(output, names):
    one, other = map(ESCAPES[output], names)
    assert one != other
    assert SAFE[output](one)


@given(st.lists(NAMES, unique=True))
def test_no_two_names_have_one_file(names):
    stems = file_stems([["grid", name] for name in names])
    assert len({text.lower() for text in stems}) == len(names)
    assert all(map(is_a_file_name, stems))


def test_a_name_that_looks_like_another_with_its_hash_has_a_file_of_its_own():
    (hashed, _) = file_stems([["a|b"], ["a/b"]])
    stems = file_stems([["a|b"], ["a/b"], [hashed]])
    assert len(set(stems)) == 3


def test_markdown_renders_the_names_themselves():
    """As on a terminal: what a name holds of HTML, links and emphasis is shown as text."""
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    rows = "".join(f"| {escape_markdown(name)} |\n" for name in HOSTILE)
    inline = [t for t in markdown.parse(f"| name |\n|:--|\n{rows}") if t.type == "inline"]
    cells = [token.children or [] for token in inline[1:]]
    assert {child.type for cell in cells for child in cell} <= {"text", "text_special"}
    texts = ["".join(child.content for child in cell) for cell in cells]
    assert texts == [printable_name(name) for name in HOSTILE]


@pytest.mark.parametrize("number", [-1, -0.5, 1e-300, -3.0, 0, True, None, float("nan")])
def test_numbers_stay_numbers_in_csv(number):
    assert escape_csv(number) is number


@given(st.lists(NAMES, min_size=1, unique=True))
def test_pandas_and_csv_read_names_apart(names):
    """Every name is text, and none is a missing value."""
    frame = pd.DataFrame({"name": [escape_csv(name) for name in names], "number": -1.5})
    text = frame.to_csv(index=False, lineterminator="\n")
    read = pd.read_csv(io.StringIO(text), dtype={"name": str})
    assert read["name"].notna().all()
    assert read["name"].nunique() == len(names)
    assert set(read["number"]) == {-1.5}
    assert len(list(csv.reader(io.StringIO(text)))) == len(names) + 1


def test_every_name_can_be_drawn():
    """Without a warning about missing letters, which is an error here."""
    figure = Figure(figsize=(3, 1), dpi=40)
    for name in HOSTILE:
        figure.text(0, 0, figure_text(f"alpha = {name}, epochs = 1", 34))
    figure.savefig(io.BytesIO(), format="png")


def test_alpha_is_a_greek_letter_where_it_is_the_setting():
    assert figure_text("alpha = 1, epochs = 2", 68) == r"$\alpha$ = 1, epochs = 2"
