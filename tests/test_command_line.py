"""What all commands share: reading words, one-line errors, warnings and exit codes."""

import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import tyro

from model.commands.command_line import Command, Program
from model.errors import MissingFileError, OneLineError, Terminated, UsageError


@dataclass(frozen=True, kw_only=True)
class Group:
    """Options with a common prefix."""

    rate: float | None = 0.5
    """How fast."""

    def __post_init__(self) -> None:
        if self.rate is not None and self.rate < 0:
            raise UsageError(f"group.rate must be at least 0, got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class Work(Command):
    """A paragraph that is a good deal longer than a terminal of forty columns.

    Another.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """A folder."""
    out: Path
    """A file, and quite a few words about it, so that its help takes more lines than one or two."""
    count: int = 1
    """How many."""
    group: Group = Group()
    """A group."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"--count must be at least 1, got {self.count}")

    def run(self, args: Sequence[str]) -> int:
        """Print what was read."""
        sys.stdout.write(f"{self.count} {self.group.rate} {' '.join(args)}\n")
        return 3


class Idle(Command):
    """Do nothing."""


PROGRAM = Program(name="prog", description="A program.", commands={"work": Work, "idle": Idle})


def failing(error: BaseException) -> Program:
    """A program whose only work is to fail."""

    class Fail(Idle):
        def run(self, args: Sequence[str]) -> int:
            raise error

    return Program(name="prog", description="A program.", commands={"fail": Fail, "idle": Idle})


def test_a_command_gets_its_options_and_words_and_gives_the_exit_code(capsys):
    words = ["here", "--out", "x", "--count", "2", "--group.rate", "1e-3"]
    assert PROGRAM.run(["work", *words]) == 3
    assert capsys.readouterr().out == f"2 0.001 {' '.join(words)}\n"


@pytest.mark.parametrize("word", ["None", "none"])
def test_a_flag_takes_none_as_an_axis_does(word, capsys):
    assert PROGRAM.run(["work", "here", "--out", "x", "--group.rate", word]) == 3
    assert capsys.readouterr().out.startswith("1 None")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--count 0", "--count must be at least 1, got 0"),
        ("--group.rate -1", "group.rate must be at least 0, got -1.0"),
    ],
)
def test_a_value_that_breaks_a_rule_is_one_line_and_status_2(words, message, capsys):
    """Whether the options themselves or a group of them has the rule."""
    assert PROGRAM.run(["work", "here", "--out", "x", *words.split()]) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "Expected one of {work, idle}"),
        ("wrok", "Available subcommands: work, idle"),
        ("work", "Missing from prog work:"),
        ("work here", "--out PATH"),
        ("work here --out x --count a", "--count: the value must be a whole number, got 'a'"),
        ("work here --out x --group.rate a", "--group.rate: the value must be a number, got 'a'"),
        ("work here --out x --cuont 2", "--count INT"),
        ("work here --out x there", "Unrecognized options: there"),
    ],
)
def test_words_that_cannot_be_read_are_told_in_a_box_and_status_2(words, told, capsys):
    """With suggestions, which are tyro's."""
    assert PROGRAM.run(words.split()) == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert told in " ".join(said.split())
    assert not said.startswith("error: ")


@pytest.mark.parametrize("word", ["caf\udce9", "a\nb", "\x1b[31m"])
def test_a_word_that_is_no_text_is_one_line_and_status_2(word, capsys):
    assert PROGRAM.run(["work", "here", "--out", word]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"error: argument 4 must be UTF-8 text without control characters, got {word!r}\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["x" * 5000],
        ["work", "here", "--out", "y", "--" + "x" * 5000],
        ["work", "x" * 5000, "--out", "y"],
        ["work", "here", "--out", "y", "--count", "x" * 5000],
    ],
)
def test_a_long_word_is_not_repeated_in_full(words, capsys):
    """Neither in a box nor in a line."""
    assert PROGRAM.run(words) == 2
    said = capsys.readouterr().err
    assert said.count("x") < 300
    assert "characters)" in said.replace("\n", " ")


def test_help_names_each_command_with_its_first_sentence(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert PROGRAM.run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: prog [-h] {work,idle}\n\nA program.\n")
    assert "A paragraph that is a good deal longer than a terminal of forty columns." in printed
    assert "Another." not in printed


def test_help_is_as_wide_as_the_terminal(monkeypatch, capsys):
    """Paragraphs too; the line of usage is tyro's alone."""
    monkeypatch.setenv("COLUMNS", "40")
    assert PROGRAM.run(["work", "--help"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_every_command_and_flag(shell, capsys):
    assert PROGRAM.run(["--tyro-print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert [word for word in ("work", "idle", "group.rate") if word not in script] == []


def test_the_version_is_that_of_the_distribution(capsys):
    from importlib.metadata import version

    assert PROGRAM.run(["--version"]) == 0
    assert capsys.readouterr().out == f"prog (collapse-sweep) {version('collapse-sweep')}\n"


@pytest.mark.parametrize(
    "error", [OneLineError("two\nlines"), UsageError("two\nlines"), MissingFileError("two\nlines")]
)
def test_an_error_that_the_user_can_mend_is_one_line_and_status_2(error, capsys):
    assert failing(error).run(["fail"]) == 2
    assert capsys.readouterr().err == "error: two lines\n"


def test_an_error_cannot_move_the_terminals_cursor(capsys):
    """As a file's name could, which a message repeats."""
    assert failing(UsageError("\x1b[2Jgone")).run(["fail"]) == 2
    assert capsys.readouterr().err == "error:  [2Jgone\n"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("operands could not be broadcast together"),
        FileNotFoundError("no such file"),
        ImportError("cannot import name"),
        ModuleNotFoundError("No module named 'sweep.none'", name="sweep.none"),
    ],
)
def test_any_other_error_is_a_bug_with_its_traceback_and_status_70(error, capsys):
    assert failing(error).run(["fail"]) == 70
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n")
    assert f"{type(error).__name__}: {error}" in said
    assert said.splitlines()[-1].startswith("This is a bug in collapse-sweep ")


def test_a_value_error_of_numpys_is_a_bug(capsys):
    """Though UsageError is a ValueError too."""

    class Broken(Idle):
        def run(self, args: Sequence[str]) -> int:
            return int(np.zeros(2) @ np.zeros(3))

    program = Program(name="p", description="P.", commands={"broken": Broken, "idle": Idle})
    assert program.run(["broken"]) == 70
    assert "matmul" in capsys.readouterr().err


def test_a_missing_package_is_named_with_the_extra_that_has_it(capsys):
    assert failing(ModuleNotFoundError("No module named 'x.y'", name="x.y")).run(["fail"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "error: this command needs the package x.y, which is not installed; "
        "pip install 'collapse-sweep[all]'\n"
    )


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
def test_a_signal_is_status_128_and_its_number(error, status, capsys):
    assert failing(error).run(["fail"]) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.filterwarnings("always")
def test_a_warning_is_one_line_without_its_place_in_the_code(capsys):
    class Warn(Idle):
        def run(self, args: Sequence[str]) -> int:
            warnings.warn("it has no effect", stacklevel=1)
            return 0

    program = Program(name="p", description="P.", commands={"warn": Warn, "idle": Idle})
    assert program.run(["warn"]) == 0
    assert capsys.readouterr().err == "warning: it has no effect\n"


def test_a_note_ends_no_command_whatever_pythonwarnings_says():
    """A warning as an exception would be taken for a bug."""
    code = (
        "import sys, warnings; from model.commands.command_line import Command, Program\n"
        "class Warn(Command):\n"
        "    def run(self, args):\n"
        "        warnings.warn('it has no effect')\n"
        "        return 0\n"
        "sys.exit(Program(name='p', description='P.', commands={'warn': Warn}).run(['warn']))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "warning: it has no effect\n")


def test_a_reader_that_has_seen_enough_is_no_error():
    """The pipe's reading end is closed before anything is written."""
    command = [sys.executable, "-m", "sweep", "presets"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_an_empty_word_is_no_path(capsys):
    """It would be the working folder."""
    assert PROGRAM.run(["work", "here", "--out="]) == 2
    assert "the value must be a path, got ''" in capsys.readouterr().err
