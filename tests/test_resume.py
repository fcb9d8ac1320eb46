"""Facts of a killed sweep: the same command again ends as if nothing had happened."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from running_sweep import Running, finished_nodes, results, saved_steps, wait_for, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]

KILLED_AT_STEP = 100
"""Of 400, in V_2."""


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """What was seen of a run that was killed while it trained V_2, and of its end."""

    out: Path
    code: int
    finished_before: dict[str, tuple[int, int]]
    """The models that were done when it was killed."""
    saved: int
    """Step of V_2's newest state when it was killed."""
    saved_after: list[int]
    """Steps of the states that V_2's training saved afterwards."""


def kill_everything(run: Running, key: str) -> None:
    run.kill_all()


def kill_driver(run: Running, key: str) -> None:
    os.kill(run.process.pid, signal.SIGKILL)
    run.wait()


def kill_worker(run: Running, key: str) -> None:
    os.kill(run.claims()[key]["pid"], signal.SIGKILL)


def interrupt(run: Running, key: str) -> None:
    run.signal_group(signal.SIGINT)
    run.wait(60)


def terminate(run: Running, key: str) -> None:
    os.kill(run.process.pid, signal.SIGTERM)
    run.wait(60)


def hang_up(run: Running, key: str) -> None:
    """As the kernel does when the terminal of a session is closed."""
    run.signal_group(signal.SIGHUP)
    assert run.wait(60) == 128 + signal.SIGHUP


WAYS = [
    kill_everything,
    kill_driver,
    kill_worker,
    interrupt,
    terminate,
    hang_up,
]


@pytest.fixture(scope="module", params=WAYS)
def resumed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    """A sweep that is ended in one of the ways while it trains a V_2, and run again."""
    way: Callable[[Running, str], None] = request.param
    folder = tmp_path_factory.mktemp("killed")
    out, words = folder / "out", (str(write_sweep(folder)),)
    with Running(out=out, words=words) as run:
        key = wait_for(lambda: run.training(2, saved_step=KILLED_AT_STEP), "V_2's training")
        finished_before = finished_nodes(out)
        before = saved_steps(out, key)
        way(run, key)
        before |= saved_steps(out, key)
        saved_after: dict[str, int] = {}
        if run.process.poll() is None:  # Tune starts the trial again
            saved_after = watch(run, key, before)
            code = run.wait()
    if not saved_after:
        with Running(out=out, words=words) as run:
            saved_after = watch(run, key, before)
            code = run.wait()
    return Resumed(
        out=out,
        code=code,
        finished_before=finished_before,
        saved=max(before.values()),
        saved_after=list(saved_after.values()),
    )


def watch(run: Running, key: str, before: dict[str, int]) -> dict[str, int]:
    """File and step of the states that a node's training saves from now to its end."""
    seen: dict[str, int] = {}
    while run.process.poll() is None and key not in finished_nodes(run.out):
        new = saved_steps(run.out, key)
        seen |= {name: step for name, step in new.items() if name not in before}
        time.sleep(0.02)
    return seen


def test_the_end_is_that_of_an_uninterrupted_run(resumed, finished):
    """Weights, averages, pools, streams, curves and numbers are the same, bit for bit."""
    assert resumed.code == 0
    assert results(resumed.out) == results(finished.out)


def test_no_finished_model_is_trained_again(resumed):
    """Their record.json is the same file, untouched."""
    after = finished_nodes(resumed.out)

    assert len(resumed.finished_before) >= 1
    assert {key: after[key] for key in resumed.finished_before} == resumed.finished_before


def test_training_goes_on_from_what_was_saved(resumed):
    """No state of an earlier step is saved after the kill.

    A training from the first step would save some; one that was nearly done may save none.
    """
    assert resumed.saved >= KILLED_AT_STEP
    assert [step for step in resumed.saved_after if step <= resumed.saved] == []


def test_nothing_is_left_of_the_killed_run(resumed):
    """Claims and training states are gone."""
    assert list((resumed.out / "work").rglob("*")) == []
