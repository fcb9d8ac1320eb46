"""Facts of claims of several processes: killed, stopped, many at once, and with a bucket away."""

import json
import multiprocessing
import os
import re
import signal
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from bucket_store import elsewhere, new_store, open_here
from faulty_proxy import FaultyProxy
from test_claims import term
from test_store import KEY, RECORD, claimed, paths

from sweep.store.claims import Claim, ClaimLost
from sweep.store.heartbeat import Heartbeat
from sweep.store.store import Store

SPAWN = multiprocessing.get_context("spawn")
s3_tests = pytest.mark.xdist_group("s3")


def hold(url: str, environment: dict[str, str], folder: str, pipe: Connection) -> None:
    """Claim for a lease of a second, say so, and beat until it is lost; say that."""
    os.environ.update(environment)
    claim = claimed(open_at(url, folder))
    pipe.send(claim.owner)
    try:
        while True:
            claim.heartbeat({"step": 3})
            time.sleep(0.02)
    except ClaimLost as error:
        pipe.send(str(error))
    claim.release()


def open_at(url: str, folder: str) -> Store:
    return open_here(url, Path(folder), lease_seconds=1.0)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=s3_tests)])
def shared(request, tmp_path: Path, monkeypatch) -> tuple[Store, dict[str, str]]:
    """A store that other processes see, and the environment that they need for that."""
    if request.param == "folder":
        return open_at(str(tmp_path / "store"), ""), {}
    server = request.getfixturevalue("s3")
    new = new_store(server, tmp_path, monkeypatch)
    return open_at(new.location, str(tmp_path / "cache")), server.environment


@pytest.fixture
def holder(shared, tmp_path):
    """A process that beats every 20 ms: itself, its owner id, and the pipe to it."""
    store, environment = shared
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(
        target=hold, args=(store.location, environment, str(tmp_path / "theirs"), theirs)
    )
    process.start()
    yield process, ours.recv(), ours
    process.kill()
    process.join()


def patiently(store: Store) -> Claim:
    """The claim on the key, once its holder has been silent for its lease."""
    deadline = time.monotonic() + 60
    while (claim := store.claims.take(KEY)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return claim


def test_a_killed_process_of_this_machine_frees_its_claim_at_once(shared, holder):
    """While it is still a zombie."""
    store, process = shared[0], holder[0]
    assert store.claims.take(KEY) is None
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert store.claims.take(KEY) is not None


@pytest.mark.slow
def test_a_beating_holder_keeps_its_claim_beyond_its_lease_and_shows_progress(shared, holder):
    store = shared[0]
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert store.claims.take(KEY) is None
        time.sleep(0.05)
    info = store.claims.read()[KEY]
    assert (info.owner, info.pid, info.progress) == (holder[1], holder[0].pid, {"step": 3})


def test_a_stopped_holder_learns_that_it_lost_and_disturbs_nobody(shared, holder):
    """It sleeps while its term is taken over, released, and a third one created."""
    store, (process, owner, pipe) = shared[0], holder
    os.kill(process.pid, signal.SIGSTOP)
    patiently(store).release()
    claim = claimed(store)
    os.kill(process.pid, signal.SIGCONT)
    said = pipe.recv()
    assert re.search(f"must be held by {owner}, got {claim.owner}; another process", said)
    process.join()
    claim.heartbeat()
    assert paths(store) == [term(claim.number)]


def work_on(
    url: str, environment: dict[str, str], folder: str, first: int, crash: bool, start: Any
) -> None:
    """Claim, compute and publish every key that is not done; note which were computed here.

    A process that crashes dies holding its second claim.
    """
    os.environ.update(environment)
    store = open_at(url, folder)
    start.wait()
    missing, log = [f"k{(first + i) % 50}" for i in range(50)], []
    while missing:
        for key in list(missing):
            if store.nodes.has(key):
                missing.remove(key)
                continue
            claim = store.claims.take(key)
            if claim is None:
                continue
            with claim, Heartbeat(claim, {}):
                if crash and log:
                    os._exit(1)
                if not store.nodes.has(key):
                    time.sleep(0.05)
                    files = {"model.safetensors": f"weights of {key}".encode(), "pool.json": b"{}"}
                    store.nodes.publish(key, files, replace(RECORD, key=key))
                    log.append(key)
        time.sleep(0.01)
    Path(folder).mkdir(exist_ok=True)
    (Path(folder) / "log.json").write_text(json.dumps(log))


@pytest.mark.slow
def test_sixteen_claimers_and_crashing_holders_publish_fifty_keys_whole(shared, tmp_path):
    """None lost, none corrupt; computed twice at most where a holder died."""
    (store, environment), num_crashing, start = shared, 4, SPAWN.Barrier(16)
    processes = [
        SPAWN.Process(
            target=work_on,
            args=(store.location, environment, str(tmp_path / f"c{i}"), 3 * i, i < 4, start),
        )
        for i in range(16)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [p.exitcode for p in processes] == [1] * num_crashing + [0] * 12
    fresh, keys = elsewhere(store, tmp_path), [f"k{i}" for i in range(50)]
    assert [fresh.nodes.damaged_files(key) for key in keys] == [[]] * 50
    assert all(
        fresh.nodes.read_file(key, "model.safetensors") == f"weights of {key}".encode()
        for key in keys
    )
    logs = [json.loads(path.read_text()) for path in tmp_path.glob("c*/log.json")]
    computed = sum(map(len, logs)) + num_crashing
    assert 50 <= computed <= 50 + num_crashing


@s3_tests
@pytest.mark.slow
def test_a_bucket_that_was_away_for_longer_than_the_lease_costs_no_claim(s3, tmp_path, monkeypatch):
    """The holder beats again, and whoever watched it has seen no silence meanwhile."""
    lease = 6.0
    with FaultyProxy(s3.endpoint) as proxy:
        store = new_store(s3, tmp_path, monkeypatch)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        holder, watcher = (open_here(store.location, tmp_path / name, lease) for name in "ab")
        with claimed(holder) as claim, Heartbeat(claim, {"step": 3}) as heartbeat:
            for seconds, mode in ((lease, "drop"), (2.5 * lease, "well")):
                threading.Timer(seconds, setattr, (proxy, "mode", mode)).start()
            end = time.monotonic() + 4.5 * lease
            while time.monotonic() < end:
                assert watcher.claims.take(KEY) is None  # repeats its requests until it is answered
                time.sleep(0.2)
            assert heartbeat.lost is None
            claim.heartbeat()
            assert elsewhere(store, tmp_path).claims.read()[KEY].live
