"""Renders tables as text: Markdown, csv and LaTeX. TABLE_FORMATS lists the formats."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of text cells, with the numbers behind them."""

    title: str
    header: list[str]
    rows: list[list[str]]
    caption: str
    summary: pd.DataFrame
    """Columns metric, the axes of the rows and of the title, SUMMARY_COLUMNS, num_generated,
    num_reference and confidence."""


def render_tables(tables: Sequence[Table], style: str) -> str:
    """Render tables as text in one of the TABLE_FORMATS."""
    return TABLE_FORMATS[style](tables)


def render_tidy(frame: pd.DataFrame) -> str:
    """Render the whole tidy table as csv: one line per lineage, generation and member."""
    return frame.to_csv(index=False, lineterminator="\n")


def _to_markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        text = tabulate(table.rows, table.header, tablefmt="pipe", disable_numparse=True)
        parts.append(f"**{table.title}**\n\n{text}\n\n{table.caption}\n")
    return "\n".join(parts)


def _to_latex(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        text = tabulate(table.rows, table.header, tablefmt="latex_booktabs", disable_numparse=True)
        caption = _escape_latex(f"{table.title}. {table.caption}")
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_typeset(caption)}}}"]
        parts.append("\n".join([*lines, _typeset(text), r"\end{table}"]) + "\n")
    return "\n".join(parts)


def _typeset(latex: str) -> str:
    """Put intervals, V_n and D_n into math mode."""
    number = r"-?\d[\d.]*(?:e[+-]?\d+)?"
    latex = re.sub(rf"(?<![\w.])({number}) \+- ({number})", r"$\1 \\pm \2$", latex)
    latex = re.sub(r"(?<=[ &])(-\d[\d.]*(?:e[+-]?\d+)?)(?= )", r"$\1$", latex)
    latex = latex.replace("+-", r"$\pm$")
    latex = re.sub(r"\bV(\d+)\b", r"$V_{\1}$", latex)
    return re.sub(r"\b([VD])\\_n\b", r"$\1_n$", latex)


def _escape_latex(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text)


def _to_long_csv(tables: Sequence[Table]) -> str:
    summaries = [table.summary.astype(object) for table in tables]
    return render_tidy(pd.concat(summaries, ignore_index=True)) if summaries else ""


TABLE_FORMATS = {"md": _to_markdown, "csv": _to_long_csv, "latex": _to_latex}
