"""Facts of `sweep status --watch`: it ends with the sweep, or says that nobody works on it."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running_sweep import IN_TERMINAL, SWEEP, Running, wait_for
from running_sweep import write_sweep as write_file
from test_tracking import publish
from tiny_sweep import compute, make_sweep, plan_in

from model.commands.output import pasteable
from sweep.__main__ import main
from sweep.planning.lineages import PlannedLineage
from sweep.results_folder import fill, write_sweep
from sweep.status.display import watch
from sweep.store.store import open_store

GRID = ({"pool.alpha": [0.5, 2.0]},)
COMMAND = "sweep run tiny.toml --out out"

HOLD = """
import sys, time
from sweep.store.store import open_store
claim = open_store(sys.argv[1]).claims.take(sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""
"""A process that works on a key until it is killed."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A sweep of two lineages, one of which is done."""
    out = tmp_path / "out"
    lineages = lineages_of(out)
    write_sweep(out, make_sweep(GRID), COMMAND)
    compute(lineages[0].config, open_store(out))
    return out


def lineages_of(out: Path) -> list[PlannedLineage]:
    return plan_in(make_sweep(GRID), open_store(out))


@contextmanager
def watching(out: Path, log: Path, *, in_terminal: bool = False) -> Generator[subprocess.Popen]:
    """`sweep status --watch` in a process, whose output goes to a file."""
    terminal = (sys.executable, "-c", IN_TERMINAL) if in_terminal else ()
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [*terminal, SWEEP, "status", out, "--watch", "0.2"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
        ) as process,
    ):
        yield process
        process.kill()


def kill_one_at_work(out: Path, key: str) -> None:
    """Let a process claim a key, and kill it."""
    command = [sys.executable, "-c", HOLD, out, key]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()


def test_a_sweep_that_is_done_ends_the_watch_with_0(out: Path, capsys) -> None:
    """With the table of its lineages."""
    compute(lineages_of(out)[1].config, open_store(out))
    assert watch(out, store=None, period=0.1) == 0
    assert capsys.readouterr().out.count(" done ") == 2


def test_a_sweep_with_a_diverged_lineage_ends_it_with_1(out: Path, capsys) -> None:
    """As `sweep run` does."""
    node = lineages_of(out)[1].nodes[1]
    publish(open_store(out), node, status="diverged", reason="nan")
    assert watch(out, store=None, period=0.1) == 1
    assert "V_2 diverged: nan" in capsys.readouterr().out


def test_a_sweep_with_a_failed_lineage_ends_it_with_1(out: Path, capsys) -> None:
    """Once the run has recorded the failure."""
    lineages = lineages_of(out)
    fill(out, lineages, open_store(out), errors={lineages[1].id: "the worker was lost"})
    assert watch(out, store=None, period=0.1) == 1
    assert "the worker was lost" in capsys.readouterr().out


def test_the_last_model_ends_it(out: Path, tmp_path: Path) -> None:
    """While it watches; each change is a line."""
    log = tmp_path / "log"
    with watching(out, log) as process:
        wait_for(lambda: "1 of 2 lineages ended, 2 of 3 models done" in log.read_text(), "a line")
        compute(lineages_of(out)[1].config, open_store(out))
        assert process.wait(timeout=60) == 0
    assert "tiny: 3 of 3 models done" in log.read_text()


def test_a_dead_sweep_is_said_to_be_dead_and_how_to_resume_it(out: Path, tmp_path: Path) -> None:
    """Once, though it looks again and again; Ctrl-C ends the watch with 130."""
    kill_one_at_work(out, lineages_of(out)[1].nodes[1].key)
    log = tmp_path / "log"
    with watching(out, log) as process:
        wait_for(lambda: "not running" in log.read_text(), "the news")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert log.read_text().count(f"not running; resume with: {pasteable(COMMAND)}\n") == 1
    assert log.read_text().count("\n") == 2


def test_a_terminal_shows_who_works_and_keeps_nothing_behind_ctrl_c(out, tmp_path) -> None:
    """The lines are redrawn in place, and cleared at the end."""
    store, log = open_store(out), tmp_path / "log"
    claim = store.claims.take(lineages_of(out)[1].nodes[1].key)
    assert claim is not None
    with claim, watching(out, log, in_terminal=True) as process:
        claim.heartbeat({"lineage": "x", "generation": 2, "generations": 2, "stage": "train"})
        wait_for(lambda: "x  V_2 of 2  train" in log.read_text(), "the trial's line")
        assert process.stdin is not None
        process.stdin.write(b"\x03")
        process.stdin.flush()
        assert process.wait(timeout=30) == 130
    assert log.read_bytes().rstrip().endswith(b"\x1b[2K")  # erase the line


def test_a_period_of_nothing_is_an_error(out: Path) -> None:
    """It would look without pause."""
    with pytest.raises(
        ValueError, match=r"--watch must be a finite number of at least 0\.1, got 0"
    ):
        watch(out, store=None, period=0.0)


@pytest.mark.parametrize("words", ["--watch {out}", "{out} --watch", "{out} --watch 0.5"])
def test_the_period_may_be_left_out(words, out, monkeypatch, capsys) -> None:
    """Behind the folder or before it."""
    compute(lineages_of(out)[1].config, open_store(out))
    monkeypatch.setattr(sys, "argv", ["sweep", "status", *words.format(out=out).split()])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0


def test_a_folder_that_is_no_sweep_is_an_error(tmp_path: Path) -> None:
    """It names the missing file."""
    with pytest.raises(ValueError, match=r"sweep.json must exist; is its folder the --out"):
        watch(tmp_path, store=None, period=1.0)


@pytest.mark.slow
@pytest.mark.ray
def test_a_real_run_is_followed_through_kill_and_resume_to_its_end(tmp_path: Path) -> None:
    """Killed, it is dead; the same command again, and the watch goes on to the end: exit 0."""
    write_file(tmp_path, base__train__steps=2000)  # V_2 must outlast the start of the watch
    out, log = tmp_path / "out", tmp_path / "watch"
    with Running(out=out, words=("tiny.toml",)) as run:
        wait_for(lambda: run.training(2, saved_step=1), "V_2 under way")
        with watching(out, log) as process:
            wait_for(lambda: "1 of 3 models done" in log.read_text(), "V_1 is seen")
            run.kill_all()
            wait_for(lambda: "not running; resume with: " in log.read_text(), "death")
            assert process.poll() is None
            with Running(out=out, words=("tiny.toml",)) as again:
                assert again.wait() == 0
            assert process.wait(timeout=60) == 0
    assert "3 of 3 models done" in log.read_text()
    assert os.fspath(out) in log.read_text()
