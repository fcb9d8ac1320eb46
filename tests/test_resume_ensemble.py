"""Facts of a killed sweep of everything at once: members, classes, filter, concentration."""

import random
import time
from pathlib import Path

import pytest
from running_sweep import Running, results, run_sweep, wait_for, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EVERYTHING = {
    "base__generations": 3,
    "base__train__steps": 250,
    "base__model__conditional": True,
    "base__pool__concentration": 0.5,
    "base__pool__focal_classes": ["3"],
    "base__filter__name": "typicality",
    "base__filter__candidates": 2.0,
    "base__filter__extractor": "pixels",
    "base__ensemble__members": ["data=shard", "model.family=flow", "model.family=gaussian"],
    "base__metrics__names": ["kid", "conditional_accuracy"],
    "resources__parallel_members": 2,
}
KILLS = 3
"""Of each run, at random moments."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The results of the sweep, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = write_sweep(folder, (1.0,), **EVERYTHING)
    started = time.monotonic()
    done = run_sweep("run", path, "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out", time.monotonic() - started


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(
    undisturbed, seed: int, tmp_path: Path
) -> None:
    """By SIGKILL to all its processes; weights, pools, streams and numbers, bit for bit."""
    expected, seconds = undisturbed
    words = (str(write_sweep(tmp_path, (1.0,), **EVERYTHING)),)
    chance = random.Random(seed)
    out = tmp_path / "out"
    for _ in range(KILLS):
        with Running(out=out, words=words) as run:
            wait_for(lambda run=run: run.claims() or run.process.poll() is not None, "a start")
            time.sleep(chance.uniform(0, seconds / KILLS))
            run.kill_all()
    done = run_sweep("run", *words, "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert results(out) == results(expected)
