"""Facts of claims, in a folder and in a bucket alike: one holder at a time, by terms that grow."""

import errno
import json
import os
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bucket_store import elsewhere, store_of
from test_store import FILES, KEY, RECORD, claimed, content, paths

from sweep.config import ResourcesConfig
from sweep.store.claims import LISTING_SECONDS, Claim, ClaimLost
from sweep.store.folder import StoreError
from sweep.store.heartbeat import Heartbeat
from sweep.store.store import Store, open_store


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path: Path, monkeypatch) -> Store:
    return store_of(request.param, tmp_path, monkeypatch)


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
    old = [f"claims/{KEY}.json", f"work/{KEY}/claim.json", f"work/{KEY}/progress.json"]
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
