"""Facts of an attack by another user of the machine on a running sweep: nothing gets in or out.

The attacker knows all that a list of processes and sockets tells, and has Ray's own methods.
"""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attack
import pytest
from attack import NOBODY, READING, listening_ports, refused
from running_sweep import (
    MARK,
    SWEEP,
    Running,
    kill,
    marked_processes,
    results,
    run_sweep,
    wait_for,
    write_sweep,
)
from test_security import listening


@dataclass
class Attacker:
    """A process that waits to be told what to attack, and as which user."""

    process: subprocess.Popen[str]

    def attack(self, uid: int, processes: Iterable[int], **known: Any) -> dict[str, Any]:
        """What was answered to each call, and what could be read and written."""
        told = {"uid": uid, "ports": listening_ports(set(processes)), **known}
        done, _ = self.process.communicate(json.dumps(told) + "\n", timeout=120)
        return json.loads(done.splitlines()[-1])


@pytest.fixture
def attacker() -> Generator[Attacker]:
    process = subprocess.Popen(
        [sys.executable, attack.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield Attacker(process)
    process.kill()
    process.wait()


def token_of(processes: Mapping[int, str]) -> str:
    """The token of a sweep, as its own user can read it in what Ray starts."""
    pid = next(pid for pid, command in processes.items() if "/raylet " in command)
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next(v.partition("=")[2] for v in variables if v.startswith("RAY_AUTH_TOKEN="))


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory) -> Path:
    """Results of the sweep without an attack."""
    folder = tmp_path_factory.mktemp("unharmed")
    write_sweep(folder, (0.5,), base__train__steps=1500)
    done = run_sweep("run", "tiny.toml", "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def private_places(run: Running) -> tuple[list[str], list[str]]:
    """What only its user may read, and the folders into which only its user may write."""
    ray = run.ray_folder()
    assert ray is not None
    files = [f"/proc/{pid}/{name}" for pid in run.processes() for name in ("environ", "mem")]
    folders = [ray, ray.parent, *(path.parent for path in ray.rglob("sockets/*"))]
    results_folders = [run.out, run.out / "tune", run.out / "generations", run.out / "work"]
    shared = [f"/dev/shm/{name}" for name in os.listdir("/dev/shm")]  # noqa: S108, PTH208 - looked into
    return [*files, *map(str, folders), *shared], [*map(str, folders), *map(str, results_folders)]


@pytest.mark.slow
def test_tensorboard_listens_on_this_machine_only(tmp_path) -> None:
    """By the command that a run prints, which names no host."""
    command = [SWEEP.with_name("tensorboard"), "--logdir", tmp_path, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listening_ports({process.pid}), "TensorBoard")
        assert listening({process.pid}) == set()
    finally:
        process.kill()
        process.wait()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
class TestOfAnotherUser:
    """Facts that need a sweep that runs, and another user."""

    def test_a_run_refuses_everything_and_its_results_are_what_they_would_be(
        self, attacker, unharmed, tmp_path
    ) -> None:
        """At each port of each of its processes, by each method, without and with a wrong token."""
        write_sweep(tmp_path, (0.5,), base__train__steps=1500)
        with Running(out=tmp_path / "out", words=("tiny.toml",)) as run:
            wait_for(lambda: run.training(1, saved_step=1), "a training")
            private, folders = private_places(run)
            seen = attacker.attack(NOBODY, run.processes(), private=private, folders=folders)
            assert run.process.poll() is None
            assert run.wait() == 0, run.output()
        answers = seen["answers"]
        assert refused(answers, "no token", "wrong", "http")
        assert len({call.split()[0] for call in answers["wrong"]}) >= 5  # ports
        assert (seen["readable"], seen["writable"]) == ([], [])
        assert results(run.out) == results(unharmed)

    def test_who_has_the_token_is_let_in(self, attacker, tmp_path) -> None:
        """Else the refusals above would prove nothing: each of Ray's processes answers."""
        write_sweep(tmp_path, (0.5,), base__train__steps=100_000)
        with Running(out=tmp_path / "out", words=("tiny.toml",)) as run:
            wait_for(lambda: run.training(1, saved_step=1), "a training")
            processes = run.processes()
            tokens = {"right": token_of(processes)}
            seen = attacker.attack(NOBODY, processes, methods=READING, tokens=tokens, pages=())
            run.signal_group(signal.SIGTERM)
            run.wait()
        let_in = {call for call, code in seen["answers"]["right"].items() if code == "OK"}
        assert {call.split()[1] for call in let_in} == set(READING)
        assert refused(seen["answers"], "no token", "wrong")

    def test_an_evaluation_refuses_everything_too(self, attacker, unharmed, tmp_path) -> None:
        """It starts Ray in the same way."""
        mark = uuid.uuid4().hex
        words = [SWEEP, "evaluate", unharmed, "--metrics.names", "fid", "kid"]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [*words, "--metrics.extractor", "efficientnet-lite0"],
                env={**os.environ, MARK: mark},
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(lambda: len(listening_ports(set(marked_processes(mark)))) >= 3, "Ray")
            seen = attacker.attack(NOBODY, marked_processes(mark))
            assert process.wait(timeout=240) == 0, (tmp_path / "log").read_text()
        finally:
            kill(marked_processes(mark))
            process.wait()
        assert refused(seen["answers"], "no token", "wrong", "http")
