"""Text in figures: names escaped for matplotlib, alpha as a Greek letter, and short lines."""

import functools
import hashlib
import re
import textwrap

from matplotlib import font_manager

from analysis.figures.style import FONT
from model.errors import printable_name

LONGEST_TEXT = 400
"""Longest text in a figure in characters; the end of a longer one is replaced by a hash."""


def figure_text(text: str, width: int) -> str:
    """Return text for matplotlib in lines of at most `width` characters.

    The setting alpha gets its Greek letter; everything else is shown as it is.
    """
    escaped = escape_mathtext(textwrap.fill(printable_name(_shortened(text)), width))
    return re.sub(r"(^|, )alpha = ", r"\1$\\alpha$ = ", escaped, flags=re.MULTILINE)


def escape_mathtext(text: str) -> str:
    """Escape printable text: nothing is a formula, and letters that the font lacks are escapes."""
    known = _letters()
    shown = (c if c in known or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown).replace("$", r"\$")


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    digest = hashlib.sha256(repr(text).encode()).hexdigest()[:16]
    return f"{text[: LONGEST_TEXT - 20]}... {digest}"


@functools.cache
def _letters() -> frozenset[str]:
    font = font_manager.get_font(font_manager.findfont(FONT))
    return frozenset(map(chr, font.get_charmap()))
