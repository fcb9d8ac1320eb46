"""Facts of output that fails: it ends no command, and says nothing at the end of the process."""

import errno
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from model.commands.output import Output, forgiving_output, open_standard

LINES = """
import sys
from model.commands.command_line import Command, Program

class Work(Command):
    \"\"\"Print and go on.\"\"\"

    def run(self, args):
        for _ in range(3):
            print("a result" * 1000, flush=True)
            print("progress", file=sys.stderr)
        open("finished", "w").close()
        return 0

sys.exit(Program(name="p", description="P.", commands={"work": Work, "idle": Command}).run(
    ["work"]))
"""
"""A command that writes a file after much output."""

FULL = "error: stdout must be writable, got 'No space left on device'; the output is incomplete\n"


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("2>&1 | true", 0, ""),
        (">/dev/full", 1, "progress\n" * 3 + FULL),
        ("2>/dev/full", 0, ""),
        (">/dev/full 2>&1", 1, ""),
        ("2>&-", 0, ""),
        (">&-", 0, "progress\n" * 3),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_a_command_goes_on_to_its_end(redirection, code, said, tmp_path) -> None:
    """And the interpreter's own flush at the exit neither complains nor changes the code."""
    (tmp_path / "work.py").write_text(LINES)
    redirected, _, reader = redirection.partition("|")
    script = f"{{ {sys.executable} work.py {redirected}; echo $? >&3; }} 3>code"
    done = subprocess.run(
        ["bash", "-c", f"{script} | {reader}" if reader else script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (tmp_path / "finished").exists()
    assert (int((tmp_path / "code").read_text()), done.stderr) == (code, said)


def test_a_terminal_that_goes_away_is_no_error() -> None:
    """Its other side is closed, as if its window were."""
    window, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream:
        output = Output(stream)
        os.close(window)
        output.write("a result\n")
        output.flush()
        assert (output.is_abandoned, output.error) == (True, None)


def test_a_failing_disk_is_not_a_reader_that_left(tmp_path) -> None:
    """The same error of a file is told."""

    class Failing(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    output = Output(Failing())
    output.write("a result\n")
    assert output.error is not None
    assert not output.is_abandoned


def test_a_name_that_the_locale_has_no_letters_for_is_printed(tmp_path) -> None:
    """Escaped, instead of a UnicodeEncodeError."""
    path = tmp_path / "out"
    with path.open("w", encoding="ascii") as stream:
        Output(stream).write("bl\xe5klocka \udcff\n")
    assert path.read_text() == "bl\\xe5klocka \\udcff\n"


def test_streams_are_put_back(capsys) -> None:
    before = sys.stdout, sys.stderr
    with forgiving_output():
        assert sys.stdout is not before[0]
        sys.stdout.write("seen\n")
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "seen\n"


def test_no_file_gets_the_place_of_a_closed_stream(tmp_path) -> None:
    """What a library writes to standard error would damage that file."""
    code = (
        "from model.commands.output import open_standard as o; o(); print(open('x', 'w').fileno())"
    )
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{code}" 2>&-'],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) > 2
    open_standard()  # changes nothing where all are open
    os.fstat(2)
