"""Files of settings that a user writes: TOML or JSON, in UTF-8."""

import codecs
import json
from pathlib import Path
from typing import Any

from model.commands.values import LONGEST_NUMBER
from model.errors import UsageError, one_line, reading, shown

MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # begins with the mark of UTF-16, so it comes first
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""Encodings by the byte order mark at the start of a file."""
MOST_PARTS = 100
"""Maximum number of dots in a key."""
LARGEST_FILE = 16 * 2**20


def read_settings(path: Path) -> dict[str, Any]:
    """Read a file of settings: JSON if its name ends in .json, and TOML otherwise.

    Raises:
        UsageError: The file is missing, is not UTF-8, or is not TOML or JSON.
    """
    with reading(path), path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise UsageError(f"{path} must be a file of settings of at most 16 MiB, got a larger one")
    text = decode(data, path)
    kind, parse = ("JSON", _parse_json) if path.suffix == ".json" else ("TOML", _parse_toml)
    try:
        settings = parse(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except RecursionError:
        raise UsageError(f"{path} must be {kind}, got values nested too deeply to read") from None
    except ValueError as error:  # also of an int with more digits than Python converts
        raise UsageError(f"{path} must be {kind}: {one_line(error)}") from None
    if not isinstance(settings, dict):
        raise UsageError(f"{path} must hold a JSON object, got {type(settings).__name__}")
    return settings


def decode(data: bytes, source: object) -> str:
    """Decode UTF-8, with or without a byte order mark; raises UsageError naming the source."""
    for mark, name in MARKS.items():
        if data.startswith(mark):
            raise UsageError(
                f"{source} must be UTF-8, got the byte order mark of {name}; save it as UTF-8"
            )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte, line = data[error.start], data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{source} must be UTF-8, got byte 0x{byte:02x} in line {line}; save it as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UsageError(
            f"{source} must be UTF-8 text, got a NUL in line {line}; if it is UTF-16, save it as "
            "UTF-8"
        )
    return text


def _parse_toml(text: str) -> Any:
    import tomllib

    for line in text.splitlines():
        key = line.partition("=")[0]
        if key.count(".") > MOST_PARTS and "," not in key and not key.lstrip().startswith("#"):
            raise RecursionError  # tomllib takes quadratic time to read such a key
    return tomllib.loads(text, parse_float=_float)


def _parse_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)


def _float(digits: str) -> float:
    if len(digits) > LONGEST_NUMBER:
        raise UsageError(
            f"a number must have at most {LONGEST_NUMBER} characters, got {shown(digits)}"
        )
    return float(digits)


def _constant(word: str) -> float:
    raise UsageError(f"a number must be finite in JSON, got {word}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dictionary; raises UsageError for a repeated key, as TOML does."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise UsageError(f"each key must be there once, got {shown(name)} twice")
        found[name] = value
    return found
