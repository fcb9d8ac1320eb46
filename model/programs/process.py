"""Runs programs: only if the user allows it, with a log and a time limit, and leaves none behind.

A program and all that it starts inherit an environment variable, by which they are found in /proc
even if the process that started them was killed.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from model.data.reading import cache_dir
from model.errors import shown, writing
from model.programs.images import ProgramFailed
from model.programs.permission import check_allowed

MARK = "COLLAPSE_SWEEP_PROGRAM"
"""Environment variable of a program: the folder of its run."""
LOG = "log.txt"
GRACE_SECONDS = 5.0
"""Time from SIGTERM to SIGKILL."""
POLL_SECONDS = 0.05
LAST_CHARACTERS = 300
"""How much of a log's last line an error repeats."""

START = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(143)
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Becomes the program, which gets SIGTERM when the process that started it dies (prctl(2))."""


@contextmanager
def run_folder(name: str) -> Generator[Path]:
    """A folder for the runs of one program on one input, which no other process uses meanwhile.

    It is the same after a crash, and deleted if the block succeeds. Programs that a killed process
    has left there are ended first.
    """
    root = cache_dir() / "programs"
    with writing(root):
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = root / name
    with _lock(root / f"{name}.lock"):
        end_programs(folder)
        folder.mkdir(exist_ok=True, mode=0o700)
        yield folder
        shutil.rmtree(folder)


@contextmanager
def _lock(path: Path) -> Generator[None]:
    """Hold a file's lock, which the system releases if this process dies; deletes the file."""
    while True:
        with path.open("wb") as file:
            if _is_locked(file, path):
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
        time.sleep(POLL_SECONDS)


def _is_locked(file: IO[bytes], path: Path) -> bool:
    """Lock a file; False if another process holds it, or has deleted it meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def run_program(
    setting: str, words: Sequence[str], *, folder: Path, inside: Path, seconds: float | None
) -> None:
    """Run a program to its end.

    Args:
        setting: Name of its setting, for errors.
        words: The program and its arguments.
        folder: Folder of its run, to whose log its output is added.
        inside: Its working directory.
        seconds: Time limit, or None.

    Raises:
        UsageError: The user has not allowed programs.
        ProgramFailed: It cannot be started, takes too long, or ends with an exit code other than 0.
    """
    check_allowed(setting, words[0])
    found = shutil.which(inside / words[0] if os.sep in words[0] else words[0])
    if found is None:
        raise ProgramFailed(
            f"{setting} must begin with a program that can be run, got {shown(words[0])}"
        )
    command = list(words)
    if sys.platform == "linux":
        command = [sys.executable, "-ISc", START, str(os.getpid()), *words]
    # Ray's variables would let a program join the sweep's own Ray.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    log = folder / LOG
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=inside,
            env={**kept, MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(
                f"{setting} must end within {setting}_seconds={seconds:g}, got no end{said(log)}"
            ) from None
        finally:
            end_programs(folder)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code:
        raise ProgramFailed(f"{setting} must end with exit code 0, got {code}{said(log)}")


def said(log: Path) -> str:
    """Where a program's output is, and its last line; or that it has printed nothing."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 10 * LAST_CHARACTERS))
        lines = file.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if not last:
        return "; it printed nothing"
    return f"; its output is in {log}: {last[-LAST_CHARACTERS:]}"


def end_programs(folder: Path) -> None:
    """End every process of a run: by SIGTERM, and by SIGKILL if it does not end soon."""
    number, until = signal.SIGTERM, time.monotonic()
    while left := marked(folder):
        if time.monotonic() >= until:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            number, until = signal.SIGKILL, time.monotonic() + GRACE_SECONDS
        time.sleep(POLL_SECONDS)


def marked(folder: Path) -> list[int]:
    """Ids of the processes that run in a folder; none on a system without /proc."""
    word, found = f"{MARK}={folder}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # gone meanwhile, or another user's
            if word in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
