"""Facts of the end of a run: each part of what it shows that is missing makes exit code 1."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from results_folder import write_folder

from model.commands.output import pasteable
from sweep.commands import run
from sweep.commands.run import analysis, conclude, run_analysis
from sweep.records import load_lineages


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """A results folder whose lineages are all done."""
    folder = tmp_path_factory.mktemp("runs") / "out"
    return write_folder(folder, alphas=(1.0,), seeds=(0,), generations=2)


def pretend(monkeypatch, **programs: str) -> None:
    """Let Python programs take the place of commands of analysis."""

    def start(command: list[str], **settings: Any) -> Any:
        code = programs.get(command[4], "pass")
        return subprocess.Popen([sys.executable, "-c", code], **settings)

    monkeypatch.setattr(run, "subprocess", Stand(start))


class Stand:
    """The module subprocess with another Popen."""

    DEVNULL = subprocess.DEVNULL

    def __init__(self, start) -> None:
        self.Popen = start


KILLED = "import os; os.kill(os.getpid(), 9)"
PARTS = [
    (
        {"table": "raise SystemExit(2)"},
        "missing: the table (analysis table ended with exit code 2)",
    ),
    (
        {"figure": "raise SystemExit(70)"},
        "missing: figures (analysis figure ended with exit code 70)",
    ),
    ({"table": KILLED}, "missing: the table (analysis table was killed by SIGKILL)"),
    ({"figure": KILLED}, "analysis figure was killed by SIGKILL"),
    ({"report": KILLED}, "missing: the report (analysis report was killed by SIGKILL)"),
]


@pytest.mark.parametrize(("programs", "told"), PARTS)
def test_a_part_that_fails_is_missing(programs, told, out, monkeypatch, caplog) -> None:
    pretend(monkeypatch, **programs)
    assert conclude(out, load_lineages(out)) == 1
    assert told in caplog.text


def test_all_parts_are_there(out, monkeypatch, caplog) -> None:
    pretend(monkeypatch)
    assert conclude(out, load_lineages(out)) == 0
    assert caplog.text == ""


def test_a_very_large_sweep_does_not_write_its_report_unasked(out, monkeypatch, capsys) -> None:
    """It would take minutes and gigabytes."""
    pretend(monkeypatch, report="raise SystemExit(70)")
    monkeypatch.setattr(run, "MOST_REPORTED", 0)
    assert conclude(out, load_lineages(out)) == 0
    command = pasteable("analysis report ")
    assert f"report:       {command}" in capsys.readouterr().out


def test_a_part_that_cannot_be_started_is_missing(out, monkeypatch, caplog) -> None:
    """The machine has no room for a process."""

    def start(*args: object, **settings: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(run, "subprocess", Stand(start))
    assert conclude(out, load_lineages(out)) == 1
    assert caplog.text.count("could not be started") == 3


@pytest.mark.slow
def test_a_table_that_found_no_room_is_missing(out) -> None:
    """The command that prints it has said so in its exit code."""
    code = (
        "import sys; from sweep.commands.run import run_analysis;"
        f"sys.exit(len(run_analysis({{'the table': ('table', {str(out)!r})}})))"
    )
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "missing: the table (analysis table ended with exit code 1)" in done.stderr


def interrupt(processes: list[subprocess.Popen]) -> None:
    with analysis(("figure",)) as process:
        assert process is not None
        processes.append(process)
        raise KeyboardInterrupt


def test_a_run_that_is_stopped_leaves_no_process(monkeypatch) -> None:
    """Whatever it was printing."""
    pretend(monkeypatch, figure="import time; time.sleep(60)")
    processes: list[subprocess.Popen] = []
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupt(processes)
    assert processes[0].returncode == -signal.SIGTERM
    assert time.monotonic() - started < 30


def test_nothing_to_run_is_nothing_missing() -> None:
    assert run_analysis({}) == set()
