"""Values of settings, read from a word of a command line or from a JSON or TOML file."""

import json
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


QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
"""A JSON string, which is how one of several values contains commas, brackets or outer spaces."""
WORD = re.compile(rf"(?:{QUOTED.pattern}|\S)+")
PLAIN_TEXT = re.compile(r'[^\s,\[\]"]+(?: [^\s,\[\]"]+)*')
"""Text that needs no quotes to be one of several values."""


def parse_word(word: str, hint: Any, field: str) -> Any:
    """Parse a word as a value of type `hint`: 3, 1e-3, true, none, or a list such as [16,32].

    Raises:
        UsageError: The word is not such a value; the message begins with the field's name.
    """
    return typed(_plain(word, _required(hint), field), hint, field)


def parse_value(word: str, hint: Any, field: str) -> Any:
    """Parse a word as `parse_word` does, or a JSON string, such as "a, b", as its text.

    For words in which commas or spaces separate values: those of --axis and ensemble.members.

    Raises:
        UsageError: As in `parse_word`, or the quotes are not those of a JSON string.
    """
    if not word.startswith('"'):
        return parse_word(word, hint, field)
    text = _unquoted(word, field)
    value = typed(text, hint, field)
    if value is None:
        raise UsageError(
            f"{field} must not be {text!r}, which means no value; name a class by its number"
        )
    return value


def split_values(text: str) -> list[str]:
    """Split at the commas that are neither in brackets nor in a JSON string."""
    words, start, at, depth, may_quote = [], 0, 0, 0, True
    while at < len(text):
        letter = text[at]
        if letter == '"' and may_quote and (quoted := QUOTED.match(text, at)):
            at, may_quote = quoted.end(), False
            continue
        if letter == "[" and text.find("]", at) > 0:
            depth += 1
        elif letter == "]":
            depth = max(depth - 1, 0)
        elif letter == "," and not depth:
            words.append(text[start:at])
            start = at + 1
        may_quote = letter in "[," or (may_quote and letter.isspace())
        at += 1
    return [*words, text[start:]]


def split_words(text: str) -> list[str]:
    """Split at the spaces that are not in a JSON string."""
    return [match[0] for match in WORD.finditer(text)]


def spelled(value: Any) -> str:
    """Write a value of a setting as --axis reads it."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(spelled, value))}]"
    if isinstance(value, str):
        return value if PLAIN_TEXT.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return str(value).lower() if value is None or isinstance(value, bool) else repr(value)


def _unquoted(word: str, field: str) -> str:
    """The text of a JSON string."""
    with suppress(ValueError):
        return json.loads(word)
    raise UsageError(
        f"{field} must be a JSON string if it begins with a double quote, got {shown(word)}; "
        'write \\" for a double quote in it'
    )


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


def _plain(word: str, hint: Any, field: str) -> Any:
    """Parse a word as a number, boolean or list if `hint` is such a type; else return it as is."""
    if typing.get_origin(hint) is tuple:
        parts = map(str.strip, split_values(word.removeprefix("[").removesuffix("]")))
        kind = typing.get_args(hint)[0]
        return [
            _unquoted(part, field) if part.startswith('"') else _plain(part, kind, field)
            for part in parts
            if part
        ]
    if hint is bool:
        return TRUTH.get(word.lower(), word)
    if hint in (int, float) and len(word) <= LONGEST_NUMBER and NUMBER.fullmatch(word):
        return int(word) if word.removeprefix("-").isdigit() else float(word)
    return word
