"""Standard output and error whose failures do not end a command.

A reader that leaves early (`sweep run ... | head`), a terminal that goes away and a full disk are
no reason to stop a training. What a command could not print is known at its end.
"""

import contextlib
import errno
import io
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

STANDARD = (0, 1, 2)
"""File descriptors of standard input, output and error."""

WIDEST, NARROWEST = 100, 60
"""Columns of text that is wrapped: those of the terminal within these limits, WIDEST in a pipe."""

_level = 0
"""Below 0 with --quiet, above 0 with --verbose."""


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """Set what this command prints to standard error besides warnings and errors."""
    global _level
    _level = verbose - quiet


def is_quiet() -> bool:
    """Whether only warnings, errors and final results are printed."""
    return _level < 0


def detail(line: str) -> None:
    """Print a line to standard error with --verbose only."""
    if _level > 0:
        sys.stderr.write(f"{line}\n")


class Output:
    """A text stream that discards what it cannot write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self.is_abandoned = False
        """Whether nobody reads it any more: its pipe or its terminal is closed."""
        self.error: OSError | None = None
        """The last failure, unless the stream is abandoned."""
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name must not end the command either

    def write(self, text: str) -> int:
        """Write text if possible."""
        with self._forgiving():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what was written if possible."""
        with self._forgiving():
            self._stream.flush()

    def finish(self) -> None:
        """Flush, and discard what is still unwritten, which Python would try to write at exit."""
        self.flush()
        if self.error is not None:
            self._discard()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self._stream, name)

    @contextmanager
    def _forgiving(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            gone = (errno.EPIPE, errno.EIO) if self._is_terminal else (errno.EPIPE,)
            if error.errno in gone:
                self.is_abandoned = True
                self._discard()
            else:
                self.error = error
        except ValueError as error:  # the stream is closed
            self.error = OSError(errno.EBADF, str(error))

    def _discard(self) -> None:
        """Let the file descriptor, which child processes inherit, lead nowhere."""
        with contextlib.suppress(OSError, ValueError):
            number = self._stream.fileno()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)


@contextmanager
def forgiving_output() -> Generator[Output]:
    """Replace sys.stdout and sys.stderr during the block; yields standard output."""
    open_standard()
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w") as nowhere:
        streams = [Output(stream or nowhere) for stream in before]
        sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in streams)
        try:
            yield streams[0]
        finally:
            for stream in streams:
                stream.finish()
            sys.stdout, sys.stderr = before


def open_standard() -> None:
    """Open standard streams that were closed at the start, so that no other file gets their place.

    Otherwise what libraries write to standard error could end up in a file of results.
    """
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def is_abandoned() -> bool:
    """Whether nobody reads this command's standard output any more."""
    return isinstance(sys.stdout, Output) and sys.stdout.is_abandoned


def num_columns() -> int:
    """Width of the text that this command prints to standard output."""
    if not sys.stdout.isatty():
        return WIDEST
    return min(WIDEST, max(NARROWEST, shutil.get_terminal_size().columns))


def wrapped(line: str, *, indent: int = 0) -> list[str]:
    """A line, broken at spaces if it is too long; all lines but the first are indented."""
    width = num_columns()
    wrapper = textwrap.TextWrapper(
        width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(line) if len(line) > width else [line]


def pasteable(command: str) -> str:
    """A command line of ours as it works in the shell from which this process was started.

    A program that this shell does not find is named by its path, as that of a virtual environment
    that is not activated. `uv run` does not activate one.
    """
    name, space, words = command.partition(" ")
    script = Path(sys.executable).with_name(name)
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if "UV_RUN_RECURSION_DEPTH" in os.environ and str(script.parent) in folders:
        folders.remove(str(script.parent))  # uv has put it there, for this process
    known = shutil.which(name, path=os.pathsep.join(folders))
    if not script.exists() or (known is not None and script.samefile(known)):
        return command
    inside = script.is_relative_to(Path.cwd()) and script.parent != Path.cwd()
    path = script.relative_to(Path.cwd()) if inside else script
    return f"{shlex.quote(str(path))}{space}{words}"
