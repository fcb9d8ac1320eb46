"""Widths of figures and tables in a paper: of a column, of a page, or in inches."""

import math

from model.errors import UsageError, shown

COLUMN, PAGE = 3.25, 6.75
"""Widths in inches of a column and of both columns of the usual two-column papers."""
NARROWEST, WIDEST = 2.0, 20.0
"""Range of other widths in inches."""


def width_in_inches(text: str) -> float:
    """Return the width that `column`, `page` or a number of inches stands for.

    Raises:
        UsageError: It is none of these.
    """
    if text in (named := {"column": COLUMN, "page": PAGE}):
        return named[text]
    try:
        inches = float(text)
    except ValueError:
        inches = math.nan
    if not NARROWEST <= inches <= WIDEST:
        raise UsageError(
            f"--width must be column, page or a number of inches from {NARROWEST:g} to "
            f"{WIDEST:g}, got {shown(text)}; column is {COLUMN} and page {PAGE}"
        )
    return inches
