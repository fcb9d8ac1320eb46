"""The scripts and the pages for clusters: what they say is what the commands do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SWEEP = Path(sys.executable).with_name("sweep")
SCRIPTS = ("array", "symmetric")


def directives(name: str) -> set[str]:
    """The #SBATCH options of a script."""
    text = (ROOT / "slurm" / f"{name}.sbatch").read_text()
    return set(re.findall(r"^#SBATCH (--[a-z-]+)", text, re.MULTILINE))


def script(name: str, folder: Path, *words: str, **environment: str) -> list[str]:
    """The words that a script passes to `sweep run`, with a `sweep` that prints its words."""
    sweep = folder / "sweep"
    sweep.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    sweep.chmod(0o700)
    done = subprocess.run(
        ["bash", ROOT / "slurm" / f"{name}.sbatch", *words],
        env={"PATH": f"{folder}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines() if done.returncode == 0 else [done.stderr]


def test_a_task_of_an_array_runs_its_part_of_the_sweep(tmp_path):
    """%t is the task's number; words with spaces stay one word."""
    granted = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_JOB_NAME": "mine", "SLURM_CPUS_PER_TASK": "4"}
    words = ["paper", "--axis", "seed=%t", "--note", "a b"]
    assert script("array", tmp_path, *words, SHARED="/shared", **granted) == [
        *("run", "paper", "--axis", "seed=7", "--note", "a b", "--store", "/shared/store"),
        *("--out", "/shared/runs/mine-7", "--resources.num-cpus", "4"),
    ]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_needs_a_shared_folder(name, tmp_path):
    (error,) = script(name, tmp_path, "paper", SLURM_JOB_ID="1", SLURM_CPUS_PER_TASK="1")
    assert "SHARED: must be a folder that all machines see" in error


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_asks_for_cpus_and_a_time(name):
    """Without --cpus-per-task, SLURM does not tell a task how many it has."""
    assert {"--cpus-per-task", "--time", "--job-name", "--output"} <= directives(name)


def test_only_one_ray_is_on_a_machine_of_symmetric_run():
    assert "--exclusive" in directives("symmetric")
    assert "--exclusive" not in directives("array")


def test_the_page_shows_what_a_plan_says_about_slots():
    """The table of docs/cluster.md is that of the command above it."""
    page = (ROOT / "docs" / "cluster.md").read_text()
    block = re.search(r"<!-- slots -->\n```\n\$ sweep (.*)\n((?:.*\n)*?)```", page)
    assert block is not None
    words = block[1].split()
    done = subprocess.run([SWEEP, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert block[2] in done.stdout
