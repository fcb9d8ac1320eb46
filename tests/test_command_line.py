"""What all commands share: one-line errors, warnings and exit codes."""

import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from model.commands.command_line import find_command, parse, run_command
from model.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Options:
    """A paragraph that is a good deal longer than a terminal of forty columns.

    Another.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """A folder."""
    out: Path
    """A file, and quite a few words about it, so that its help takes more lines than one or two."""
    count: int = 1
    """How many."""
    rate: float = 0.5
    """How fast."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"--count must be at least 1, got {self.count}")


def complaint(*args: str) -> str:
    with pytest.raises(UsageError) as raised:
        parse(Options, list(args), prog="prog")
    return str(raised.value)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "prog needs DIR and --out; see prog --help"),
        (("here",), "prog needs --out; see prog --help"),
        (("here", "--out", "x", "--count", "a"), "--count must be a whole number, got 'a'"),
        (("here", "--out", "x", "--rate", "a"), "--rate must be a number, got 'a'"),
        (("here", "--out", "x", "--count", "0"), "--count must be at least 1, got 0"),
        (("here", "--out", "x", "--cuont", "2"), "did you mean --count?"),
        (("here", "--out", "x", "there"), "there is not an option; prog --help lists them"),
    ],
)
def test_a_mistake_is_a_line_that_names_the_option(args, message):
    assert message in complaint(*args)
    assert "\n" not in complaint(*args)


def test_help_is_as_wide_as_the_terminal(monkeypatch, capsys):
    """Paragraphs too, and no line ends in blanks."""
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit):
        parse(Options, ["--help"], prog="prog")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert [line for line in lines if line != line.rstrip()] == []


def test_an_unknown_command_is_answered_with_a_close_one():
    with pytest.raises(UsageError, match=r"tain is not a command; did you mean train\?"):
        find_command("tain", {"train": lambda args: 0}, "prog")


def fail(error: BaseException) -> int:
    def command(args: list[str]) -> int:
        raise error

    return run_command(command, [])


@pytest.mark.parametrize("error", [ValueError("two\nlines"), FileNotFoundError("two\nlines")])
def test_an_error_is_one_line_and_status_2(error, capsys):
    assert fail(error) == 2
    assert capsys.readouterr().err == "error: two\n"


def test_a_missing_package_is_named_with_the_extra_that_has_it(capsys):
    assert fail(ModuleNotFoundError("No module named 'x'", name="x")) == 2
    assert "needs the package x" in capsys.readouterr().err


def test_an_interrupt_is_status_130():
    assert fail(KeyboardInterrupt()) == 130


@pytest.mark.filterwarnings("always")
def test_a_warning_is_one_line_without_its_place_in_the_code(capsys):
    def command(args: list[str]) -> int:
        warnings.warn("it has no effect", stacklevel=1)
        return 0

    assert run_command(command, []) == 0
    assert capsys.readouterr().err == "warning: it has no effect\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    """The pipe's reading end is closed before anything is written."""
    command = [sys.executable, "-m", "sweep", "presets"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
