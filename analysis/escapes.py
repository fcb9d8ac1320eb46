"""Escapes names for each format of output: Markdown, HTML, LaTeX, csv and file names.

Class names, metrics, values of settings, warnings and names of folders may hold any characters.
Each function maps different names to different texts, which the format shows as they are. Names in
figures are escaped by analysis.figures.drawing.text, and those on a terminal by model.errors.
"""

import hashlib
import html
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from model.errors import printable_name

LONGEST_STEM = 240
"""Longest file name without suffix in characters; file systems allow 255 bytes in all."""

HASH_LENGTH = 16
"""Hexadecimal digits of the hash in a file name."""

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\symbol{34}",
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
}
"""Character -> LaTeX that prints it."""

MISSING_WORDS = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND"),
        *("1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
"""Text that pandas reads from a csv file as a missing value."""


def escape_markdown(text: str) -> str:
    """Escape text for a cell or paragraph of Markdown, as GitHub renders it."""
    # An underscore between letters is no emphasis; brackets alone are no link.
    special = r"[\\`*<>|~&$#!]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])"
    return re.sub(special, r"\\\g<0>", printable_name(text))


def escape_latex(text: str) -> str:
    """Escape text for LaTeX; repeated hyphens and quotes are kept from becoming one character.

    A bracket or an asterisk at the start is kept from becoming an argument of the end of a row.
    """
    escaped = "".join(LATEX.get(letter, letter) for letter in printable_name(text))
    return re.sub(r"^(?=[\[*])|(?<=([-',]))(?=\1)", "{}", escaped)


def escape_html(text: str) -> str:
    """Escape text for an element or a quoted attribute of HTML."""
    return html.escape(printable_name(text))


def escape_csv(cell: Any) -> Any:
    """Escape a cell of a csv file; whatever is not text stays as it is.

    An apostrophe precedes text that a spreadsheet would take for a formula (also behind a semicolon
    that separates cells in some countries) or pandas for a missing value.
    """
    if not isinstance(cell, str):
        return cell
    text = printable_name(cell)
    if text in MISSING_WORDS:
        return f"'{text}"
    return re.sub(r"(^|;)( *)(?=[-=+@'\uff0d\uff1d\uff0b\uff20])", r"\1\2'", text)


def file_stems(names: Sequence[Sequence[str]]) -> list[str]:
    """Return a file name without suffix for each name, of letters, digits, dots and dashes.

    A hash of the whole name is added where names would otherwise have the same file (upper and
    lower case are the same on some systems), and replaces the end of a name that is too long.

    Args:
        names: Different names, each in parts.
    """
    words = [re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-") for parts in names]
    hashed = [_with_hash(word, parts) for word, parts in zip(words, names, strict=True)]
    counts = Counter(word.lower() for word in words)
    stems = [
        word if counts[word.lower()] == 1 and len(word) <= LONGEST_STEM else stem
        for word, stem in zip(words, hashed, strict=True)
    ]
    # A name may look like another one with its hash.
    return stems if len({stem.lower() for stem in stems}) == len(names) else hashed


def _with_hash(word: str, parts: Sequence[str]) -> str:
    digest = hashlib.sha256(repr(list(parts)).encode()).hexdigest()[:HASH_LENGTH]
    return f"{word[: LONGEST_STEM - HASH_LENGTH - 1]}-{digest}"
