"""What our commands share: one-line errors and exit codes around a command."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar

T = TypeVar("T")

USAGE = 2
"""Exit code for a user's mistake."""


class UsageError(ValueError):
    """A mistake in a command's words; the message is the whole story."""


def parse(kind: Callable[..., T] | type[T], args: list[str], *, prog: str) -> T:
    """Parse arguments with tyro; its boxes become one-line errors.

    Raises:
        UsageError: The arguments are not understood.
        SystemExit: Help was printed.
    """
    import tyro

    printed, said = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
            parsed, unknown = tyro.cli(kind, args=args, prog=prog, return_unknown_args=True)
    except SystemExit as stop:
        if stop.code in (0, None):
            print(printed.getvalue(), end="")
            raise
        raise UsageError(one_line(said.getvalue() + printed.getvalue(), prog)) from None
    if unknown:
        raise UsageError(unknown_argument(unknown[0], flags_of(kind, prog), prog))
    return parsed


def flags_of(kind: Any, prog: str) -> list[str]:
    """All flags in the help of a command."""
    import tyro

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(kind, args=["--help"], prog=prog)
    return sorted(set(re.findall(r"--[a-z][\w.-]*", printed.getvalue())))


def unknown_argument(argument: str, flags: list[str], prog: str) -> str:
    """The message for an argument that is none of `flags`."""
    name = argument.split("=")[0].replace("_", "-")
    close = get_close_matches(name, flags, 1)
    if name in flags:  # tyro left it over, as a value stands where none belongs
        return f"{name} takes no such value; see {prog} --help"
    hint = f"did you mean {close[0]}?" if close else f"{prog} --help lists them"
    return f"{argument} is not an option; {hint}"


def one_line(box: str, prog: str) -> str:
    """The message in one of tyro's error boxes, without its frame and its pointer to the help."""
    lines = [line.strip(" \u2502\u256d\u256e\u2570\u256f\u2500") for line in box.splitlines()]
    lines = ["" if set(line) <= {"-"} else line for line in lines]
    text: list[str] = []
    for line in lines[1:]:
        if line.startswith(("For full helptext", "Argument helptext")) or (text and not line):
            break
        text += [line] if line else []
    message = re.sub(r"^Error parsing [\w.-]+: ", "", " ".join(text)).rstrip(".")
    return message if " must " in message else f"{message}; see {prog} --help"


def run_command(command: Callable[[list[str]], int | None], args: list[str]) -> int:
    """Run a command; a user's mistake is one line on stderr and exit code 2, never a traceback."""
    try:
        return command(args) or 0
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("COLLAPSE_SWEEP_TRACEBACK"):
            raise
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, ModuleNotFoundError):
            message = (
                f"this command needs the package {error.name}, which is not installed; "
                "pip install 'collapse-sweep[all]'"
            )
        print(f"error: {message}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130
