"""Programs whose process, or whose program, is killed: real commands, killed in the middle."""

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running_sweep import Running, find, run_sweep, wait_for

from model.commands.checkpoint_file import read_checkpoint
from model.programs.process import marked

pytestmark = pytest.mark.slow

MODEL = Path(sys.executable).with_name("model")
PROGRAM = '''
"""Counts to 40 in a file; goes on from what it finds there, and notes who else is at work."""
import os, signal, sys, time
from pathlib import Path

out, stubborn = Path(sys.argv[2]), sys.argv[3] == "stubborn"
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
starts = out / "starts"
earlier = starts.read_text().split() if starts.exists() else []

def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

(out / "beside").write_text(str(sum(map(is_alive, earlier))))
with starts.open("a") as file:
    file.write(f"{os.getpid()} ")
steps = out / "steps"
done = len(steps.read_text()) if steps.exists() else 0
(out / "resumed").write_text(str(done))
for step in range(done, 40):
    with steps.open("a") as file:
        file.write(".")
    time.sleep(0.1)
'''


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "count.py").write_text(PROGRAM)


def run_folders(tmp_path: Path) -> list[Path]:
    return [p for p in (tmp_path / "cache/collapse-sweep/programs").glob("*") if p.is_dir()]


def steps(tmp_path: Path) -> int:
    """How far the program is."""
    return max(
        (p.stat().st_size for p in find(tmp_path, "cache/*/programs/*/out/steps")), default=0
    )


@contextmanager
def training(tmp_path: Path, how: str) -> Generator[subprocess.Popen[bytes]]:
    """`model train` with the program."""
    words = [
        *(MODEL, "train", "--out", "it.safetensors", "--model.family", "command"),
        *("--model.program", "count.py", "--train.command-resumes", "--allow-command"),
        *("--data.train-limit", "20"),
        *("--train.command", f"{sys.executable} count.py {{images}} {{out}} {how}"),
    ]
    with subprocess.Popen(words, cwd=tmp_path) as process:
        try:
            yield process
        finally:
            process.kill()


def note(tmp_path: Path, name: str) -> str:
    """A file that the program has written into its model."""
    checkpoint = read_checkpoint(tmp_path / "it.safetensors")
    return bytes(checkpoint.tensors[f"ema.file/{name}"].numpy()).decode()


def finish(tmp_path: Path, how: str) -> None:
    with training(tmp_path, how) as process:
        assert process.wait(timeout=120) == 0
    assert note(tmp_path, "steps") == 40 * "."
    assert len(note(tmp_path, "starts").split()) == 2
    assert int(note(tmp_path, "resumed")) >= 3
    assert note(tmp_path, "beside") == "0"
    assert run_folders(tmp_path) == []


def killed_in_training(tmp_path: Path, how: str) -> Path:
    """The folder of a program whose `model train` is killed after three of its steps."""
    with training(tmp_path, how) as process:
        wait_for(lambda: steps(tmp_path) >= 3, "three steps")
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder,) = run_folders(tmp_path)
    return folder


def test_a_program_that_outlives_our_process_is_ended_before_the_next_run(tmp_path) -> None:
    """It ignores SIGTERM, so it goes on when our process is killed."""
    folder = killed_in_training(tmp_path, "stubborn")
    assert len(marked(folder)) == 1
    finish(tmp_path, "stubborn")


def test_a_program_ends_when_our_process_is_killed(tmp_path) -> None:
    folder = killed_in_training(tmp_path, "obedient")
    wait_for(lambda: not marked(folder), "the end of the program", seconds=10)
    finish(tmp_path, "obedient")


def test_ctrl_c_ends_the_program_and_the_same_command_goes_on(tmp_path) -> None:
    with training(tmp_path, "obedient") as process:
        wait_for(lambda: steps(tmp_path) >= 3, "three steps")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 128 + signal.SIGINT
    (folder,) = run_folders(tmp_path)
    assert marked(folder) == []
    finish(tmp_path, "obedient")


SWEEP = """
name = "count"
[base]
generations = 2
[base.data]
train_limit = 40
[base.model]
family = "command"
program = ["count.py", "draw.py"]
[base.train]
command = "{python} count.py {{images}} {{out}} obedient"
command_resumes = true
[base.sample]
command = "{python} draw.py {{model}} {{out}} {{num_images}} {{seed}}"
[base.metrics]
names = ["kid"]
extractor = "pixels"
[[grids]]
"pool.alpha" = [0.5]
"""
DRAW = """
import sys
import numpy as np
_, out, number, seed = sys.argv[1:]
rng = np.random.default_rng(int(seed))
np.save(f"{out}/images.npy", rng.integers(0, 256, (int(number), 8, 8), np.uint8))
"""


@pytest.mark.ray
def test_a_sweep_that_is_killed_in_the_middle_of_a_program_resumes(tmp_path) -> None:
    """Kill -9 of the driver, Ray, the worker and the program, while V_2 trains."""
    (tmp_path / "draw.py").write_text(DRAW)
    (tmp_path / "count.toml").write_text(SWEEP.format(python=sys.executable))
    out = tmp_path / "out"
    with Running(out=out, words=("count.toml", "--allow-command")) as run:
        wait_for(
            lambda: len(find(out, "generations/*/record.json")) == 1 and steps(tmp_path) >= 3,
            "V_2's training",
            seconds=270,
        )
        run.kill_all()
    refused = run_sweep("run", "count.toml", "--out", "out", cwd=tmp_path)
    assert refused.returncode == 2
    assert "error: --allow-command must be given to run the program of train.command" in (
        refused.stderr
    )
    done = run_sweep("run", "count.toml", "--out", "out", "--allow-command", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    resumed = [
        int(bytes(read_checkpoint(path).tensors["ema.file/resumed"].numpy()))
        for path in find(out, "generations/*/model.safetensors")
    ]
    assert min(resumed) == 0
    assert max(resumed) >= 3
    assert "--allow-command" not in (out / "sweep.json").read_text()
    assert run_folders(tmp_path) == []
    assert list((tmp_path / "cache/collapse-sweep/programs").iterdir()) == []
