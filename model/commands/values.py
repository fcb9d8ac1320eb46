"""Values of settings, read from a word of a command line or from a JSON or TOML file."""

import types
import typing
from contextlib import suppress
from typing import Any, Literal

from model.errors import UsageError, check_choice

KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a string"}
TRUTH = {"true": True, "false": False}


def parse_word(word: str, hint: Any, field: str) -> Any:
    """Parse a word as a value of type `hint`: 3, 1e-3, true, none, or a list such as [16,32].

    Raises:
        UsageError: The word is not such a value; the message begins with the field's name.
    """
    return typed(_plain(word, _required(hint)), hint, field)


def typed(value: Any, hint: Any, field: str) -> Any:
    """Convert a value from a file to type `hint`; strings are not parsed as numbers.

    Raises:
        UsageError: The value does not fit; the message begins with the field's name.
    """
    required = _required(hint)
    if required is not hint and (value is None or str(value).lower() == "none"):
        return None
    options = typing.get_args(required)
    if typing.get_origin(required) is Literal:
        check_choice(field, value, options)
        return value
    if typing.get_origin(required) is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(typed(item, options[0], field) for item in items)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    with suppress(OverflowError, ValueError):  # nan and inf are not whole numbers
        if required is float and is_number:
            return float(value)
        if required is int and is_number and value == int(value):
            return int(value)
    if required in (bool, str) and isinstance(value, required):
        return value
    raise UsageError(f"{field} must be {KINDS[required]}, got {value!r}")


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
    if hint in (int, float):
        for number in (int, float):
            with suppress(ValueError):
                return number(word)
    return word
