"""Facts of the lines that commands print to be pasted, and of what they say with -q and -v."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_sweep import SWEEP, run_sweep, wait_for, write_sweep
from tiny_sweep import finish, make_lineage, make_sweep

from model.commands.output import pasteable, set_verbosity
from sweep.status import stages
from sweep.status.stages import Stage

BIN = SWEEP.parent


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A shell in a folder of its own that finds no program of ours, and not under uv."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    return monkeypatch


def paste(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell that finds no program of ours."""
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        ["sh", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_a_program_that_the_shell_finds_keeps_its_name(shell) -> None:
    shell.setenv("PATH", f"/usr/bin:{BIN}")
    assert pasteable("sweep run a --out 'b c'") == "sweep run a --out 'b c'"


def test_another_program_of_this_name_is_not_meant(shell, tmp_path: Path) -> None:
    (other := tmp_path / "sweep").write_text("#!/bin/sh\n")
    other.chmod(0o755)
    shell.setenv("PATH", str(tmp_path))
    assert pasteable("sweep run a") == f"{SWEEP} run a"


def test_what_uv_has_put_on_the_path_is_not_on_that_of_the_shell(shell) -> None:
    shell.setenv("PATH", f"{BIN}:/usr/bin")
    shell.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert pasteable("sweep run a") == f"{SWEEP} run a"
    shell.setenv("PATH", f"{BIN}:/usr/bin:{BIN}")  # the environment is activated too
    assert pasteable("sweep run a") == "sweep run a"


def test_a_program_below_the_working_directory_has_a_short_path(shell) -> None:
    shell.chdir(BIN.parents[1])
    assert pasteable("sweep run a") == f"{SWEEP.relative_to(BIN.parents[1])} run a"
    assert paste(pasteable("sweep --version"), BIN.parents[1]).stdout.startswith("sweep (")
    shell.chdir(BIN)
    assert pasteable("sweep run a") == f"{SWEEP} run a"


@pytest.mark.slow
def test_the_line_of_a_board_can_be_pasted(tmp_path: Path) -> None:
    finish(tmp_path / "out", make_sweep())
    done = subprocess.run(
        [SWEEP.with_name("analysis"), "board", "out", "--out", "my board"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    line = done.stdout.splitlines()[-1]
    assert "--logdir 'my board'" in line
    shown = paste(f"{line} --version_tb", tmp_path)
    assert shown.returncode == 0, shown.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_the_line_that_resumes_can_be_pasted(tmp_path: Path) -> None:
    """After Ctrl-C; both the line of the run and that of `sweep status`, and the end of the run."""
    write_sweep(tmp_path, (0.5,), base__train__steps=600)
    words = [SWEEP, "run", "tiny.toml", "--out", "my run"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(tmp_path.glob("my run/generations/*/record.json")), "V_1")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    line = said.splitlines()[-1].strip()
    status = run_sweep("status", "my run", cwd=tmp_path)
    assert status.returncode == 0, status.stderr + said
    assert status.stdout.splitlines()[-1] == f"not running; resume with: {line}"
    resumed = paste(line, tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    board = next(x for x in resumed.stdout.splitlines() if x.startswith("TensorBoard:"))
    shown = paste(f"{board.partition(':')[2].strip()} --version_tb", tmp_path)
    assert shown.returncode == 0, shown.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished sweep of V_1 and V_2 in `out`."""
    folder = tmp_path_factory.mktemp("finished")
    finish(folder / "out", make_sweep(base=make_lineage({"metrics.extractor": "pixels"})))
    return folder


def test_quiet_prints_the_table_alone(finished: Path) -> None:
    usual = run_sweep("run", "out/sweep.json", "--out", "out", cwd=finished)
    quiet = run_sweep("run", "out/sweep.json", "--out", "out", "-q", cwd=finished)
    assert (usual.returncode, quiet.returncode) == (0, 0)
    assert quiet.stdout == usual.stdout[: usual.stdout.index("figures:")]
    assert "nothing to compute" in usual.stderr
    assert "nothing to compute" not in quiet.stderr


@pytest.mark.slow
def test_verbose_names_the_store_and_each_model_that_is_reused(finished: Path) -> None:
    done = run_sweep("run", "out/sweep.json", "--out", "out", "--verbose", cwd=finished)
    lines = done.stderr.splitlines()
    assert f"store: {finished / 'out'}" in lines
    assert "extractor: pixels, weights: published or built in" in lines
    keys = {path.name for path in finished.glob("out/generations/*")}
    assert {x.split()[-1] for x in lines if x.startswith("reused: V_")} == keys


def test_quiet_and_verbose_exclude_each_other(finished: Path) -> None:
    done = run_sweep("evaluate", "out", "-q", "-v", cwd=finished)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "error: --quiet must not be used with --verbose, got both; use one of them\n"
    )


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stage is named after a twentieth of a second."""
    monkeypatch.setattr(stages, "STAGE_SECONDS", 0.05)
    yield
    set_verbosity(quiet=False, verbose=False)


def test_a_long_stage_is_named_once_and_a_short_one_not(soon, capsys) -> None:
    with Stage("waiting"):
        time.sleep(0.3)
    with Stage("hurrying"):
        pass
    time.sleep(0.1)
    assert capsys.readouterr().err == "waiting ...\n"


def test_no_stage_is_named_if_quiet(soon, capsys) -> None:
    set_verbosity(quiet=True, verbose=False)
    with Stage("waiting"):
        time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_the_line_of_a_stage_is_cleared() -> None:
    """Its text, a return to the start of the line, and the sequence that clears it."""
    code = (
        "import time; from sweep.status import stages; stages.STAGE_SECONDS = 0.05\n"
        "with stages.Stage('waiting'): time.sleep(0.3)"
    )
    script = shutil.which("script")
    assert script is not None
    command = f'{sys.executable} -c "{code}"'
    done = subprocess.run([script, "-qec", command, "/dev/null"], capture_output=True, check=True)
    assert done.stdout == b"waiting ...\r\r\x1b[K"
