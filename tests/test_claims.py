"""Facts of claims, in a folder and in a bucket alike: one holder at a time, by terms that grow."""

import errno
import json
import multiprocessing
import os
import pickle
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from bucket_store import elsewhere, memory_bucket, new_store, open_here
from faulty_proxy import FaultyProxy
from test_store import FILES, KEY, RECORD, claimed, content, paths

from sweep.config import ResourcesConfig
from sweep.store.claims import LISTING_SECONDS, Claim, ClaimLost, Heartbeat
from sweep.store.folder import StoreError
from sweep.store.store import Store, open_store

SPAWN = multiprocessing.get_context("spawn")
s3_tests = pytest.mark.xdist_group("s3")


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path: Path, monkeypatch) -> Store:
    if request.param == "folder":
        return open_store(tmp_path / "store")
    return Store(memory_bucket(tmp_path, monkeypatch))


class Clock:
    """A clock of claims' own, that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("sweep.store.claims.time", found)
    return found


def watch(store: Store, clock: Clock, seconds: float, *, step: float = 1.0) -> Claim | None:
    """Look at the key every `step` seconds, for a while or until it is claimed."""
    for _ in range(round(seconds / step)):
        if (claim := store.claims.take(KEY)) is not None:
            return claim
        clock.now += step
    return store.claims.take(KEY)


def taken_over(store: Store, clock: Clock) -> Claim:
    claim = watch(store, clock, 61)
    assert claim is not None
    return claim


def term(number: int) -> str:
    return f"claims/{KEY}/{number}.json"


def change(store: Store, number: int, **changes: Any) -> None:
    """Change what a term says."""
    data = json.loads(content(store, term(number)))
    store.files.write(term(number), json.dumps({**data, **changes}).encode())


def test_a_key_is_claimed_once_and_free_after_the_release(store, tmp_path):
    other = elsewhere(store, tmp_path)
    with claimed(store) as claim:
        assert other.claims.take(KEY) is None
        (found,) = other.claims.read().values()
        assert (found.owner, found.pid, found.live) == (claim.owner, os.getpid(), True)
    assert elsewhere(store, tmp_path).claims.read() == {}
    assert other.claims.take(KEY) is not None


def test_a_release_leaves_one_empty_term_above_all_that_were(store):
    """No number is ever used twice."""
    for number in (2, 4, 6):
        claim = claimed(store)
        claim.release()
        claim.release()
        assert paths(store) == [term(number)]
        assert content(store, term(number)) == b""


def test_a_claim_is_released_when_its_block_fails(store):
    with pytest.raises(RuntimeError, match="training"), claimed(store):
        raise RuntimeError("training")
    assert store.claims.take(KEY) is not None


def test_an_owner_is_host_pid_and_random_digits(store):
    host, pid, digits = claimed(store).owner.rsplit("-", 2)
    assert (bool(host), int(pid), len(digits)) == (True, os.getpid(), 8)


def in_threads(count: int, function: Callable[[], Any]) -> list[Any]:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(function())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_of_many_threads_one_gets_the_claim(store):
    claims = in_threads(16, lambda: store.claims.take(KEY))
    assert sum(claim is not None for claim in claims) == 1


def test_of_many_threads_one_takes_over_a_silent_claim(store, clock):
    claimed(store)
    for _ in range(5):
        assert watch(store, clock, 59) is None
        clock.now += 2
        (winner,) = [c for c in in_threads(8, lambda: store.claims.take(KEY)) if c is not None]
        winner.heartbeat()


def test_a_holder_that_was_asleep_for_two_terms_learns_it_and_disturbs_nobody(store, clock):
    """Asleep on term 1, while 2 is taken and released as 3, and 4 is taken."""
    asleep = claimed(store)
    taken_over(store, clock).release()
    third = claimed(store)
    assert paths(store) == [term(4)]
    with pytest.raises(ClaimLost, match=rf"4.json must be held by .*, got {third.owner}; another"):
        asleep.heartbeat({"step": 3})
    asleep.release()
    third.heartbeat()
    assert paths(store) == [term(4)]
    assert store.claims.take(KEY) is None
    assert store.claims.read()[KEY].progress == {}


def test_a_term_whose_creation_comes_too_late_is_none(store):
    """Its process saw term 1 free, and slept while 2, 3 and 4 were created."""
    for _ in range(2):
        claimed(store).release()
    late = Claim(files=store.files, key=KEY, number=2, lease_seconds=60.0)
    assert not late.begin()
    assert paths(store) == [term(4)]


def test_terms_are_compared_as_numbers_and_other_names_are_none(store):
    for name in (
        "9.json",
        "10.json",
        "011.json",
        "0.json",
        "x.json",
        "12",
        "12.json.old",
        "a/13.json",
    ):
        store.files.write(f"claims/{KEY}/{name}", b"")
    assert claimed(store).number == 11
    foreign = ["0.json", "011.json", "12", "12.json.old", "a/13.json", "x.json"]
    assert paths(store) == sorted(f"claims/{KEY}/{name}" for name in ["11.json", *foreign])


def test_claims_of_earlier_versions_are_ignored(store):
    """And go with the scratch."""
    old = ["claims/a1.json", "work/a1/claim.json", "work/a1/progress.json"]
    for path in old:
        store.files.write(path, b'{"token": "0", "owner": "old", "pid": 1, "host": "h"}')
    assert store.claims.read() == {}
    with claimed(store):
        store.drop_scratch(KEY)
    assert not [path for path in paths(store) if path.startswith("work/")] or store.files.is_far


def test_what_a_holder_that_lost_its_claim_publishes_is_dropped(store, clock):
    """The fence is publishing, not the claim."""
    loser = claimed(store)
    winner = taken_over(store, clock)
    assert store.nodes.publish(KEY, FILES, RECORD)
    winner.release()
    assert not store.nodes.publish(KEY, {"model.safetensors": b"late"}, RECORD)
    assert store.nodes.read_file(KEY, "model.safetensors") == b"weights"
    with pytest.raises(ClaimLost, match="got no claim"):
        loser.heartbeat()


def test_a_heartbeat_keeps_a_claim(store, clock):
    claim = claimed(store)
    for _ in range(10):
        assert watch(store, clock, 50) is None
        claim.heartbeat()


def test_a_heartbeat_after_the_release_is_lost(store):
    claim = claimed(store)
    claim.release()
    with pytest.raises(ClaimLost, match="got no claim"):
        claim.heartbeat()


def test_a_silent_claim_is_watched_for_its_own_lease(store, clock, tmp_path):
    """Two sweeps with leases of their own share a store."""
    holder = elsewhere(store, tmp_path, lease_seconds=100)
    impatient = elsewhere(store, tmp_path, lease_seconds=1)
    claimed(holder)
    assert watch(impatient, clock, 99) is None
    assert watch(impatient, clock, 3) is not None


def test_time_without_looks_counts_as_one_heartbeat(store, clock):
    """The store may have been away, for the holder too."""
    claim = claimed(store)
    assert watch(store, clock, 5) is None
    clock.now += 3600
    assert watch(store, clock, 40) is None
    claim.heartbeat()
    assert watch(store, clock, 59) is None


def test_a_worker_inherits_what_its_driver_observed(store, clock, tmp_path):
    """Pickled with the store, or sent later; of another term it says nothing."""
    claimed(store)
    driver = elsewhere(store, tmp_path)
    for _ in range(12):
        driver.claims.read()
        clock.now += 5
    assert elsewhere(store, tmp_path).claims.take(KEY) is None
    worker = elsewhere(store, tmp_path)
    silences = json.loads(json.dumps(driver.claims.silences()))
    worker.claims.inherit(silences)
    copy = pickle.loads(pickle.dumps(driver))  # noqa: S301 - our own bytes
    clock.now += 10
    assert worker.claims.take(KEY) is not None
    assert copy.claims.take(KEY) is None


def test_a_pickled_store_goes_on_observing(store, clock):
    claimed(store)
    assert watch(store, clock, 59) is None
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
    assert watch(copy, clock, 3) is not None


def test_those_who_look_once_see_the_age_by_the_stores_clock(store, monkeypatch):
    store.claims.take(KEY)
    now = type(store.files).now
    monkeypatch.setattr(type(store.files), "now", lambda files: now(files) + 100)
    info = store.claims.read()[KEY]
    assert not info.live
    assert info.age_seconds == pytest.approx(100, abs=5)
    assert store.claims.take(KEY) is None  # not seen silent by us


def test_a_far_stores_listing_is_reused_for_a_while(store, clock):
    claimed(store)
    assert store.claims.read().keys() == {KEY}
    claimed(store, "b2")
    assert ("b2" in store.claims.read()) == (not store.files.is_far)
    clock.now += LISTING_SECONDS
    assert store.claims.read().keys() == {KEY, "b2"}


def test_progress_is_shown_and_stays_when_a_heartbeat_has_none(store, tmp_path):
    claim = claimed(store)
    claim.heartbeat({"loss": float("nan"), "step": 1})
    claim.heartbeat()
    assert elsewhere(store, tmp_path).claims.read()[KEY].progress["step"] == 1


def test_two_threads_may_beat_at_once(store):
    claim = claimed(store)

    def beat() -> None:
        for step in range(50):
            claim.heartbeat({"step": step})

    assert in_threads(2, beat) == [None, None]
    assert store.claims.read()[KEY].progress == {"step": 49}


def test_a_claim_is_renewed_six_times_a_lease_and_each_second_in_a_folder(store):
    assert claimed(store).beat_seconds == (10.0 if store.files.is_far else 1.0)
    hasty = Store(store.files, lease_seconds=3.0)
    assert claimed(hasty, "b2").beat_seconds == 0.5


def test_a_thread_renews_a_claim_until_it_is_lost(tmp_path):
    store = open_store(tmp_path, ResourcesConfig(lease_seconds=1.0))
    position = {"step": 3}
    with claimed(store) as claim, Heartbeat(claim, position) as heartbeat:
        while not store.claims.read()[KEY].progress:
            time.sleep(0.01)
        assert store.claims.read()[KEY].progress == {"step": 3}
        assert heartbeat.lost is None
        store.files.create(term(2), b"")
        while heartbeat.lost is None:
            time.sleep(0.01)


def test_a_thread_goes_on_when_the_store_is_back(tmp_path, monkeypatch):
    store = open_store(tmp_path, ResourcesConfig(lease_seconds=1.0))
    failures = []

    def fail(*args: object) -> None:
        failures.append(args)
        raise StoreError("the disk is full")

    with claimed(store) as claim, Heartbeat(claim, {"step": 3}):
        with monkeypatch.context() as away:
            away.setattr(type(store.files), "write", fail)
            while len(failures) < 2:
                time.sleep(0.01)
        while not store.claims.read()[KEY].progress:
            time.sleep(0.01)


@pytest.mark.parametrize("field", ["host", "machine"])
def test_a_process_of_another_machine_or_container_is_not_taken_for_dead(store, clock, field):
    """Its pid means nothing here; only silence frees its claim."""
    store.claims.take(KEY)
    change(store, 1, **{field: "elsewhere"}, pid=2**22 + 1)
    assert store.claims.take(KEY) is None
    assert watch(store, clock, 61) is not None


@pytest.mark.parametrize("changes", [{"started": "1"}, {"pid": 2**22 + 1}, {"pid": 10**30}])
def test_a_dead_process_of_this_machine_frees_its_claim_at_once(store, changes):
    """Also one whose pid was given again."""
    store.claims.take(KEY)
    change(store, 1, **changes)
    assert not store.claims.read()[KEY].live
    assert claimed(store).number == 2


def test_without_file_descriptors_nobody_is_taken_for_dead(store, monkeypatch):
    store.claims.take(KEY)

    def fail(pid: int) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("sweep.store.claims._process_start", fail)
    assert store.claims.take(KEY) is None


@pytest.mark.parametrize("garbage", ["{", "[]", "null", '{"token": 1}', "\udcff", "[" * 99999])
def test_a_garbage_term_is_freed_by_its_silence(store, clock, garbage):
    store.files.write(term(7), garbage.encode("utf-8", "surrogateescape"))
    assert store.claims.take(KEY) is None
    assert store.claims.read()[KEY].owner == "unknown"
    assert taken_over(store, clock).number == 8


def test_free_and_dead_claims_are_swept_and_live_ones_are_not(store, tmp_path):
    """Of keys that nobody will claim again, as drivers' are."""
    claimed(store, "run-a1").release()
    store.claims.take("run-b2")
    data = json.loads(content(store, "claims/run-b2/1.json"))
    store.files.write("claims/run-b2/1.json", json.dumps({**data, "started": "1"}).encode())
    live = claimed(store, "run-c3")
    claimed(store, "other").release()
    elsewhere(store, tmp_path).claims.sweep("run-")
    assert paths(store) == ["claims/other/2.json", "claims/run-c3/1.json"]
    live.heartbeat()


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
    return open_at(new.place, str(tmp_path / "cache")), server.environment


@pytest.fixture
def holder(shared, tmp_path):
    """A process that beats every 20 ms: itself, its owner id, and the pipe to it."""
    store, environment = shared
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(
        target=hold, args=(store.place, environment, str(tmp_path / "theirs"), theirs)
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
            args=(store.place, environment, str(tmp_path / f"c{i}"), 3 * i, i < 4, start),
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
        holder, watcher = (open_here(store.place, tmp_path / name, lease) for name in "ab")
        with claimed(holder) as claim, Heartbeat(claim, {"step": 3}) as heartbeat:
            for mode in ("well", "drop", "well"):
                proxy.mode = mode
                end = time.monotonic() + (1.5 if mode == "drop" else 1) * lease
                while time.monotonic() < end:
                    try:
                        assert watcher.claims.take(KEY) is None
                    except StoreError:
                        assert proxy.mode == "drop"
                    time.sleep(0.2)
            assert heartbeat.lost is None
            claim.heartbeat()
            assert elsewhere(store, tmp_path).claims.read()[KEY].live
