"""What our commands share: choosing a command, one-line errors and exit codes around it.

Must not know what any command does.
"""

import contextlib
import io
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from textwrap import TextWrapper
from typing import Any, TextIO, TypeVar

from model.errors import UsageError

T = TypeVar("T")
Command = Callable[[list[str]], int | None]
"""A command: its words to its exit code, None being 0."""

USAGE = 2
"""Exit code for a user's mistake."""


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
            print(wrapped(printed.getvalue()))
            raise
        raise UsageError(one_line(said.getvalue() + printed.getvalue(), prog)) from None
    if unknown:
        raise UsageError(unknown_argument(unknown[0], flags_of(kind, prog), prog))
    return parsed


def wrapped(text: str) -> str:
    """A help text with its paragraphs, which tyro leaves as long lines, as wide as its tables."""
    width = shutil.get_terminal_size().columns
    lines = [line.rstrip() for line in text.splitlines()]
    # At least some width, for a terminal that says 0.
    fill = TextWrapper(max(width, 20), break_long_words=False, break_on_hyphens=False).fill
    return "\n".join(line if line.startswith(" ") else fill(line) for line in lines)


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
    if missing := missing_words(box):
        return f"{prog} needs {' and '.join(missing)}; see {prog} --help"
    lines = [line.strip(" \u2502\u256d\u256e\u2570\u256f\u2500") for line in box.splitlines()]
    lines = ["" if set(line) <= {"-"} else line for line in lines]
    text: list[str] = []
    for line in lines[1:]:
        if line.startswith(("For full helptext", "Argument helptext")) or (text and not line):
            break
        text += [line] if line else []
    message = " ".join(text).rstrip(".")
    if " must " in message:
        return re.sub(r"^Error parsing [\w.-]+: ", "", message)
    return f"{typed(message)}; see {prog} --help"


def missing_words(box: str) -> list[str]:
    """The required words that a box of tyro's says are missing, if it is one: `--out`, `DIR`."""
    _, found, rest = box.partition("Missing from ")
    if not found:
        return []
    rest = re.split(r"\n\W*-{4,}", rest)[0]  # the frame, below which stands a pointer to the help
    lines = [line for line in rest.splitlines()[1:] if line.strip()]
    indents = [len(line) - len(line.lstrip()) for line in lines]
    return [line.split()[0] for line, n in zip(lines, indents, strict=True) if n == indents[0]]


def typed(message: str) -> str:
    """A message of tyro's on a value of a wrong type, in our words."""
    message = re.sub(r"^Error parsing ([\w.-]+): ", r"\1: ", message)
    kinds = {
        r"invalid literal for int\(\) with base 10": "whole number",
        "could not convert string to float": "number",
    }
    message = re.sub(
        r": no type matching \{None\}\|(INT|FLOAT) could be instantiated from \['(.*)'\]",
        lambda m: f" must be a {'whole ' if m[1] == 'INT' else ''}number or None, got '{m[2]}'",
        message,
    )
    for pattern, kind in kinds.items():
        message = re.sub(f": {pattern}: ", f" must be a {kind}, got ", message)
    return message


def run_program(prog: str, usage: str, commands: Mapping[str, Command]) -> int:
    """Run the command that this process was started for, and return its exit code.

    Args:
        prog: The program's name.
        usage: What its --help prints.
        commands: By name.
    """
    args = sys.argv[1:]
    if not args or args[0] in ("-h", "--help"):
        print(usage)
        return 0 if args else USAGE
    return run_command(lambda rest: find_command(args[0], commands, prog)(rest), args[1:])


def find_command(name: str, commands: Mapping[str, Command], prog: str) -> Command:
    """The command called `name`; raises UsageError with a suggestion."""
    if name not in commands:
        message = unknown_argument(name, list(commands), prog)
        raise UsageError(message.replace("an option", "a command"))
    return commands[name]


def run_command(command: Command, args: list[str]) -> int:
    """Run a command; a user's mistake is one line on stderr and exit code 2, never a traceback.

    A warning is one line on stderr too, and a reader of stdout that has seen enough is no error.
    """
    try:
        with warnings.catch_warnings():
            # Documented as replaceable, but typed as one function.
            warnings.showwarning = _show_warning  # ty: ignore[invalid-assignment]
            code = command(args) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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
    except KeyboardInterrupt:
        return 130


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning that is meant for users without the place in the code that gave it."""
    if category is UserWarning:
        text = f"warning: {message}\n"
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)
