"""Renders tables as text: Markdown, csv, LaTeX and HTML. TABLE_FORMATS lists the formats.

analysis.tables.parquet writes the same long table as csv in a binary format.
"""

import hashlib
from collections.abc import Callable, Sequence

import pandas as pd
from tabulate import tabulate

from analysis.escapes import escape_csv, escape_markdown
from analysis.reading.columns import (
    COMPARISON_COLUMNS,
    RUN_COLUMNS,
    SUMMARY_COLUMNS,
    SUMMARY_INPUTS,
)
from analysis.tables.html_document import render_html
from analysis.tables.latex import render_latex
from analysis.tables.parquet import is_parquet_table
from analysis.tables.table import Table
from analysis.widths import COLUMN


def render_tables(tables: Sequence[Table], style: str, *, width: float = COLUMN) -> str:
    """Render tables as text in one of the TABLE_FORMATS.

    Args:
        tables: The tables.
        style: A key of TABLE_FORMATS.
        width: Inches that a table in LaTeX may take.
    """
    return TABLE_FORMATS[style](tables, width)


def long_table(tables: Sequence[Table]) -> pd.DataFrame:
    """The numbers of all tables, with one line per setting and generation."""
    summaries = [table.summary.astype(object) for table in tables if len(table.summary)]
    return pd.concat(summaries, ignore_index=True) if summaries else pd.DataFrame()


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


def _to_long_csv(tables: Sequence[Table]) -> str:
    frame = long_table(tables)
    return render_tidy(frame) if len(frame) else ""


def as_file(text: str, style: str) -> bytes:
    """Return rendered tables as the content of a file that is_table recognises."""
    return (text + (_mark(text, style) if style in COMMENTS else "")).encode()


def is_table(content: bytes) -> bool:
    """Whether the content of a file is a table of ours that nobody changed.

    Markdown, LaTeX and HTML end in a comment with a hash of the text before it. Csv has no
    comments, and is recognised by its columns. Parquet files contain a hash too.
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
    is_csv = is_tidy or (columns[0] == SUMMARY_INPUTS[0] and is_long)
    return is_csv or is_parquet_table(content)


def _mark(text: str, style: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return COMMENTS[style].format(f"Written by analysis table. SHA-256 of the rest: {digest}")


COMMENTS = {"md": "<!-- {} -->\n", "latex": "% {}\n", "html": "<!-- {} -->\n"}
"""Format -> a line of comment."""

TABLE_FORMATS: dict[str, Callable[[Sequence[Table], float], str]] = {
    "md": lambda tables, width: _to_markdown(tables),
    "csv": lambda tables, width: _to_long_csv(tables),
    "html": lambda tables, width: render_html(tables),
    "latex": render_latex,
}
"""Format of text -> the function that renders tables, given the width of LaTeX's in inches."""
