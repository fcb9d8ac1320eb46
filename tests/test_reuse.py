"""Facts of trials that run one after another in the same process."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from running_sweep import (
    Running,
    find,
    results,
    run_sweep,
    tune_results,
    wait_for,
    write_sweep,
)

from sweep.records import load_lineages

pytestmark = [pytest.mark.slow, pytest.mark.ray]

IN_ITS_OWN_PROCESS = """
import sys
from pathlib import Path
from sweep.commands.request import load_sweep_file
from sweep.lineage.datasets import load_prepared, prepare_dataset
from sweep.lineage.run import LineageRun
from sweep.planning.lineages import plan_sweep
from sweep.store.store import open_store
import torch

torch.set_num_threads(1)
store = open_store(Path(sys.argv[2]))
lineages = plan_sweep(load_sweep_file(Path(sys.argv[1])), lambda data: prepare_dataset(data, store))
config, card = lineages[-1].config, lineages[-1].card
run = LineageRun(config=config, card=card, data=load_prepared(card, store), store=store)
print([generation.node.status for generation in run.generations()])
"""
"""Computes the last lineage of a file without Ray."""


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three lineages on one CPU."""
    folder = tmp_path_factory.mktemp("sharing")
    write_sweep(folder, (0.5, 1.0, 1.5), base__train__steps=30, resources__num_cpus=1)
    run = run_sweep("run", "tiny.toml", "--out", "out", cwd=folder)
    assert run.returncode == 0, run.stderr
    return folder


def test_trials_of_a_cpu_share_a_process(sharing):
    """Three trials, one process that imports torch."""
    trials = tune_results(sharing / "out")

    assert len(trials) == 3
    assert len({trial["pid"] for trial in trials}) == 1


def test_a_lineage_is_that_of_a_process_of_its_own(sharing):
    """Weights, averages, pools, streams, curves and numbers are the same, bit for bit."""
    words = [sys.executable, "-c", IN_ITS_OWN_PROCESS, "tiny.toml", "own"]
    done = subprocess.run(words, cwd=sharing, capture_output=True, text=True, check=True)
    expected, found = results(sharing / "own"), results(sharing / "out")

    assert done.stdout == "['done', 'done']\n"
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("max_failures", [0, 2])
def test_a_process_that_dies_between_two_trials_costs_no_lineage(tmp_path, max_failures):
    """Ray gives the next trial to a dead process, and does not retry that trial."""
    path = write_sweep(
        tmp_path,
        base__train__steps=3000,
        resources__num_cpus=2,
        resources__max_failures=max_failures,
    )
    with path.open("a") as file:
        file.write('[[grids]]\n"seed" = [1]\n"pool.alpha" = [0.5]\n"train.steps" = [200]\n')
    with Running(out=tmp_path / "out", words=(str(path),)) as run:
        # The short lineage runs beside the first model of the others, which one of them waits for.
        idle = wait_for(lambda: short_trial(run), "the trial of the short lineage")
        wait_for(lambda: re.search(r"steps200-.*  V_2 done", run.output()), "its last model")
        last = time.time()
        wait_for(lambda: len(trials(run, since=last)) == 1, "the end of its trial")
        os.kill(idle, signal.SIGKILL)
        code = run.wait()
        said = run.output()

    assert code == 0, said
    assert "failed" not in said
    assert [lineage.status for lineage in load_lineages(run.out)] == ["done"] * 3


def short_trial(run: Running) -> int | None:
    """The process that works on a model of the lineage of 200 steps."""
    short = [each for each in load_lineages(run.out) if "steps200-" in each.id]
    keys = {key for lineage in short for members in lineage.nodes for key in members}
    return next((claim["pid"] for key, claim in run.claims().items() if key in keys), None)


def trials(run: Running, *, since: float) -> list[str]:
    """The lineages that have a trial, if the driver has said so since a moment."""
    for path in find(run.out, "claims/run-*/*.json"):
        with suppress(OSError, ValueError):  # being written
            if path.stat().st_mtime > since:
                return json.loads(path.read_text())["progress"]["lineages"]
    return []
