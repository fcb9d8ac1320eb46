"""Runs cases in forked children of one process that has imported the code under test.

    python tests/fuzz/forked_runs.py CODE CASES TEMPLATES WORK OUTCOMES

CODE is the folder with the packages model, sweep and analysis. A child has limits of memory, time,
open files and file size, its own working folder, and no Ray: it ends where Ray would be imported.
"""

import ctypes
import hashlib
import importlib
import importlib.abc
import io
import json
import os
import pickle
import pkgutil
import resource
import shutil
import signal
import stat
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fuzz_case import Case, build

WALL_SECONDS = 20.0
CPU_SECONDS = 40
"""Above the wall time, so that only a child with several threads meets this limit first."""
MEMORY = 4 * 2**30
"""Bytes that a child may use beyond what its parent has mapped."""
LARGEST_FILE = 512 * 2**20
OPEN_FILES = 256
SHOWN = 100_000
"""Characters of each stream that an outcome keeps."""
REACHED_RAY = 77
"""Exit code of a child that would have started Ray."""
NOT_ALLOWED = (1, 2, 3)
"""Capabilities with which root ignores permissions: DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one case ended."""

    code: int | None
    """Exit code; None if it was ended from outside."""
    signal: int | None
    seconds: float
    hung: bool
    stdout: str
    stderr: str
    changed: list[str]
    """Paths that differ from before, for a case that must change nothing."""


class NoRay(importlib.abc.MetaPathFinder):
    """Ends a child where Ray would be imported, and lets its parent pass over such modules."""

    def __init__(self) -> None:
        self.forked = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Find nothing; called before any other finder."""
        if name.split(".")[0] != "ray":
            return
        if not self.forked:
            raise ImportError(name)
        sys.stdout.flush()
        os._exit(REACHED_RAY)


def import_everything(code: str) -> None:
    """Import every module of the code under test, so that children start at once."""
    sys.path.insert(0, code)
    for package in ("model", "sweep", "analysis"):
        top = importlib.import_module(package)
        assert str(top.__file__).startswith(code), f"{package} comes from {top.__file__}"
        for module in pkgutil.walk_packages(top.__path__, f"{package}.", onerror=lambda name: None):
            try:
                importlib.import_module(module.name)
            except ImportError:
                continue
    for name in ("torch._dynamo", "torchvision", "scipy.stats", "sklearn.datasets", "pandas"):
        importlib.import_module(name)
    for name in ("matplotlib.pyplot", "PIL.Image", "PIL.PngImagePlugin", "obstore.store", "rich"):
        importlib.import_module(name)


def obey_permissions() -> None:
    """Make root obey the permissions of files, as other users must."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the interface, this process
    data = (ctypes.c_uint32 * 6)()
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "capget")
    mask = ~sum(1 << number for number in NOT_ALLOWED) & 0xFFFFFFFF
    data[0] &= mask
    data[1] &= mask
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def protect(folder: Path) -> None:
    """Take the right to write from a folder and all in it."""
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)


def unprotect(folder: Path) -> None:
    """Give back the right to write, so that the folder can be deleted."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Type, mode, time and digest of everything in a folder."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in folder.rglob("*"):
        facts = path.lstat()
        kind = stat.S_IFMT(facts.st_mode)
        digest = ""
        if kind == stat.S_IFREG:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        time_ns = 0 if kind == stat.S_IFDIR else facts.st_mtime_ns
        found[str(path.relative_to(folder))] = (facts.st_mode, time_ns, digest)
    return found


def run_child(case: Case, folder: Path, streams: Path) -> None:
    """Run a case to its end in this process, which does not return."""
    os.setsid()
    for number, flags in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(streams / flags, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    os.environb.update({name.encode(): value for name, value in case.environment})
    if case.protected:
        obey_permissions()
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: mapped + MEMORY,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: LARGEST_FILE,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        os.fdopen(2, "wb", closefd=False), encoding="utf-8", errors="backslashreplace"
    )
    sys.argv = list(case.words)
    code = 0
    try:
        importlib.import_module(f"{case.words[0]}.__main__").main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def wait(pid: int, seconds: float) -> tuple[int | None, bool]:
    """The status of a child, and whether it had to be killed."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status, False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    os.killpg(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1], True


def run_case(case: Case, work: Path, templates: Path, no_ray: NoRay) -> Outcome:
    """Run one case in a child and a new folder, which is deleted afterwards."""
    folder, streams = work / "case", work / "streams"
    folder.mkdir()
    streams.mkdir(exist_ok=True)
    build(folder, case.steps, templates)
    if case.protected:
        protect(folder)
    before = snapshot(folder) if case.reads else {}
    started = time.monotonic()
    pid = os.fork()
    if not pid:
        no_ray.forked = True
        run_child(case, folder, streams)
    status, hung = wait(pid, WALL_SECONDS)
    seconds = time.monotonic() - started
    after = snapshot(folder) if case.reads else {}
    unprotect(folder)
    shutil.rmtree(folder)
    assert status is not None
    return Outcome(
        code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) and not hung else None,
        seconds=seconds,
        hung=hung or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU),
        stdout=(streams / "stdout").read_text("utf-8", "replace")[:SHOWN],
        stderr=(streams / "stderr").read_text("utf-8", "replace")[:SHOWN],
        changed=sorted(n for n in before | after if before.get(n) != after.get(n)),
    )


def main() -> None:
    """Run all cases and write one line of JSON for each."""
    code, cases, templates, work, outcomes = map(Path, sys.argv[1:])
    no_ray = NoRay()
    sys.meta_path.insert(0, no_ray)
    import_everything(str(code))
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    threads = [name for name in names if name != "jemalloc_bg_thd"]  # pyarrow's
    assert len(threads) == 1, f"the parent must have one thread, got {threads}"
    with outcomes.open("w") as file:
        for case in pickle.loads(cases.read_bytes()):  # noqa: S301 - written by the campaign
            outcome = run_case(case, work, templates, no_ray)
            if outcome.hung:  # a busy machine is not a hang
                outcome = run_case(case, work, templates, no_ray)
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
