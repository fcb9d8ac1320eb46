"""Sweeps as a user runs them: the command in a process of its own, on digits and a tiny network."""

import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, chdir, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from model.commands.output import pasteable

T = TypeVar("T")

SWEEP = Path(sys.executable).with_name("sweep")
"""The console command."""

MARK = "SWEEP_TEST_MARK"
"""Environment variable by which a command's processes, Ray's among them, are found in /proc."""

WITH_SIGHUP = ("env", "--default-signal=HUP")
"""Under nohup, the tests ignore SIGHUP, and so would a sweep that they start."""

SETTINGS: dict[str, Any] = {
    "base.generations": 2,
    "base.train.steps": 400,
    "base.train.batch_size": 16,
    "base.model.widths": [4, 8],
    "base.model.block_depth": 1,
    "base.model.stem_width": 4,
    "base.model.embedding_dim": 4,
    "base.sample.steps": 3,
    "base.metrics.names": ["kid"],
    "base.metrics.extractor": "pixels",
    "resources.checkpoint_seconds": 0.1,
}
"""Two lineages V_1, V_2 that share V_1: three models of two seconds each, saved often."""

STRAY = ("model.py", "sweep.py", "analysis/__init__.py")
"""Files that a user may have lying about, by the names of our packages."""


def use_token() -> None:
    """Have Ray ask for one token in all that this process starts; before Ray is imported."""
    os.environ["RAY_AUTH_MODE"] = "token"  # without a token of ours Ray would write one to ~/.ray
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def write_sweep(folder: Path, alphas: tuple[float, ...] = (0.5, 1.0), **settings: Any) -> Path:
    """tiny.toml: SETTINGS, some of them replaced (base__train__steps=30), and a grid of alphas."""
    changed = {name.replace("__", "."): value for name, value in settings.items()}
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**SETTINGS, **changed}.items()]
    path = folder / "tiny.toml"
    path.write_text("\n".join([*lines, "[[grids]]", f'"pool.alpha" = {list(alphas)}', ""]))
    return path


def pasted(command: str, cwd: Path) -> str:
    """A command as a process that runs in a folder prints it."""
    with chdir(cwd):
        return pasteable(command)


def run_sweep(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`sweep WORDS` in a folder, to its end; without what Ray sets in a process that imports it."""
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_CLIENT_MODE"}
    return subprocess.run(
        [SWEEP, *map(str, words)],
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = 120) -> T:
    """What `condition` returns once that is true; fails after a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen in {seconds:g} s")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A plan, and the run that followed it."""

    out: Path
    plan: subprocess.CompletedProcess[str]
    run: subprocess.CompletedProcess[str]


IN_TERMINAL = """
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""
"""Runs a command in a terminal of its own, whose keyboard is the standard input."""


@dataclass(kw_only=True)
class Running:
    """`sweep run` under way, as leader of its own session, like a shell's job."""

    out: Path
    words: tuple[str, ...]
    store: Path | None = None
    """The folder of its models if that is not `out`."""
    in_terminal: bool = False
    piped: bool = False
    """Whether a reader of its output stands between it and its log."""
    environment: Mapping[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __enter__(self) -> "Running":
        """Start it."""
        self.log = self.out.with_name(f"{self.out.name}.{self.mark[:8]}.log")
        terminal = (sys.executable, "-c", IN_TERMINAL) if self.in_terminal else ()
        with ExitStack() as files:
            output: IO[bytes] = files.enter_context(self.log.open("wb"))
            self.reader = None
            if self.piped:
                self.reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=output)
                assert self.reader.stdin is not None
                output = files.enter_context(self.reader.stdin)
            self.process = subprocess.Popen(
                [*terminal, *WITH_SIGHUP, SWEEP, "run", *self.words, "--out", self.out],
                cwd=self.out.parent,
                env={**os.environ, **self.environment, MARK: self.mark},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Kill whatever is left of it."""
        self.kill_all()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.stop_reading()

    @property
    def files(self) -> Path:
        """The folder that holds its models."""
        return self.store or self.out

    def stop_reading(self) -> None:
        """Kill the reader of its output, if there is one."""
        if self.reader is not None:
            self.reader.kill()
            self.reader.wait()

    def press(self, keys: bytes) -> None:
        """Press keys in its terminal."""
        assert self.process.stdin is not None
        self.process.stdin.write(keys)
        self.process.stdin.flush()

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to its process group."""
        os.killpg(self.process.pid, number)

    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def processes(self) -> dict[int, str]:
        """Command lines of every process of this run that is alive, by process id."""
        return marked_processes(self.mark)

    def ray_folder(self) -> Path | None:
        """The folder of Ray's own files, where it has been started here."""
        found = re.search(r"--log_dir=(\S+)/session_", " ".join(self.processes().values()))
        return Path(found[1]) if found else None

    def kill_all(self) -> None:
        """SIGKILL to each of this run's processes, until none is left."""
        wait_for(lambda: not kill(self.processes()), "the end of all processes")
        self.process.wait()

    def wait(self, seconds: float = 240) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(timeout=seconds)

    def claims(self) -> dict[str, dict[str, Any]]:
        """Keys that a process works on: its pid, and its progress as far as it has said."""
        found = {}
        for path in find(self.files, "claims/*/*.json"):
            try:
                claim = json.loads(path.read_text())
            except (OSError, ValueError):
                continue  # free, or released meanwhile
            if not path.parent.name.startswith("run-"):  # those are drivers'
                found[path.parent.name] = {"pid": claim["pid"], **claim["progress"]}
        return found

    def training(self, generation: int, *, saved_step: int) -> str | None:
        """Key of a model of a generation that trains and has saved its state at a step or later."""
        for key, claim in self.claims().items():
            steps = saved_steps(self.files, key).values()
            if claim.get("generation") == generation and max(steps, default=0) >= saved_step:
                return key
        return None


def find(out: Path, pattern: str) -> list[Path]:
    """Files that match, also while others come and go."""
    # Path.glob raises where a folder vanishes (until Python 3.13).
    return [out / name for name in glob.iglob(pattern, root_dir=out)]  # noqa: PTH207


def find_text(text: str, folder: Path) -> tuple[int, list[Path]]:
    """Number of files in a folder that others may be writing to, and those that hold a text."""
    num_files, holding = 0, []
    for parent_folder, _, names in os.walk(folder):
        for path in (Path(parent_folder, name) for name in names):
            with suppress(OSError):  # deleted meanwhile, or a socket
                num_files += 1
                if text.encode() in path.read_bytes():
                    holding.append(path)
    return num_files, holding


def kill(pids: dict[int, str]) -> dict[int, str]:
    """SIGKILL to the processes; returns them."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return pids


def marked_processes(mark: str) -> dict[int, str]:
    """Command lines, by process id, of the processes that inherited the mark."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(path.name)] = command.decode(errors="replace")
        except OSError:
            continue  # gone meanwhile, or another user's
    return found


def parent(pid: int) -> int:
    """Parent of a process: field 4 of /proc/<pid>/stat, proc(5)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def saved_steps(out: Path, key: str) -> dict[str, int]:
    """File and step of every state that the training of a node keeps in scratch."""
    found = {}
    for path in find(out, f"work/{key}/*/training.safetensors.*"):
        try:
            data = path.read_bytes()
        except OSError:
            continue  # the next one took its place
        # 8 + 32 bytes of sweep.store.store.seal, a line of JSON about the environment, then
        # safetensors: its header's length, its header.
        _, _, state = data[40:].partition(b"\n")
        length = int.from_bytes(state[:8], "little")
        settings = json.loads(state[8 : 8 + length])["__metadata__"]["settings"]
        found[f"{path.parent.name}/{path.name}"] = json.loads(settings)["step"]
    return found


def results(out: Path) -> dict[str, Any]:
    """All that must repeat bit for bit: weights, averages, pools, streams, curves and numbers."""
    found: dict[str, Any] = {}
    for pattern in ("generations/*/*.safetensors", "generations/*/*.npz", "generations/*/*.png"):
        found |= {str(p.relative_to(out)): digest(p) for p in find(out, pattern)}
    for pattern in ("generations/*/pool.json", "generations/*/config.json", "streams/*/*"):
        found |= {str(p.relative_to(out)): digest(p) for p in find(out, pattern)}
    for path in find(out, "generations/*/record.json"):
        record = json.loads(path.read_text())
        names = ("weights_sha256", "final_loss", "origins", "num_steps", "images_seen", "status")
        found[str(path.relative_to(out))] = {name: record[name] for name in names}
    for path in find(out, "generations/*/metrics/*.json"):
        record = json.loads(path.read_text())
        found[str(path.relative_to(out))] = (record["values"], record["images_sha256"])
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def finished_nodes(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every record.json, by the node's key: another where it was done again."""
    found = {}
    for path in find(out, "generations/*/record.json"):
        status = path.stat()
        found[path.parent.name] = (status.st_ino, status.st_mtime_ns)
    return found


def copy_results(source: Path, target: Path) -> Path:
    """A copy of a results folder with its times."""
    return Path(shutil.copytree(source, target, symlinks=True))


def tune_results(out: Path) -> list[dict[str, Any]]:
    """The last result that each trial of each run reported, as Tune keeps it."""
    found = []
    for path in find(out, "tune/*/experiment_state-*.json"):
        for _, state in json.loads(path.read_text())["trial_data"]:
            found.append(json.loads(state)["last_result"])
    return found
