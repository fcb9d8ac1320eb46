"""Renders tables as one HTML document, which contains its style and loads nothing."""

import re
from collections.abc import Sequence

from analysis.escapes import escape_html
from analysis.tables.table import Table

NAME = ' class="name"'
"""Attribute of columns that name the rows."""
STYLE = """\
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 0 0 3rem; }
h2 { font-size: 1.1rem; margin: 0; }
div { overflow-x: auto; }
table { border-collapse: collapse; border: solid; border-width: 2px 0; margin: .5rem 0; }
th, td { padding: .1rem .75rem; text-align: right; vertical-align: top; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
th.name { text-align: left; }
thead th { border-bottom: 1px solid; }
tbody th { font-weight: normal; }
sub { line-height: 0; }
figcaption { font-size: .9rem; max-width: 60rem; }
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
    title, num_names = escape_html(table.title), table.num_names
    header = [_header(cell, i < num_names) for i, cell in enumerate(table.header)]
    rows = "".join(f"<tr>{_cells(row, table)}</tr>\n" for row in table.rows)
    return (
        f'<figure>\n<h2>{title}</h2>\n<div role="region" aria-label="{title}" tabindex="0">\n'
        f"<table>\n<thead><tr>{''.join(header)}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
        f"</div>\n<figcaption>{_typeset(table.caption)}</figcaption>\n</figure>\n"
    )


def _header(cell: str, is_name: bool) -> str:
    return f'<th scope="col"{NAME * is_name}>{_typeset(cell)}</th>'


def _cells(row: Sequence[str], table: Table) -> str:
    """Cells of a row; generations that name it have a column without a header."""
    names = [
        f'<th scope="row"{NAME}>{escape_html(cell) if header else _typeset(cell)}</th>'
        for cell, header in zip(row, table.header[: table.num_names], strict=False)
    ]
    return "".join([*names, *(f"<td>{_typeset(cell)}</td>" for cell in row[table.num_names :])])


def _typeset(text: str) -> str:
    """Escape text of ours, with a sign for +- and indices for generations."""
    escaped = escape_html(text).replace("+-", "&plusmn;")
    signed = re.sub(r"(?:^|(?<= ))-(?=\d)", "&minus;", escaped)
    return re.sub(r"\b([VD])(?:(\d+)|_n)\b", _with_index, signed)


def _with_index(match: re.Match) -> str:
    return f"{match[1]}<sub>{match[2] or 'n'}</sub>"
