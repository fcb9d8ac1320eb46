"""Values of settings, read from a word of a command line or from a JSON or TOML file."""

import re
import types
import typing
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Literal

from model.errors import UsageError, check_choice, check_text, shown

KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a string"}
TRUTH = {"true": True, "false": False}
NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|-?inf", re.ASCII | re.IGNORECASE)
"""The spelling of a number, which is narrower than Python's: no 1_0, +1 or digits of other scripts.
"""
LONGEST_NUMBER = 40
"""Maximum number of characters of a number; more digits would be lost by rounding."""
LARGEST_INTEGER = 2**63 - 1
EXACT = 2**53
"""Largest number up to which a float, such as 1e3, represents every whole number exactly."""


def parse_word(word: str, hint: Any, field: str) -> Any:
    """Parse a word as a value of type `hint`: 3, 1e-3, true, none, or a list such as [16,32].

    Raises:
        UsageError: The word is not such a value; the message begins with the field's name.
    """
    return typed(_plain(word, _required(hint)), hint, field)


def check_words(words: Iterable[str]) -> None:
    """Raise UsageError unless all words of a command line are text."""
    for number, word in enumerate(words, 1):
        check_text(f"argument {number}", word)


def typed(value: Any, hint: Any, field: str) -> Any:
    """Convert a value from a file to type `hint`; strings are not parsed as numbers.

    Raises:
        UsageError: The value does not fit; the message begins with the field's name.
    """
    required = _required(hint)
    is_none = value is None or (isinstance(value, str) and value.lower() == "none")
    if required is not hint and is_none:
        return None
    options = typing.get_args(required)
    if typing.get_origin(required) is Literal:
        check_choice(field, value, options)
        return value
    if typing.get_origin(required) is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(typed(item, options[0], field) for item in items)
    if required in (bool, str) and isinstance(value, required):
        if required is not hint and not value:
            raise UsageError(f"{field} must not be empty, got ''; leave it out, or use none")
        return value
    number = _number(value, required)
    if number is None:
        raise UsageError(f"{field} must be {KINDS[required]}, got {shown(value)}")
    return number


def _number(value: Any, required: type) -> float | None:
    """Convert a value to an int or float; None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    with suppress(OverflowError):  # an int beyond all floats
        if required is float:
            return float(value) + 0.0  # -0.0 becomes 0.0, which has another key
    if required is int and isinstance(value, int) and abs(value) <= LARGEST_INTEGER:
        return value
    if required is int and abs(value) <= EXACT and value == int(value):
        return int(value)
    return None


def _required(hint: Any) -> Any:
    """The type without its None, if it has one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (option for option in typing.get_args(hint) if option is not type(None))
    return hint


def _plain(word: str, hint: Any) -> Any:
    """Parse a word as a number, boolean or list if `hint` is such a type; else return it as is."""
    if typing.get_origin(hint) is tuple:
        parts = word.removeprefix("[").removesuffix("]").split(",")
        return [_plain(part.strip(), typing.get_args(hint)[0]) for part in parts if part.strip()]
    if hint is bool:
        return TRUTH.get(word.lower(), word)
    if hint in (int, float) and len(word) <= LONGEST_NUMBER and NUMBER.fullmatch(word):
        return int(word) if word.removeprefix("-").isdigit() else float(word)
    return word
