"""Command lines of the programs: parsing of arguments, one-line errors and exit codes.

Exit codes: 0 if every requested result exists; 1 if something is missing; 2 if the user must change
the arguments, a file or a store; 70 for a bug in this package; 128 + n after signal n.
"""

import contextlib
import functools
import inspect
import io
import operator
import re
import shutil
import signal
import sys
import textwrap
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TextIO

import tyro

from model.commands.output import forgiving_output
from model.commands.plugins import TABLES, Tables, load_plugins, named_imports
from model.commands.signals import Ending, ended_by_signals
from model.commands.values import check_words, parse_word
from model.errors import (
    ECHO,
    OneLineError,
    Terminated,
    UsageError,
    findable_path,
    printable,
    shortened,
)

DISTRIBUTION = "collapse-sweep"
MISSING = 1
"""Exit code if a requested result is missing."""
USAGE = 2
"""Exit code of a user error."""
BUG = 70
"""Exit code of a bug in this package: EX_SOFTWARE of sysexits.h."""
SIGNALLED = 128
"""Exit code after signal n, less n."""
METAVARS: dict[Any, str] = {
    int: "INT",
    float: "FLOAT",
    int | None: "{None}|INT",
    float | None: "{None}|FLOAT",
    str | None: "{None}|STR",
}
"""Names in help of the types that flags parse like axes and ensemble.members (`parse_word`)."""

FIELDS = "__dataclass_fields__"

LONG_WORD = re.compile(rf"\S{{{ECHO + 40},}}")

WORDS = tyro.constructors.ConstructorRegistry()


@WORDS.primitive_rule
def word_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Make tyro parse values of the types in METAVARS with `parse_word`."""
    if info.type not in METAVARS:
        return None

    def read(words: list[str]) -> Any:
        try:
            return parse_word(words[0], info.type, "the value")
        except UsageError as error:
            raise ValueError(str(error)) from None  # tyro adds the flag

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=METAVARS[info.type],
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, info.type),
        str_from_instance=lambda value: [str(value)],
    )


@WORDS.primitive_rule
def path_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Make tyro parse paths with `findable_path`."""
    if info.type not in (Path, Path | None):
        return None
    optional = info.type is not Path

    def read(words: list[str]) -> Path | None:
        if optional and words[0].lower() == "none":
            return None
        try:
            if not words[0]:
                raise UsageError("the value must be a path, got ''")
            return findable_path("the value", words[0])
        except UsageError as error:
            raise ValueError(str(error)) from None  # tyro adds the flag

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="{None}|PATH" if optional else "PATH",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, info.type),
        str_from_instance=lambda value: [str(value)],
    )


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: a dataclass whose docstring is its help text and whose fields are its options."""

    FIRST: ClassVar[tuple[str, ...]] = ()
    """Fields whose options come first in its help. The class's own follow, then inherited ones."""

    @classmethod
    def prepare(cls, args: Sequence[str]) -> tuple[list[str], Self | None]:
        """Return the arguments for tyro, and defaults that replace those of the fields, or None."""
        return list(args), None

    def run(self, args: Sequence[str]) -> int:
        """Run the command and return its exit code; `args` are the arguments it was parsed from.

        Raises:
            OneLineError: The user must change something.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PluginCommand(Command):
    """A command that may use variants that plug-ins add."""

    TABLES: ClassVar[Tables] = TABLES
    """The dicts that plug-ins can extend."""
    imports: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        tyro.conf.arg(name="import", metavar="FILE|FOLDER|MODULE"),
    ] = ()
    """Plug-in with own families, filters, metrics and so on (see docs/plugins.md); repeatable."""

    @classmethod
    def prepare(cls, args: Sequence[str]) -> tuple[list[str], Self | None]:
        """Load the plug-ins, whose variants the other arguments may name."""
        load_plugins(named_imports(args), cls.TABLES)
        return list(args), None


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A program of several commands."""

    name: str
    description: str
    commands: Mapping[str, type[Command]]

    def run(self, args: Sequence[str]) -> int:
        """Run the command that the arguments name, and return the exit code.

        A user error prints one line to stderr, as a warning does; a bug prints a traceback. It is
        not an error if the reader of stdout closes it early. A result that could not be printed
        is missing.
        """
        with ended_by_signals() as ending, forgiving_output() as stdout:
            try:
                code = self._code(list(args), ending)
                stdout.flush()
            except KeyboardInterrupt as error:  # during the end of the command
                code = exit_code(error, ending.number)
            if stdout.error is not None:
                print(
                    f"error: stdout must be writable, got {stdout.error.strerror!r}; "
                    "the output is incomplete",
                    file=sys.stderr,
                )
            return code or (0 if stdout.error is None else MISSING)

    def _code(self, args: list[str], ending: Ending) -> int:
        """Run a command, print its error if there is one, and return the exit code."""
        try:
            with warnings.catch_warnings():
                if any(option.startswith("error") for option in sys.warnoptions):
                    warnings.simplefilter("default")  # PYTHONWARNINGS: a note ends no command
                # Python's documentation allows replacing showwarning; its type annotation does not.
                warnings.showwarning = _show_warning  # ty: ignore[invalid-assignment]
                return self._run(args)
        except BaseException as error:
            code = exit_code(error, ending.number)
            if code == BUG:
                _report(error)
            elif code == USAGE:
                _complain(sentence(error))
            return code

    def _run(self, args: list[str]) -> int:
        check_words(args)
        if args == ["--version"]:
            print(f"{self.name} ({DISTRIBUTION}) {version(DISTRIBUTION)}")
            return 0
        name, words = (args[0], args[1:]) if args else ("", [])
        kind = self.commands.get(name)
        try:
            if kind is None:  # help, completion, or arguments that tyro rejects
                parse(self._any_command(), args, prog=self.name, description=self.description)
                return 0
            order_options(kind)
            ready, default = kind.prepare(words)
            prog, text = f"{self.name} {name}", help_text(kind)
            command = parse(kind, ready, prog=prog, description=text, default=default)
        except SystemExit as stop:  # help was printed, or an error box
            return USAGE if stop.code else 0
        return command.run(words)

    def _any_command(self) -> Any:
        """The type with which tyro lists all commands, each with its first paragraph of help."""
        kinds: list[Any] = []
        for name, command in self.commands.items():
            kind: Any = command
            summary = (inspect.getdoc(command) or "").split("\n\n")[0].replace("\n", " ")
            kinds.append(Annotated[kind, tyro.conf.subcommand(name, description=summary)])
        return functools.reduce(operator.or_, kinds)


def order_options(kind: type[Command]) -> None:
    """Order the options of a command's help, which tyro lists in the order of the fields."""

    def rank(option: Field) -> tuple[int, int]:
        first = kind.FIRST.index(option.name) if option.name in kind.FIRST else len(kind.FIRST)
        has = [getattr(each, FIELDS, {}).get(option.name) is option for each in kind.__mro__]
        return first, sum(has)  # the class that defines it, and those that inherit it

    setattr(kind, FIELDS, {each.name: each for each in sorted(fields(kind), key=rank)})


def parse(
    kind: Any, args: Sequence[str], *, prog: str, description: str, default: Any = None
) -> Any:
    """Parse arguments with tyro, which prints help, or an error box if it cannot parse them.

    Raises:
        OneLineError: A parsed value is not valid.
        SystemExit: Help or an error box was printed; the code is 2 for an error box.
    """
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                kind,
                args=args,
                prog=prog,
                description=description,
                default=tyro.MISSING_NONPROP if default is None else default,
                registry=WORDS,
            )
    except SystemExit as stop:
        # tyro prints a box for every ValueError; errors of our own checks become one line.
        error: BaseException | None = stop
        while error is not None:
            if isinstance(error, OneLineError):
                raise error from None
            error = None if error.__suppress_context__ else error.__context__
        if any(map(LONG_WORD.search, args)):  # the box repeats them
            shorter = [LONG_WORD.sub(lambda word: shortened(word[0]), word) for word in args]
            parse(kind, shorter, prog=prog, description=description, default=default)
            first = next(word for word in shorter if word not in args)
            raise UsageError(f"an argument must be valid, got '{first}'") from None
        sys.stderr.write(box.getvalue())
        raise


def exit_code(error: BaseException, received: int | None = None) -> int:
    """The exit code of a command that ends with an error.

    Args:
        error: The error.
        received: The signal that the command has received. What fails after it is its consequence.
    """
    if received is not None or isinstance(error, KeyboardInterrupt):
        number = error.number if isinstance(error, Terminated) else signal.SIGINT
        return SIGNALLED + (received or number)
    return USAGE if isinstance(error, OneLineError) or missing_package(error) else BUG


def sentence(error: BaseException) -> str:
    """What the user must change."""
    if package := missing_package(error):
        return (
            f"this command needs the package {package}, which is not installed; "
            f"pip install '{DISTRIBUTION}[all]'"
        )
    return str(error)


def missing_package(error: BaseException) -> str | None:
    """Name of the package that is not installed, if that is the error."""
    package = error.name if isinstance(error, ModuleNotFoundError) else None
    ours = package is not None and package.split(".")[0] in ("model", "sweep", "analysis")
    return None if ours else package


def help_text(kind: type[Command]) -> str:
    """A command's docstring, wrapped and indented here: tyro joins lines that are not indented."""
    width = max(shutil.get_terminal_size().columns, 20)  # a terminal may report 0
    wrapper = textwrap.TextWrapper(width - 1, break_long_words=False, break_on_hyphens=False)
    paragraphs = (inspect.getdoc(kind) or "").split("\n\n")
    lines = [p if p.startswith(" ") else wrapper.fill(p) for p in paragraphs]
    return textwrap.indent("\n".join(lines), " ")


def _complain(message: str) -> None:
    line = "".join(
        printable(letter) if letter.isprintable() or letter >= "\ud800" else " "
        for letter in message
    )
    line = LONG_WORD.sub(lambda word: shortened(word[0]), line)
    print(f"error: {line}", file=sys.stderr)


def _report(error: BaseException) -> None:
    traceback.print_exception(error)
    print(
        f"\nThis is a bug in {DISTRIBUTION} {version(DISTRIBUTION)}; "
        "please report it with this traceback.",
        file=sys.stderr,
    )


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning; omit its location in the code if it is meant for users."""
    if category is UserWarning:
        text = f"warning: {printable(str(message))}\n"
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)
