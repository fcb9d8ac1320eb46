"""Text in figures: names escaped for matplotlib, alpha as a Greek letter, and short lines."""

import functools
import hashlib
import re
import textwrap

from matplotlib import cbook, font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from analysis.figures.drawing.style import FONT, FONT_SIZE
from model.errors import printable_name

LONGEST_TEXT = 400
"""Longest text in a figure in characters; the end of a longer one is replaced by a hash."""


def figure_text(text: str, width: int) -> str:
    """Return text for matplotlib in lines of at most `width` characters.

    The setting alpha gets its Greek letter; everything else is shown as it is. A setting and its
    value are in one line if they fit.
    """
    glued = re.sub(
        r"\S+ = \S+",
        lambda match: match[0].replace(" ", "\0") if len(match[0]) <= width else match[0],
        printable_name(_shortened(text)),
    )
    escaped = escape_mathtext(textwrap.fill(glued, width).replace("\0", " "))
    return re.sub(r"(^|, )alpha = ", r"\1$\\alpha$ = ", escaped, flags=re.MULTILINE)


def fit_text(text: str, inches: float) -> str:
    """Return figure_text in lines of at most some inches, or of one character."""
    width = max(1, len(text))
    while (size := text_inches(lines := figure_text(text, width))) > inches and width > 1:
        width = max(1, min(width - 1, int(1.2 * width * inches / size)))
    return lines


def text_inches(text: str) -> float:
    """Return the width of text for matplotlib in inches, at the size of all text."""
    font = FontProperties(family=FONT, size=FONT_SIZE)
    widths = []
    for line in text.split("\n"):
        is_math = cbook.is_math_text(line)
        plain = line if is_math else line.replace(r"\$", "$")
        width, _, _ = text_to_path.get_text_width_height_descent(plain, font, is_math)
        widths.append(width / 72)
    return max(widths)


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
