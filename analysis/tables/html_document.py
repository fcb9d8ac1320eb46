"""Renders tables as one HTML document, which contains its style and loads nothing."""

import re
from collections.abc import Sequence

from analysis.escapes import escape_html
from analysis.tables.table import Table

STYLE = """\
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 0 0 3rem; overflow-x: auto; }
table { border-collapse: collapse; border: solid; border-width: 2px 0; margin: .5rem 0; }
th, td { padding: .2rem .75rem; text-align: left; white-space: nowrap; }
thead th { border-bottom: 1px solid; }
td { text-align: right; font-variant-numeric: tabular-nums; }
figcaption { font-size: .9rem; max-width: 60rem; }
h2 { font-size: 1.1rem; margin: 0; }
"""


def render_html(tables: Sequence[Table]) -> str:
    """Render tables as an HTML document, with each caption below its table."""
    title = escape_html(", ".join(table.title for table in tables))
    body = "".join(map(_figure, tables))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n"
        f"<body>\n{body}</body>\n</html>\n"
    )


def _figure(table: Table) -> str:
    header = "".join(f'<th scope="col">{_typeset(cell)}</th>' for cell in table.header)
    rows = "".join(f"<tr>{_cells(row, table.num_names)}</tr>\n" for row in table.rows)
    return (
        f"<figure>\n<h2>{escape_html(table.title)}</h2>\n<table>\n<thead><tr>{header}</tr></thead>\n"
        f"<tbody>\n{rows}</tbody>\n</table>\n"
        f"<figcaption>{_typeset(table.caption)}</figcaption>\n</figure>\n"
    )


def _cells(row: Sequence[str], num_names: int) -> str:
    names = [f'<th scope="row">{escape_html(cell)}</th>' for cell in row[:num_names]]
    return "".join([*names, *(f"<td>{_typeset(cell)}</td>" for cell in row[num_names:])])


def _typeset(text: str) -> str:
    """Escape text of ours, with a sign for +- and indices for generations."""
    escaped = escape_html(text).replace("+-", "&plusmn;")
    signed = re.sub(r"(?:^|(?<= ))-(?=\d)", "&minus;", escaped)
    return re.sub(r"\b([VD])(?:(\d+)|_n)\b", _with_index, signed)


def _with_index(match: re.Match) -> str:
    return f"{match[1]}<sub>{match[2] or 'n'}</sub>"
