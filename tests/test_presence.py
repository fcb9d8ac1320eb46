"""Facts of `sweep stop`: it reaches a run from anywhere, and takes nothing that is finished."""

import json
import os
import signal
import time

import pytest
from running_sweep import Running, find, finished_nodes, pasted, run_sweep, wait_for, write_sweep
from tiny_sweep import make_sweep

from sweep.results_folder import write_sweep as write_record
from sweep.status.drivers import present, run_key, running, stop
from sweep.store.store import open_store


@pytest.fixture
def out(tmp_path):
    """A sweep that nobody runs."""
    out = tmp_path / "out"
    write_record(out, make_sweep(), "sweep run tiny")
    return out


def test_there_is_nothing_to_stop_where_nobody_runs(out, capsys):
    assert stop(out, store=None) == 0
    assert capsys.readouterr().out == f"nothing to stop: {out} is not running\n"


def test_a_driver_is_seen_while_it_runs_and_no_longer(out):
    store, key = open_store(out), run_key(out, make_sweep())
    with present(store, key):
        (driver,) = running(store, key)
        assert driver.live
    assert running(store, key) == []
    assert find(out, "work/*") == []


def test_a_driver_says_that_another_runs_the_sweep_too(out, capsys):
    store, key = open_store(out), run_key(out, make_sweep())
    with present(store, key):
        assert capsys.readouterr().err == ""
        with present(store, key):
            told = capsys.readouterr().err
    assert told.startswith(f"note: process {os.getpid()} on ")
    assert told.endswith(" runs this sweep too; each lineage is computed by one of them\n")


def test_another_sweep_of_the_store_is_not_meant(out):
    """Another name of the folder, or other settings, make another run."""
    store = open_store(out)
    with present(store, run_key(out.with_name("other"), make_sweep())):
        assert running(store, run_key(out, make_sweep())) == []


def test_a_request_raises_sigterm_in_the_driver(out, monkeypatch):
    """A request from before the start does not count."""
    store, key = open_store(out), run_key(out, make_sweep())
    monkeypatch.setattr("sweep.status.drivers.LOOK_SECONDS", 0.05)
    store.save_scratch(key, "stop", b"")

    signals = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    try:
        with present(store, key):
            time.sleep(0.5)
            assert signals == []
            store.save_scratch(key, "stop", b"")
            wait_for(lambda: signals, "a signal", 10)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert signals == [signal.SIGTERM]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 2.0, 5.0, 7.0])
def test_a_sweep_that_is_stopped_while_ray_starts_says_so(seconds, tmp_path):
    """At any moment of the start: exit code 143, and how to resume."""
    path = write_sweep(tmp_path)
    with Running(out=tmp_path / "out", words=(str(path),)) as run:
        wait_for(lambda: find(tmp_path, "out/claims/run-*/1.json"), "a driver")
        time.sleep(seconds)
        stopped = run_sweep("stop", "out", cwd=tmp_path)
        code = run.wait(60)
        wait_for(lambda: not run.processes(), "the end of Ray's processes")
    assert stopped.returncode == 0, stopped.stderr
    assert "stopped; finished models are kept" in stopped.stdout
    assert code == 143
    assert f"{pasted(f'sweep run {path} --out {run.out}', tmp_path)}\n" in run.output()
    assert "Traceback" not in run.output()


@pytest.mark.ray
@pytest.mark.slow
def test_a_stopped_sweep_ends_keeps_what_is_done_and_resumes(tmp_path):
    """Stopped through a store that is elsewhere, from a copy of its folder."""
    write_sweep(tmp_path)
    words = ("tiny.toml", "--store", str(tmp_path / "store"))
    with Running(out=tmp_path / "out", words=words) as run:
        wait_for(lambda: find(tmp_path, "store/generations/*/record.json"), "a first model")
        copied = tmp_path / "laptop" / "out"
        copied.mkdir(parents=True)
        (copied / "sweep.json").write_bytes((tmp_path / "out" / "sweep.json").read_bytes())
        stopped = run_sweep("stop", copied, "--store", tmp_path / "store", cwd=tmp_path)
        assert stopped.returncode == 0, stopped.stderr
        assert "stopped; finished models are kept" in stopped.stdout
        assert run.wait(60) == 143
        wait_for(lambda: not run.processes(), "the end of Ray's processes")
    before = finished_nodes(tmp_path / "store")
    assert 1 <= len(before) < 3
    again = run_sweep("run", *words, "--out", "out", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    after = finished_nodes(tmp_path / "store")
    assert len(after) == 3
    assert {key: after[key] for key in before} == before
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["commands"] == [
        f"sweep run tiny.toml --store {tmp_path / 'store'} --out {tmp_path / 'out'}",
        f"sweep run tiny.toml --store {tmp_path / 'store'} --out out",
    ]
