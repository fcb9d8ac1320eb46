"""The value of a setting, from a word or from a file: one reading for all."""

import math
from typing import Literal

import pytest

from model.commands.values import parse_word, typed
from model.errors import UsageError

Loss = Literal["mae", "mse"]


@pytest.mark.parametrize(
    ("word", "hint", "value"),
    [
        ("3", int, 3),
        (".5", float, 0.5),
        ("-2.E+1", float, -20.0),
        ("1e3", int, 1000),
        ("3.0", int, 3),
        ("3", float, 3.0),
        ("1e-3", float, 1e-3),
        ("inf", float, math.inf),
        ("true", bool, True),
        ("False", bool, False),
        ("none", int | None, None),
        ("None", str | None, None),
        ("None", str, "None"),
        ("3", str, "3"),
        ("'a'", str, "'a'"),
        ("mse", Loss, "mse"),
        ("[16, 32]", tuple[int, ...], (16, 32)),
        ("16,32", tuple[int, ...], (16, 32)),
        ("16", tuple[int, ...], (16,)),
        ("[]", tuple[str, ...], ()),
        ("[1,a]", tuple[str, ...], ("1", "a")),
    ],
)
def test_a_word_is_read_as_its_type_asks(word, hint, value) -> None:
    found = parse_word(word, hint, "x")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("word", "hint", "message"),
    [
        ("a", int, "x must be a whole number, got 'a'"),
        ("3.5", int, "x must be a whole number, got 3.5"),
        ("nan", int, "x must be a whole number, got nan"),
        ("none", int, "x must be a whole number, got 'none'"),
        ("true", float, "x must be a number, got 'true'"),
        ("1", bool, "x must be true or false, got '1'"),
        ("[a]", tuple[int, ...], "x must be a whole number, got 'a'"),
        ("9" * 19, int, f"x must be a whole number, got {'9' * 19}"),
        ("1e23", int, "x must be a whole number, got 1e+23"),
        ("msee", Loss, "x must be one of mae, mse, got 'msee'; did you mean 'mse'?"),
    ],
)
def test_a_word_of_another_type_is_an_error(word, hint, message) -> None:
    with pytest.raises(UsageError) as raised:
        parse_word(word, hint, "x")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("value", "hint"),
    [("3", int), ("3", float), ("true", bool), (1, bool), (3, str), (True, int), (None, int)],
)
def test_a_files_value_of_another_type_is_an_error(value, hint) -> None:
    """A string is a string there, whatever it spells."""
    with pytest.raises(UsageError, match=r"^x must be "):
        typed(value, hint, "x")


@pytest.mark.parametrize(
    "word",
    ["1_0", "+1", " 1", "1 ", "0x10", "\u0663", "\uff11", "infinity", "1e", ".", "", "1" * 41],
)
@pytest.mark.parametrize("hint", [int, float])
def test_what_python_alone_reads_as_a_number_is_none(word, hint) -> None:
    with pytest.raises(UsageError, match=r"^x must be a (whole )?number, got "):
        parse_word(word, hint, "x")


def test_negative_zero_is_zero() -> None:
    """It would have another key."""
    for value in (parse_word("-0.0", float, "x"), typed(-0.0, float, "x"), typed(-0, float, "x")):
        assert math.copysign(1, value) == 1


def test_a_message_repeats_200_characters_of_a_value_at_most() -> None:
    with pytest.raises(UsageError) as raised:
        parse_word("a" * 5000, int, "x")
    assert str(raised.value) == f"x must be a whole number, got '{'a' * 199} ... (5,002 characters)"


def test_an_empty_word_is_no_value_of_an_optional_string() -> None:
    """Such as --store ""; a plain string may be empty."""
    with pytest.raises(UsageError, match=r"^x must not be empty, got ''; leave it out"):
        parse_word("", str | None, "x")
    assert parse_word("", str, "x") == ""
