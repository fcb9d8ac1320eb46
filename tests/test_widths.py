"""Widths of figures and tables."""

import pytest

from analysis.widths import COLUMN, PAGE, width_in_inches


def test_a_width_is_named_or_in_inches():
    widths = ("column", "page", "5", "2", "20")
    assert [width_in_inches(text) for text in widths] == [COLUMN, PAGE, 5.0, 2.0, 20.0]


@pytest.mark.parametrize("text", ["1.9", "20.1", "nan", "inf", "3in", "Column", ""])
def test_another_width_is_an_error(text):
    with pytest.raises(ValueError, match="--width must be column, page or a number of inches"):
        width_in_inches(text)
