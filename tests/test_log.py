"""Facts of a results folder's log: each event is a line, and how to resume is the last word."""

import os
import re
import signal
from pathlib import Path

import pytest

from model.commands.output import pasteable
from model.errors import Terminated, UsageError
from sweep.results_folder import LOG, check_out
from sweep.status import log
from sweep.status.log import EVENTS, logged
from sweep.store.folder import StoreError

COMMAND = "sweep run tiny.toml --out out"


def lines(out: Path) -> list[str]:
    """The log without times, hosts and processes, which it must have."""
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[\S+ \d+\] (.*)"
    matches = [re.fullmatch(form, line) for line in (out / LOG).read_text().splitlines()]
    return [match[1] for match in matches if match]


def fail(error: BaseException) -> int:
    raise error


def test_a_good_run_is_told_from_its_start_to_its_code(tmp_path, capsys) -> None:
    """With what others say meanwhile. A second run continues the file."""

    def work() -> int:
        EVENTS.getChild("store").info("V_1 done")
        EVENTS.getChild("store").warning("the store has not answered\nfor 10 s \x1b[2J")
        return 1

    for _ in range(2):
        assert logged(tmp_path, COMMAND, work, kept="models are kept") == 1
    assert len(lines(tmp_path)) == 8
    started, *others = lines(tmp_path)[:4]
    assert re.match(
        rf"started: {COMMAND} \(python 3\.\S+, platform .*collapse-sweep \S+, ", started
    )
    assert others == [
        "V_1 done",
        "the store has not answered for 10 s  [2J",
        "ended: exit code 1",
    ]
    assert capsys.readouterr().err.count("the store has not answered") == 2


@pytest.mark.parametrize(
    ("error", "code", "told", "is_resumable"),
    [
        (KeyboardInterrupt(), 130, "received SIGINT", True),
        (Terminated(signal.SIGHUP), 129, "received SIGHUP", True),
        (StoreError("no answer"), 2, r"error: StoreError: no answer \(test_log.py, line \d+", True),
        (UsageError("x must y"), 2, r"error: UsageError: x must y \(test_log.py, line", False),
        (KeyError("a"), 70, r"error: KeyError: 'a' \(test_log.py, line \d+, in fail\)", False),
    ],
)
def test_a_run_that_breaks_off_is_told_with_its_reason(
    error, code, told, is_resumable, tmp_path, capsys
) -> None:
    with pytest.raises(type(error)):
        logged(tmp_path, COMMAND, lambda: fail(error), kept="models are kept")
    _, reason, *others = lines(tmp_path)
    assert re.match(told, reason)
    resume = [f"stopped; models are kept. To resume: {COMMAND}"] if is_resumable else []
    assert others == [*resume, f"ended: exit code {code}"]
    said = (
        f"\nstopped; models are kept. To resume:\n  {pasteable(COMMAND)}\n" if is_resumable else ""
    )
    assert capsys.readouterr().err == said


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path) -> None:
    """A folder is in its place."""
    (tmp_path / LOG).mkdir()
    assert logged(tmp_path, COMMAND, lambda: 0, kept="models are kept") == 0


def test_a_log_that_is_a_pipe_stops_nothing(tmp_path) -> None:
    """Nobody may ever read it."""
    os.mkfifo(tmp_path / LOG)
    assert logged(tmp_path, "sweep run x", lambda: 3, kept="x") == 3


def test_a_log_alone_does_not_make_a_folder_foreign(tmp_path) -> None:
    """A run that ended before it wrote sweep.json can be repeated."""
    logged(tmp_path, COMMAND, lambda: 0, kept="models are kept")
    check_out(tmp_path)


def test_nothing_is_logged_after_the_end(tmp_path) -> None:
    logged(tmp_path, COMMAND, lambda: 0, kept="models are kept")
    log.EVENTS.info("another command in this process")
    assert len(lines(tmp_path)) == 2
