"""Facts of the signals that end a command: once, with 128 and their number, at any moment."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from model.commands.signals import check_received, ended_by_signals, signals_held
from model.errors import Terminated

ROOT = Path(__file__).parent.parent

WORK = """
import sys, time
from model.commands.command_line import Command, Program
from model.commands.signals import last_words, signals_held

class Work(Command):
    \"\"\"Work until a signal comes.\"\"\"

    def run(self, args):
        try:
            print("ready", flush=True)
            time.sleep(30)
        finally:
            WAY
            print("cleaned up", flush=True)
        return 0

sys.exit(Program(name="p", description="P.", commands={"work": Work, "idle": Command}).run(
    ["work"]))
"""
QUICK = "pass"
SLOW = "print('ready', flush=True); time.sleep(2)"


def work(tmp_path: Path, way: str, *prefix: str) -> subprocess.Popen[str]:
    """The command under way."""
    (tmp_path / "work.py").write_text(WORK.replace("WAY", way))
    process = subprocess.Popen(
        [*prefix, sys.executable, "work.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_a_command_clean_up_and_names_itself_in_the_code(number, tmp_path) -> None:
    process = work(tmp_path, QUICK)
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("cleaned up\n", "")
    assert process.returncode == 128 + number


def test_nohup_is_obeyed(tmp_path) -> None:
    """SIGHUP is ignored where it was ignored at the start; SIGTERM still ends the command."""
    process = work(tmp_path, QUICK, "nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM


def test_the_same_request_twice_is_one(tmp_path) -> None:
    """A terminal signals the whole group, and a launcher hands its own on to its child."""
    process = work(tmp_path, SLOW)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("cleaned up\n", "")
    assert process.returncode == 128 + signal.SIGINT


def test_a_second_request_cuts_the_cleaning_short(tmp_path) -> None:
    """The code remains that of the first."""
    process = work(tmp_path, SLOW)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 128 + signal.SIGTERM


def test_last_words_are_not_interrupted(tmp_path) -> None:
    way = "\n            with last_words(): print('ready', flush=True); time.sleep(2)"
    process = work(tmp_path, way)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("cleaned up\n", "")
    assert process.returncode == 128 + signal.SIGTERM


@pytest.fixture
def own_handlers():
    """Handlers as they were."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def start(steps: list[str], *signals: signal.Signals) -> None:
    """A start in whose middle signals arrive."""
    with signals_held("the start"):
        for number in signals:
            signal.raise_signal(number)
        steps.append("complete")


def test_a_held_signal_is_delivered_at_the_end(own_handlers, capfd) -> None:
    """What the block does is complete, and the user knows what the signal waits for."""
    steps = []
    with pytest.raises(Terminated), ended_by_signals() as ending:
        start(steps, signal.SIGTERM)
    assert (steps, ending.number) == (["complete"], signal.SIGTERM)
    assert "stopping after the start; press Ctrl-C again to stop at once" in capfd.readouterr().err


def test_a_second_signal_is_not_held(own_handlers, monkeypatch) -> None:
    monkeypatch.setattr("model.commands.signals.REPEAT_SECONDS", 0.0)
    steps = []
    with pytest.raises(Terminated), ended_by_signals():
        start(steps, signal.SIGTERM, signal.SIGINT)
    assert steps == []


def test_an_exception_that_was_swallowed_is_raised_again(own_handlers) -> None:
    """A library may swallow what the handler raises inside one of its callbacks."""
    with ended_by_signals():
        check_received()
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
        with pytest.raises(Terminated) as caught:
            check_received()
    assert caught.value.number == signal.SIGHUP
