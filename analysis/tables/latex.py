r"""Renders tables as LaTeX: rules of booktabs, numbers aligned by siunitx, and labels.

The width of a table is estimated from the widths of Computer Modern's letters, the widest of the
usual fonts of papers.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from analysis.escapes import escape_latex, file_stems
from analysis.reading.labels import NAMES_IN_PAPERS
from analysis.tables.table import Table
from analysis.widths import COLUMN, PAGE
from model.errors import printable_name

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

PREAMBLE = r"""% The preamble needs:
% \usepackage{booktabs}
% \usepackage{siunitx}

"""
MORE_LETTERS = (
    "% Some names have letters that pdfLaTeX does not know: use LuaLaTeX and a font with them.\n\n"
)
LAST_LATIN = 0x17F
"""Last letter of Latin Extended-A; pdfLaTeX knows those up to here."""
POINTS_PER_INCH = 72.27
SIZE = 9 * 1.045
r"""Size in points of \small in a document of 10 points. Letters made for 9 points are up to
4.5% wider than smaller copies of those for 10 points, which are measured."""
FONT_SIZE = 10
"""Size in points of the letters that are measured."""
GAP = 8
r"""Space between two columns in points, which is twice \tabcolsep."""
HEIGHT = 550
"""Height of a page of the class article in points."""
BELOW_CAPTION = 6
"""Space between a caption and its table in points; the class article has none."""
LINE, CAPTION_LINE, RULES = 11, 12, 50
r"""Heights of a row in \small, of a line of the caption, and of the rest of a table in points."""
WIDE = 0.84
"""Width in em of mathematical signs, commands, and letters that Computer Modern does not have."""

NUMBER = re.compile(r"(-?)(\d+)(\.\d+)?((?:[ ;].*)?)")
"""A cell that starts with a number without exponent, and the rest of the cell."""
INTERVAL = re.compile(r"(\S+ \+- \S+) \(([^()]+)\)")
"""A cell that is an interval, followed by the number of seeds."""
NUMERAL = r"-?\d[\d.]*(?:e[+-]?\d+)?"
"""A number, which may have an exponent."""
DASH = "--"
"""What stands for a missing value."""
GENERATION = re.compile(r"V(\d+)")
"""Header of the column of a generation."""


class Column(NamedTuple):
    """A column of a table in LaTeX."""

    header: str
    """Its header before it was typeset."""
    kind: str
    """Its entry in the preamble of the tabular; a number and the rest of the cell take two."""
    cells: list[str]
    """LaTeX of all cells, the header first."""
    width: float
    """Estimated width in points."""


def render_latex(tables: Sequence[Table], width: float) -> str:
    """Render tables as LaTeX; those of more than a column's inches go over both columns."""
    labels = file_stems([[*table.runs, table.title] for table in tables])
    texts = [_table(table, label, width) for table, label in zip(tables, labels, strict=True)]
    body = "\n".join(texts)
    return PREAMBLE + (MORE_LETTERS if lacks_letters(body) else "") + body


def lacks_letters(text: str) -> bool:
    """Whether pdfLaTeX does not know some letters of a text."""
    return any(ord(letter) > LAST_LATIN for letter in printable_name(text))


def estimate_width(table: Table) -> float:
    """Estimate the width of a table in LaTeX in inches."""
    return _inches(_columns(table))


def describe_misfits(tables: Sequence[Table], width: float) -> list[str]:
    """Say of each table that is too wide what would have to be left out, and which are too long."""
    sentences = []
    for table in tables:
        columns = _columns(table)
        if (inches := _inches(columns)) > width:
            words = f"{table.title} is about {inches:.1f} inches wide, more than {width:g}"
            ways = [_advise(columns, table.num_names, width)]
            ways += ["use --width page"] if width < inches <= PAGE else []
            sentences.append(f"{words}; {', or '.join(ways)}")
        if _height(table, width) > HEIGHT:
            rows = f"{len(table.rows)} rows and its caption"
            sentences.append(
                f"{table.title} is longer than a page with {rows}; show fewer settings"
            )
    return sentences


def _height(table: Table, width: float) -> float:
    """Estimated height in points."""
    caption = _measure(_caption(table)) * CAPTION_LINE / LINE / POINTS_PER_INCH
    return LINE * len(table.rows) + CAPTION_LINE * math.ceil(caption / width) + RULES


def _table(table: Table, label: str, width: float) -> str:
    columns = _columns(table)
    environment = "table*" if width > COLUMN else "table"
    header, *rows = (
        " & ".join(row) + r" \\" for row in zip(*(c.cells for c in columns), strict=True)
    )
    kinds = "".join(column.kind for column in columns)
    lines = [
        rf"\begin{{{environment}}}",
        r"\centering",
        rf"\setlength{{\belowcaptionskip}}{{{BELOW_CAPTION}pt}}",
        rf"\caption{{{_caption(table)}}}",
        rf"\label{{tab:{label}}}",
        r"\small",
        rf"\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}",
        rf"\begin{{tabular}}{{@{{}}{kinds}@{{}}}}",
        r"\toprule",
        header,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def _caption(table: Table) -> str:
    count = _usual_count(table)
    words = f" Where an interval has no number in parentheses, it is {count}." if count else ""
    return _typeset(_named(escape_latex(f"{table.title}. {table.caption}{words}")))


def _columns(table: Table) -> list[Column]:
    count = _usual_count(table)
    columns = []
    last = len(table.header) - 1
    for i, header in enumerate(table.header):
        cells = [row[i] for row in table.rows]
        if i < table.num_names:
            columns.append(_text_column(header, [_name(header, cell) for cell in cells]))
        else:
            # Both ends of a row are without space, also where a cell spans two columns.
            kind = f"{'@{}' * (i == 0)}c{'@{}' * (i == last)}"
            numbers = [_without(count, cell) for cell in cells]
            columns.append(_number_column(header, numbers, kind))
    return columns


def _text_column(header: str, cells: list[str]) -> Column:
    texts = [_header(header), *cells]
    return Column(header, "l", texts, max(map(_measure, texts)))


def _number_column(header: str, cells: list[str], spanning: str) -> Column:
    """A column of numbers that siunitx aligns, and a second one for what follows the numbers.

    Uncertainties and text would be spaced badly in a column of siunitx.

    Args:
        header: Its header.
        cells: Its cells.
        spanning: The kind of cell that spans both columns.
    """
    parsed = [NUMBER.fullmatch(cell) for cell in cells]
    numbers = [match for match in parsed if match]
    if not numbers:
        return _text_column(header, list(map(_cell, cells)))
    kind, width = _number_format(numbers)
    has_rests = any(match[4] for match in numbers)
    start = "{"
    if has_rests:
        kind, start = kind + r"@{\,}l", rf"\multicolumn{{2}}{{{spanning}}}{{"
        width += max(_measure("," + _rest(match)) for match in numbers)
    texts = [_header(header)]
    column = [f"{start}{texts[0]}}}"]
    for cell, match in zip(cells, parsed, strict=True):
        if match:
            rest = f" & {_rest(match)}" if has_rests else ""
            column.append(f"{match[1]}{match[2]}{match[3] or ''}{rest}")
        else:
            texts.append(_cell(cell))
            column.append(f"{start}{texts[-1]}}}")
    return Column(header, kind, column, max(width, *map(_measure, texts)))


def _cell(cell: str) -> str:
    """LaTeX of a cell of numbers that siunitx does not align."""
    if cell == "-":
        return DASH
    return rf"\num{{{cell}}}" if re.fullmatch(NUMERAL, cell) else _typeset(escape_latex(cell))


def _number_format(numbers: Sequence[re.Match]) -> tuple[str, float]:
    """The entry of the preamble for numbers with these digits, and its width in points."""
    sign = "-" if any(match[1] for match in numbers) else ""
    whole = max(len(match[2]) for match in numbers)
    places = max(len(match[3] or ".") - 1 for match in numbers)
    sample = f"{sign}{'0' * whole}{'.' * (places > 0)}{'0' * places}"
    return f"S[table-format={sign}{whole}.{places}]", _measure(rf"\num{{{sample}}}")


def _rest(match: re.Match) -> str:
    """LaTeX of what follows a number."""
    latex = _typeset(escape_latex(match[4].strip()))
    return re.sub(r"^\$\\pm\$ ([\d.]+)", r"$\\pm$ \\num{\1}", latex)


def _usual_count(table: Table) -> str:
    """The number of seeds of most intervals, which the caption states once; empty if none has."""
    cells = [cell for row in table.rows for cell in row[table.num_names :]]
    counts = Counter(match[2] for cell in cells if (match := INTERVAL.fullmatch(cell)))
    return counts.most_common(1)[0][0] if counts else ""


def _without(count: str, cell: str) -> str:
    match = INTERVAL.fullmatch(cell)
    return match[1] if match and match[2] == count else cell


def _header(header: str) -> str:
    escaped = escape_latex(header)
    return NAMES_IN_PAPERS.get(header) or _typeset(escaped)


def _name(header: str, cell: str) -> str:
    """LaTeX of a cell that names a row; generations have a column without a header."""
    if cell == "-":
        return DASH
    escaped = escape_latex(cell)
    return _named(escaped) if header else _typeset(escaped)


def _named(latex: str) -> str:
    """Put the names of papers before the values of settings."""
    for setting, name in NAMES_IN_PAPERS.items():
        pattern = rf"(^|[,:] ){re.escape(escape_latex(setting))}(?= = )"
        latex = re.sub(pattern, lambda match, name=name: match[1] + name, latex)
    return latex


def _advise(columns: Sequence[Column], num_names: int, width: float) -> str:
    """Say which columns to leave out: the last ones, but rather the generations in between."""
    names, numbers = list(columns[:num_names]), list(columns[num_names:])
    generations = [GENERATION.fullmatch(column.header) for column in numbers]
    left_out: list[Column] = []
    while numbers and _inches([*names, *numbers]) > width:
        left_out.append(numbers.pop(-2 if all(generations) and len(numbers) > 1 else -1))
    if not numbers:
        widest = max(names or columns, key=lambda column: column.width)
        inches = f"{_inches(names):.1f} inches"
        return f"the columns that name its rows take {inches}, and {widest.header} most of them"
    if all(generations):
        kept = " ".join(f"generation={column.header.removeprefix('V')}" for column in numbers)
        return f"it fits with --where {kept}"
    return f"it fits without {', '.join(column.header for column in reversed(left_out))}"


def _inches(columns: Sequence[Column]) -> float:
    points = sum(column.width for column in columns) + GAP * (len(columns) - 1)
    return points / POINTS_PER_INCH


def _measure(latex: str) -> float:
    """Width of text in points, rather too large than too small."""
    plain = re.sub(r"\\num\{(.*?)\}", lambda match: _printed(match[1]), latex)
    tokens = re.findall(r"\\[a-zA-Z]+(?:\{(?:34)?\})?|\\.|[^\\{}$^]", plain)
    em = sum(WIDE if len(t) > 2 else _em(t[-1]) for t in tokens if t != "_")
    return em * SIZE


def _printed(number: str) -> str:
    r"""What \num prints, with other signs: commas for the spaces in five digits or more."""
    grouped = re.sub(
        r"\d{5,}", lambda digits: digits[0] + "," * ((len(digits[0]) - 1) // 3), number
    )
    return grouped.replace("-", r"\pm{}").replace("e", r"\pm{}10")


@functools.cache
def _em(letter: str) -> float:
    """Width of a letter in em."""
    from matplotlib.ft2font import LoadFlags

    font = _computer_modern()
    if letter in "<>_" or ord(letter) not in font.get_charmap():
        return WIDE
    return font.load_char(ord(letter), LoadFlags.NO_HINTING).linearHoriAdvance / 2**16 / FONT_SIZE


@functools.cache
def _computer_modern() -> "FT2Font":
    """The font, from matplotlib, which other formats of tables do not import."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(Path(matplotlib.get_data_path(), "fonts/ttf/cmr10.ttf")))
    font.set_size(FONT_SIZE, 72)
    return font


def _typeset(latex: str) -> str:
    """Put intervals, V_n and D_n into mathematics."""
    interval = rf"(?<![\w.])({NUMERAL}) \+- ({NUMERAL})"
    latex = re.sub(interval, r"$\\num{\1} \\pm \\num{\2}$", latex)
    latex = re.sub(rf"(?:^|(?<= ))(?=-)({NUMERAL})(?= |$|;)", r"\\num{\1}", latex)
    latex = latex.replace("+-", r"$\pm$")
    latex = re.sub(r"\bV(\d+)\b", r"$V_{\1}$", latex)
    return re.sub(r"\b([VD])\\_n\b", r"$\1_n$", latex)
