"""Errors that a user can fix: a command prints one as a single line and exits with code 2.

Every other exception is a bug of this program, and a command shows its traceback.
"""

import functools
import hashlib
import os
import re
import signal
import stat
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any
from unicodedata import normalize

ECHO = 200
"""Maximum number of characters of a user's input that a message repeats."""

MOST = 10**12
"""Largest whole number that a field may have, unless its metadata set another."""
MOST_FLOAT, LEAST_FLOAT = 1e30, 1e-30
"""Largest and smallest size of other numbers, except 0; float32 does not represent all others."""
LONGEST = 1000
"""Maximum number of items of a list."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
"""Characters that are not text: control codes, line breaks, and bytes that are not UTF-8."""

INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Characters that count as printable, but leave no mark of their own."""

KINDS_OF_FILE = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class OneLineError(Exception):
    """An error whose message is one sentence that tells the user what to change."""


class UsageError(OneLineError, ValueError):
    """A setting, an argument or a file breaks a rule.

    It is a ValueError because tyro shows only those as messages.
    """


class MissingFileError(UsageError, FileNotFoundError):
    """A file or folder that the user named does not exist."""

    def __str__(self) -> str:
        """The message, without the errno that an OSError would put before it."""
        return str(self.args[0]) if self.args else ""


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn an error of reading a file that the user named into a one-line error.

    A named pipe or a device is refused, because reading it might never end.
    """
    try:
        check_regular(path)
        yield
    except FileNotFoundError:
        raise MissingFileError(f"{path} must exist, got no such file") from None
    except OSError as error:
        raise UsageError(f"{path} must be readable, got {error.strerror!r}") from error


def check_regular(path: Path) -> None:
    """Raise UsageError for a named pipe, socket or device, which must not even be opened."""
    if kind := special_kind(path):
        raise UsageError(f"{path} must be a file, got {kind}")


def special_kind(path: Path) -> str:
    """What a path is if it is neither a file nor a folder; empty if it cannot be looked at."""
    with suppress(OSError):  # reading will say what is wrong
        return KINDS_OF_FILE.get(stat.S_IFMT(path.stat().st_mode), "")
    return ""


def findable_path(field: str, text: str) -> Path:
    """A path with ~ for a home folder; it need not exist.

    Raises:
        UsageError: The system cannot look for it: its name is too long, it is a loop of
            links, a folder above it may not be searched, or ~ names no user.
    """
    try:
        path = Path(text).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: it contains a null byte
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UsageError(f"{field} must be a readable path, got {shown(text)} ({reason})") from None
    return path


def user_path(field: str, text: str) -> Path:
    """The path that a setting names, with ~ for a home folder; it need not exist.

    Raises:
        UsageError: It is a named pipe, socket or device, or as in `findable_path`.
    """
    path = findable_path(field, text)
    if kind := special_kind(path):
        raise UsageError(f"{field} must be a file or folder, got {shown(text)}, {kind}")
    return path


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn an error of writing a file or folder that the user named into a one-line error.

    A named pipe that nobody reads is such an error, because writing would wait for a reader.
    """
    try:
        if path.is_fifo():
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        yield
    except OSError as error:
        if isinstance(error, OneLineError):
            raise
        raise UsageError(f"{path} must be writable, got {error.strerror!r}") from error


class Terminated(KeyboardInterrupt):
    """SIGTERM, or SIGHUP, was received; it ends a command as Ctrl-C does."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.number = number
        """The signal's number."""


def shown(value: object) -> str:
    """A user's value as a message repeats it: its repr, of at most ECHO characters."""
    try:
        return shortened(repr(value))
    except (ValueError, RecursionError):  # too many digits, or too deeply nested
        return f"one that is too long to print ({type(value).__name__})"


def split_setting(option: str, text: str) -> tuple[str, str]:
    """Return the axis and the value of AXIS=VALUE; raises UsageError for another text."""
    axis, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{option} must be AXIS=VALUE, got {shown(text)}")
    return axis, value


def shortened(text: str) -> str:
    """The text, cut after ECHO characters."""
    return text if len(text) <= ECHO else f"{text[:ECHO]} ... ({len(text):,} characters)"


def check_text(field: str, text: str) -> None:
    """Raise UsageError if the text contains control characters or bytes that are not UTF-8."""
    if CONTROL.search(text):
        raise UsageError(
            f"{field} must be UTF-8 text without control characters, got {shown(text)}"
        )


def check_choice(
    field: str, value: object, choices: Collection[str], *, extensible: bool = False
) -> None:
    """Raise UsageError, with a suggestion, unless `value` is one of the choices.

    Args:
        field: Name of the setting or option.
        value: Its value.
        choices: The values that are allowed.
        extensible: Whether a plug-in can add choices.
    """
    if value not in choices:
        hint = suggestion(value, choices) if isinstance(value, str) else ""
        if extensible and not hint:
            hint = "; for one of your own, add --import FILE"
        raise UsageError(
            f"{field} must be one of {', '.join(choices) or 'nothing yet'}, "
            f"got {shown(value)}{hint}"
        )


def later_version(field: str, name: str, variant: object, *, key: str) -> dict[str, int | str]:
    """The version of a registered variant as an entry of a key; empty at our first version.

    Keys from before there were versions thus stay valid. The version of a plug-in's variant is
    text that begins with the plug-in's name, and always part of a key.

    Args:
        field: Setting that selects the variant.
        name: The variant's name.
        variant: Its entry in the registry.
        key: Name of the version in the key.

    Raises:
        UsageError: The variant has no version.
    """
    version = getattr(variant, "version", None)
    if isinstance(version, str) and ":" in version:
        return {key: version}
    if type(version) is not int or version < 1:
        raise UsageError(
            f"{field}={name} must have a version, a whole number of at least 1, in its registered "
            f"entry, got {version!r}; start with version=1, and raise it whenever the same "
            "settings give other results"
        )
    return {key: version} if version > 1 else {}


def suggestion(word: str, choices: Collection[str]) -> str:
    """The end of an error's sentence: the choice that is closest to `word`, or nothing."""
    close = get_close_matches(word[:ECHO], choices, 1, 0.5)
    if not close:
        return ""
    looks_the_same = class_key(close[0]) == class_key(word)
    return f"; did you mean {ascii(close[0]) if looks_the_same else repr(close[0])}?"


def check_class_names(source: object, names: Sequence[str]) -> None:
    """Raise UsageError unless names of classes can be shown and told apart everywhere.

    Each must be printable (no control characters, line breaks, direction marks or bytes that are
    not UTF-8) and visible, and no two may have the same `class_key`.

    Args:
        source: Where the names are from, for errors.
        names: The names of all classes.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = class_key(name)
        if not name.isprintable() or not key:
            escaped = shortened(printable(name))
            raise UsageError(
                f"{source} must be visible, printable text, got '{escaped}'; rename it"
            )
        if key in seen:
            pair = ascii((shortened(seen[key]), shortened(name)))
            raise UsageError(f"{source} must differ, got {pair}; rename one")
        seen[key] = name


def class_key(name: str) -> str:
    """What distinguishes the name of a class: NFC, without invisible characters and outer spaces.

    Repeated spaces count as one.
    """
    return " ".join(INVISIBLE.sub("", normalize("NFC", name)).split())


def printable(text: str) -> str:
    r"""Text in which characters that a terminal does not show are escaped, as in caf\xe9."""
    return "".join(map(_escape, text))


def printable_name(name: str) -> str:
    """Write a name so that a terminal can print it, and no two names look the same.

    As `printable`, but backslashes are doubled, and spaces that could be overlooked (at the ends,
    or after another space) are escaped too.
    """
    text = "".join(
        ascii(letter)[1:-1] if letter == "\\" or "\ud800" <= letter <= "\udfff" else _escape(letter)
        for letter in name
    )
    return re.sub(r"^ | $|(?<= ) ", r"\\x20", text)


def _escape(letter: str) -> str:
    if letter.isprintable() and not INVISIBLE.match(letter):
        return letter
    if "\udc80" <= letter <= "\udcff":  # a byte of a file's name that is not UTF-8
        return f"\\x{os.fsencode(letter)[0]:02x}"
    return ascii(letter)[1:-1]


def check_at_least(field: str, value: float | None, minimum: int) -> None:
    """Raise UsageError unless `value` is at least `minimum`; None passes."""
    if value is not None and not value >= minimum:
        raise UsageError(f"{field} must be at least {minimum}, got {shown(value)}")


def check_one_given(section: str, values: Mapping[str, object]) -> None:
    """Raise UsageError unless exactly one of a section's settings is not None."""
    given = [f"{section}.{name}={value}" for name, value in values.items() if value is not None]
    *others, last = values
    listed = f"{', '.join(others)} and {last}"
    if not given:
        raise UsageError(f"{section} must have one of {listed}, got none of them")
    if len(given) > 1:
        first = given[0].split("=")[0]
        raise UsageError(
            f"{section} must have only one of {listed}, got {' and '.join(given)}; for example, "
            f"add --{first} None, or if that is an axis: --axis {first}=none --axis {given[1]}"
        )


def check_at_most(field: str, value: float | None, maximum: float) -> None:
    """Raise UsageError unless `value` is at most `maximum`; None passes."""
    if value is not None and not value <= maximum:
        limit = f"{maximum:,}" if isinstance(maximum, int) else f"{maximum:g}"
        raise UsageError(f"{field} must be at most {limit}, got {shown(value)}")


def check_finite(field: str, value: float | None, minimum: float, *, above: bool = False) -> None:
    """Raise UsageError unless `value` is None, or finite and at least (or above) `minimum`."""
    if value is not None and not (
        isfinite(value) and (value > minimum if above else value >= minimum)
    ):
        rule = f"be a finite number {'above' if above else 'of at least'} {minimum:g}"
        raise UsageError(f"{field} must {rule}, got {shown(value)}")


def check_fields(group: str, config: Any) -> None:
    """Raise UsageError for a number that no machine can use, a list as long, or a word of no text.

    This one rule covers every field of a dataclass of settings; `group` is its prefix, as "train.".
    """
    for name, most in _limits(type(config)):
        value = getattr(config, name)
        if value is None or isinstance(value, bool):
            continue
        items = value if isinstance(value, tuple) else (value,)
        if len(items) > LONGEST:
            raise UsageError(
                f"{group}{name} must have at most {LONGEST:,} items, got {len(items):,}"
            )
        for item in items:
            if isinstance(item, str):
                check_text(group + name, item)
            elif isinstance(item, (int, float)):
                _check_size(group + name, item, most)


@functools.cache
def _limits(kind: Any) -> list[tuple[str, int | None]]:
    return [(f.name, f.metadata.get("most")) for f in fields(kind)]


def _check_size(name: str, value: float, most: int | None) -> None:
    if isinstance(value, float) and 0 < abs(value) < LEAST_FLOAT:
        raise UsageError(f"{name} must not be closer to 0 than {LEAST_FLOAT:g}, got {shown(value)}")
    if isinstance(value, int):
        check_at_least(name, value, 0)
    default = MOST_FLOAT if isinstance(value, float) else MOST
    check_at_most(name, abs(value), default if most is None else most)


def check_sha256(data: bytes, sha256: str | None, *, name: str, way_out: str) -> None:
    """Raise UsageError unless `sha256` is the digest of `data`."""
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise UsageError(f"{name} must have SHA-256 {sha256}, got {digest}; {way_out}")


@contextmanager
def decoding_json(rule: str) -> Generator[None]:
    """Turn the errors of JSON that is no JSON, or has other entries, into one line."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{rule} ({one_line(error)[:ECHO]})") from None


def one_line(error: Exception) -> str:
    """An exception's message without its line breaks."""
    return " ".join(str(error).split())
