"""Errors that a user can fix: a command prints one as a single line and exits with code 2.

Every other exception is a bug of this program, and a command shows its traceback.
"""

import hashlib
from collections.abc import Collection, Generator
from contextlib import contextmanager
from difflib import get_close_matches
from math import isfinite
from pathlib import Path


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
    """Turn an error of reading a file that the user named into a one-line error."""
    try:
        yield
    except FileNotFoundError:
        raise MissingFileError(f"{path} must exist, got no such file") from None
    except OSError as error:
        raise UsageError(f"{path} must be readable, got {error.strerror!r}") from error


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn an error of writing a file or folder that the user named into a one-line error."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OneLineError):
            raise
        raise UsageError(f"{path} must be writable, got {error.strerror!r}") from error


class Terminated(KeyboardInterrupt):
    """SIGTERM was received; it ends a command as Ctrl-C does."""


def check_choice(field: str, value: object, choices: Collection[str]) -> None:
    """Raise UsageError, with a suggestion, unless `value` is one of the choices."""
    if value not in choices:
        raise UsageError(
            f"{field} must be one of {', '.join(choices) or 'nothing yet'}, got {value!r}"
            f"{suggestion(str(value), choices)}"
        )


def suggestion(word: str, choices: Collection[str]) -> str:
    """The end of an error's sentence: the choice that is closest to `word`, or nothing."""
    close = get_close_matches(word, choices, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_at_least(field: str, value: float | None, minimum: int) -> None:
    """Raise UsageError unless `value` is at least `minimum`; None passes."""
    if value is not None and not value >= minimum:
        raise UsageError(f"{field} must be at least {minimum}, got {value!r}")


def check_finite(field: str, value: float, minimum: float, *, above: bool = False) -> None:
    """Raise UsageError unless `value` is finite and at least (or above) `minimum`."""
    if not (isfinite(value) and (value > minimum if above else value >= minimum)):
        rule = f"be a finite number {'above' if above else 'of at least'} {minimum:g}"
        raise UsageError(f"{field} must {rule}, got {value!r}")


def check_sha256(data: bytes, sha256: str | None, *, name: str, way_out: str) -> None:
    """Raise UsageError unless `sha256` is the digest of `data`."""
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise UsageError(f"{name} must have SHA-256 {sha256}, got {digest}; {way_out}")


def one_line(error: Exception) -> str:
    """An exception's message without its line breaks."""
    return " ".join(str(error).split())
