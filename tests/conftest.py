"""What holds for every test: one thread, no windows, nothing written into the home folder.

Must not import torch or ray: a test of analysis runs without them.
"""

import os
import signal
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from running_sweep import STRAY, Finished, run_sweep, use_token, write_sweep
from s3_server import Server, running_server

if TYPE_CHECKING:
    from asking import Ask

# Read by torch, numpy and ray when they are first imported, in pytest-xdist's workers too.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
use_token()
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# A shell that starts the tests in the background has SIGINT ignored, in all that they start too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time, and no time limit for one of them: a busy machine is no failure.
hypothesis.settings.register_profile(
    "repeatable", database=None, deadline=None, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the seed of tests/fuzz."""
    parser.addoption("--fuzz-seed", type=int, default=0, help="seed of the cases of tests/fuzz")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all tests that start Ray to one worker: two clusters at once starve each other."""
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(scope="session", autouse=True)
def memory_is_returned() -> Generator[None]:
    """Commands that run in the tests' process leave its allocator as it is.

    A test of a shortage of memory would otherwise find what earlier tests have freed.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.commands.process.keep_freed_memory", lambda: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def stages_are_silent() -> Generator[None]:
    """Commands that run in the tests' process name no stage, however slow the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweep.status.stages.STAGE_SECONDS", threading.TIMEOUT_MAX)
        yield


@pytest.fixture(scope="session")
def s3() -> Generator[Server]:
    """An S3 server with a bucket named bucket."""
    with running_server() as server:
        server.make_bucket("bucket")
        yield server


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run of tiny.toml to its end, in a folder where modules named as ours lie and raise."""
    folder: Path = tmp_path_factory.mktemp("finished")
    for name in STRAY:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise RuntimeError('a stray module was imported')\n")
    write_sweep(folder)
    plan = run_sweep("plan", "tiny.toml", "--out", "out", cwd=folder)
    run = run_sweep("run", "tiny.toml", "--out", "out", cwd=folder)
    return Finished(out=folder / "out", plan=plan, run=run)


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> "Ask":
    """A command of sweep or analysis to its exit code, and everything it prints."""
    from asking import asker  # imports the programs

    return asker(capfd, monkeypatch)


@pytest.fixture
def plugins_forgotten(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Take away the plug-ins that a test has loaded into this process."""
    import importlib

    from model.commands.plugins import LOADED
    from sweep.planning.plugins import TABLES

    tables = [vars(importlib.import_module(home))[name] for name, home in TABLES.items()]
    before, modules = [dict(table) for table in tables], set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    loaded = {name.partition(".")[0] for name in LOADED} | {"mine"}  # mine.py may have failed
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in loaded:
            del sys.modules[name]
    LOADED.clear()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Programs of settings may run, in a folder of the test."""
    from model.programs.files import READ
    from model.programs.permission import allow_commands

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    READ.clear()
    allow_commands(True)
    yield
    allow_commands(False)
    READ.clear()
