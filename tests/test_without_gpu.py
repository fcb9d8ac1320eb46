"""The installation without a GPU, as docs/guide.md gives it: a sweep runs."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from running_sweep import write_sweep

ROOT = Path(__file__).parents[1]
UV = shutil.which("uv")
PAGE = (ROOT / "docs" / "guide.md").read_text()

pytestmark = [
    pytest.mark.network,  # three minutes of installation
    pytest.mark.ray,
    pytest.mark.skipif(UV is None, reason="no uv to make an environment"),
]


def test_a_sweep_runs_without_the_packages_that_are_left_out(tmp_path):
    """On a CPU, whatever the machine has."""
    command = re.search(r"<!-- without-gpu -->\n```sh\n((?:.*\n)*?)```", PAGE)
    assert command is not None
    environment = {
        **{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
        "UV_PROJECT_ENVIRONMENT": str(tmp_path / "venv"),
        "UV_COMPILE_BYTECODE": "0",
        "CUDA_VISIBLE_DEVICES": "",
    }
    words = [word for word in shlex.split(command[1]) if word.strip()]
    subprocess.run(words, cwd=ROOT, env=environment, check=True)
    packages = tmp_path / "venv" / "lib"
    assert list(packages.glob("python*/site-packages/torch"))
    assert not list(packages.glob("python*/site-packages/triton"))
    file = write_sweep(tmp_path, base__train__steps=20)
    sweep = [tmp_path / "venv" / "bin" / "sweep", "run", file, "--out", tmp_path / "out"]
    subprocess.run(sweep, cwd=tmp_path, env=environment, check=True)
