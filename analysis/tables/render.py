"""Renders tables as text: Markdown, csv and LaTeX. TABLE_FORMATS lists the formats."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate

from analysis.escapes import escape_csv, escape_latex, escape_markdown
from analysis.reading.columns import (
    COMPARISON_COLUMNS,
    RUN_COLUMNS,
    SUMMARY_COLUMNS,
    SUMMARY_INPUTS,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of text cells, with the numbers behind them. All text is as yet unescaped."""

    title: str
    header: list[str]
    rows: list[list[str]]
    num_names: int
    """Number of columns that name a row; numbers follow them."""
    caption: str
    summary: pd.DataFrame
    """Columns metric, the axes of the rows and of the title, SUMMARY_COLUMNS, num_generated,
    num_reference and confidence; of comparisons, COMPARISON_COLUMNS after the axes."""


def render_tables(tables: Sequence[Table], style: str) -> str:
    """Render tables as text in one of the TABLE_FORMATS."""
    return TABLE_FORMATS[style](tables)


def render_tidy(frame: pd.DataFrame) -> str:
    """Render a frame as csv, e.g. the whole tidy table: one line per row, and no index."""
    escaped = frame.astype(object).map(_csv_cell).set_axis(map(escape_csv, frame.columns), axis=1)
    return escaped.to_csv(index=False, lineterminator="\n")


def _csv_cell(cell: object) -> object:
    return escape_csv("; ".join(cell) if isinstance(cell, tuple) else cell)


def _to_markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        header, *rows = [list(map(escape_markdown, row)) for row in (table.header, *table.rows)]
        text = tabulate(rows, header, tablefmt="pipe", disable_numparse=True)
        title, caption = escape_markdown(table.title), escape_markdown(table.caption)
        parts.append(f"**{title}**\n\n{text}\n\n{caption}\n")
    return "\n".join(parts)


def _to_latex(tables: Sequence[Table]) -> str:
    return "\n".join(map(_latex_table, tables))


def _latex_table(table: Table) -> str:
    def line(row: list[str]) -> str:
        cells = [
            escape_latex(cell) if column < table.num_names else _typeset(escape_latex(cell))
            for column, cell in enumerate(row)
        ]
        return " & ".join(cells) + r" \\"

    caption = _typeset(escape_latex(f"{table.title}. {table.caption}"))
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    lines += [rf"\begin{{tabular}}{{{'l' * len(table.header)}}}", r"\toprule", line(table.header)]
    lines += [r"\midrule", *map(line, table.rows), r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _typeset(latex: str) -> str:
    """Put intervals, V_n and D_n into math mode."""
    number = r"-?\d[\d.]*(?:e[+-]?\d+)?"
    latex = re.sub(rf"(?<![\w.])({number}) \+- ({number})", r"$\1 \\pm \2$", latex)
    latex = re.sub(r"(?:^|(?<= ))(-\d[\d.]*(?:e[+-]?\d+)?)(?= |$|;)", r"$\1$", latex)
    latex = latex.replace("+-", r"$\pm$")
    latex = re.sub(r"\bV(\d+)\b", r"$V_{\1}$", latex)
    return re.sub(r"\b([VD])\\_n\b", r"$\1_n$", latex)


def _to_long_csv(tables: Sequence[Table]) -> str:
    summaries = [table.summary.astype(object) for table in tables if len(table.summary)]
    return render_tidy(pd.concat(summaries, ignore_index=True)) if summaries else ""


def as_file(text: str, style: str) -> bytes:
    """Return rendered tables as the content of a file that is_table recognises."""
    return (text + (_mark(text, style) if style in COMMENTS else "")).encode()


def is_table(content: bytes) -> bool:
    """Whether the content of a file is a table of ours that nobody changed.

    Markdown and LaTeX end in a comment with a hash of the text before it. Csv has no comments, and
    is recognised by its columns.
    """
    text = content.decode(errors="replace")
    for style in COMMENTS:
        body = "".join(text.splitlines(keepends=True)[:-1])
        if text == body + _mark(body, style):
            return True
    columns = text.split("\n", 1)[0].split(",")
    is_tidy = tuple(columns[: len(RUN_COLUMNS)]) == RUN_COLUMNS
    ends = ((*SUMMARY_COLUMNS, *SUMMARY_INPUTS[1:]), COMPARISON_COLUMNS)
    is_long = any(tuple(columns[-len(end) :]) == end for end in ends)
    return is_tidy or (columns[0] == SUMMARY_INPUTS[0] and is_long)


def _mark(text: str, style: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return COMMENTS[style].format(f"Written by analysis table. SHA-256 of the rest: {digest}")


COMMENTS = {"md": "<!-- {} -->\n", "latex": "% {}\n"}
"""Format -> a line of comment."""

TABLE_FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "md": _to_markdown,
    "csv": _to_long_csv,
    "latex": _to_latex,
}
