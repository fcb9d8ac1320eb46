"""The Containerfile without a container: it installs with only the files that it copies."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Containerfile").read_text()


def instructions(name: str) -> list[str]:
    """The arguments of each instruction of a kind."""
    return re.findall(rf"^{name} (.*)$", TEXT, re.MULTILINE)


def copied() -> list[str]:
    """The names of what is copied."""
    return [name for words in instructions("COPY") for name in shlex.split(words)[:-1]]


def test_the_builder_is_sent_what_is_copied():
    """.dockerignore leaves out everything else, and nothing of it."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert sent == set(copied())


def test_the_image_has_the_python_of_the_environment():
    """It may not download another."""
    version = (ROOT / ".python-version").read_text().strip()
    (image,) = instructions("FROM")
    assert fnmatch(image, f"python:{version}-*")
    assert "/" not in image


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="no uv to make an environment")
def test_the_installation_runs_with_the_copied_files(tmp_path):
    """The sweep command works, and tools for development are left out."""
    system, project = tmp_path / "system", tmp_path / "project"
    subprocess.run([sys.executable, "-m", "venv", system], check=True)
    project.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, project / name)
        else:
            shutil.copy(ROOT / name, project)
    settings = dict(word.split("=", 1) for words in instructions("ENV") for word in words.split())
    del settings["UV_NO_CACHE"]  # gigabytes would be downloaded again
    settings["PATH"] = f"{system}/bin:{os.environ['PATH']}"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "VIRTUAL_ENV"))}
    (install,) = instructions("RUN")
    subprocess.run(["bash", "-c", install], cwd=project, env=inherited | settings, check=True)
    programs = project / ".venv" / "bin"
    done = subprocess.run([programs / "sweep", "plan", "quickstart"], cwd=tmp_path, check=True)
    assert done.returncode == 0
    assert not (programs / "pytest").exists()
