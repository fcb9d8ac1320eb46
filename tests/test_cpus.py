"""How many CPUs a sweep uses by itself: those that its process was granted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from running_sweep import SWEEP, write_sweep

from sweep.tune.cpus import quotas, usable_cpus

ONE_CPU = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))))
"""Runs a command with an affinity mask of one CPU, as a batch system does."""
STARTED = """
import sys
from pathlib import Path
from sweep.config import ResourcesConfig
from sweep.tune.runner import started_ray
with started_ray(ResourcesConfig(), None, Path(sys.argv[1])) as total:
    print(total["CPU"])
"""

several = pytest.mark.skipif(usable_cpus() < 2, reason="a mask of one CPU leaves nothing out")


def group(folder: Path, **files: str) -> None:
    """Write the files of a control group; _ in a name stands for its dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("cpu_", "cpu.", 1)).write_text(content)


def test_a_mask_of_one_cpu_is_one_cpu():
    python = [*ONE_CPU, sys.executable, "-c", "import sweep.tune.cpus as c; print(c.usable_cpus())"]
    assert subprocess.run(python, capture_output=True, text=True, check=True).stdout == "1\n"


@several
def test_a_trial_that_needs_more_than_the_mask_is_refused(tmp_path):
    """Before Ray starts, with the number of CPUs that the mask leaves."""
    file = write_sweep(tmp_path)
    words = [SWEEP, "run", file, "--out", tmp_path / "out", "--resources.cpus-per-trial", "2"]
    run = subprocess.run([*ONE_CPU, *words], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "resources.cpus_per_trial must be at most the 1 available, got 2" in run.stderr


@several
@pytest.mark.ray
def test_ray_starts_with_the_cpus_of_the_mask(tmp_path):
    """Ray's own count is that of the machine."""
    python = [*ONE_CPU, sys.executable, "-c", STARTED, tmp_path]
    assert subprocess.run(python, capture_output=True, text=True, check=True).stdout == "1.0\n"


def test_a_quota_of_a_parent_group_counts(tmp_path):
    """Version 2: 150,000 of 100,000 microseconds are one and a half CPUs; max is no quota."""
    group(tmp_path / "job", cpu_max="150000 100000\n")
    group(tmp_path / "job" / "step", cpu_max="max 100000\n")
    assert list(quotas("0::/job/step\n", tmp_path)) == [1.5]


def test_a_quota_of_the_first_version_counts(tmp_path):
    """A quota of -1 is none; groups without the cpu controller are left out."""
    group(tmp_path / "cpu,cpuacct", cpu_cfs_quota_us="-1\n", cpu_cfs_period_us="100000\n")
    step = tmp_path / "cpu,cpuacct" / "job"
    group(step, cpu_cfs_quota_us="200000\n", cpu_cfs_period_us="100000\n")
    group(tmp_path / "cpuset" / "job", cpu_cfs_quota_us="1\n", cpu_cfs_period_us="1\n")
    assert list(quotas("2:cpu,cpuacct:/job\n1:cpuset:/job\n", tmp_path)) == [2.0]


def test_a_group_that_is_not_mounted_grants_what_its_parents_do(tmp_path):
    """A container may name the host's path, and show only its own group, as the root."""
    group(tmp_path, cpu_max="100000 100000\n")
    assert list(quotas("0::/docker/4f1a\n", tmp_path)) == [1.0]
