"""Facts of a sweep in an environment that was made for something else: it runs, or says why not."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from running_sweep import SWEEP, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LONG = "/tmp/" + "x" * 100  # noqa: S108 - is not made
"""A folder whose path is too long for a socket."""
HOSTILE = {
    "RAY_ADDRESS": "127.0.0.1:1",
    "RAY_NAMESPACE": "another",
    "RAY_CLIENT_MODE": "1",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": "no JSON",
    "RAY_RUNTIME_ENV_HOOK": "no.such.module",
    "RAY_LOGGER_LEVEL": "no level",
    "RAY_memory_usage_threshold": "no number",
    "PYTHONWARNINGS": "error",
    "HOME": "/nonexistent/home",
    "TMPDIR": LONG,
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "LC_ALL": "C",
}
FILES = 256
"""Limit of open files."""


def run(folder: Path, out: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A sweep of closed-form models, under a low limit of open files."""
    write_sweep(folder, base__model__family="gaussian", base__train__steps=20)
    return subprocess.run(
        ["bash", "-c", f"ulimit -n {FILES}; exec {SWEEP} run tiny.toml --out {out}"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def test_a_sweep_runs_whatever_its_environment_is_for(tmp_path: Path) -> None:
    """A line names the variables that it ignores. The folder's name is not ASCII."""
    done = run(tmp_path, "bl\xe5klocka", **HOSTILE)
    assert done.returncode == 0, done.stderr
    ignored = [line for line in done.stderr.splitlines() if line.startswith("ignored: ")]
    assert ignored == [
        "ignored: RAY_ADDRESS, RAY_CLIENT_MODE, RAY_JOB_CONFIG_JSON_ENV_VAR, RAY_LOGGER_LEVEL, "
        "RAY_NAMESPACE, RAY_RUNTIME_ENV_HOOK, RAY_memory_usage_threshold, PYTHONWARNINGS; "
        "Ray on this machine is started for this run alone"
    ]
    assert "figures:      bl\xe5klocka/figures/" in done.stdout
    assert len(list(tmp_path.glob("bl\xe5klocka/generations/*/record.json"))) == 3


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"RAY_TMPDIR": LONG}, r"RAY_TMPDIR must be at most \d+ characters, got "),
        ({"TMPDIR": "/proc"}, r"RAY_TMPDIR, or else TMPDIR, must be a folder .* got '/proc'"),
    ],
)
def test_what_cannot_be_ignored_is_one_line(environment, told, tmp_path: Path) -> None:
    done = run(tmp_path, "out", **environment)
    assert done.returncode == 2, done.stderr
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
    assert re.search(told, line)
    assert "Traceback" not in done.stderr
