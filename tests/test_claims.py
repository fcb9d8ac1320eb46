"""Facts of claims: one holder at a time, freed by death at once and by silence after a while."""

import json
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from test_store import FILES, KEY, RECORD, claimed

from sweep.claims import ClaimLost
from sweep.local_store import LocalStore

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def lease_path(store: LocalStore) -> Path:
    return store.root / "work" / KEY / "claim.json"


def make_old(path: Path, seconds: float) -> None:
    """Let a file's last change be so many seconds ago."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def hold(store: LocalStore, pipe: Connection) -> None:
    """Claim, say so, and beat until the claim is lost; say whether it was."""
    claim = claimed(store)
    pipe.send(claim.owner)
    try:
        while True:
            claim.heartbeat({"step": 3})
            time.sleep(0.02)
    except ClaimLost as error:
        pipe.send(str(error))
    claim.release()


@pytest.fixture
def holder(store):
    """A process that beats every 20 ms: itself, its owner id, and the pipe to it."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=hold, args=(store, theirs))
    process.start()
    yield process, ours.recv(), ours
    process.kill()
    process.join()


def test_a_key_is_claimed_once(store):
    with claimed(store):
        assert store.claim(KEY) is None


def test_a_released_key_can_be_claimed_and_leaves_no_files(store):
    claim = claimed(store)
    claim.release()
    claim.release()
    assert list((store.root / "work").iterdir()) == []
    assert store.claim(KEY) is not None


def test_a_claim_is_released_when_its_block_fails(store):
    with pytest.raises(RuntimeError, match="training"), claimed(store):
        raise RuntimeError("training")
    assert store.claim(KEY) is not None


def test_an_owner_can_be_named(store):
    assert store.claim(KEY, owner="me").owner == "me"
    assert store.read_claims()[KEY].owner == "me"


def test_a_default_owner_is_host_pid_and_random_digits(store):
    host, pid, digits = claimed(store).owner.rsplit("-", 2)
    assert (bool(host), int(pid), len(digits)) == (True, os.getpid(), 8)


def test_of_many_threads_one_gets_the_claim(store):
    claims = []
    threads = [
        threading.Thread(target=lambda: claims.append(store.claim(KEY)), daemon=True)
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in claims) == 1


def test_of_many_threads_one_takes_over_a_stale_claim(store):
    for _ in range(10):
        store.claim(KEY)
        make_old(lease_path(store), 61)
        claims = []
        threads = [
            threading.Thread(target=lambda c=claims: c.append(store.claim(KEY)), daemon=True)
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = [claim for claim in claims if claim is not None]
        winner.heartbeat()
        winner.release()


def test_the_claim_of_a_killed_process_is_free_at_once(store, holder):
    """Long before the 60 s without heartbeat, and while it is still a zombie."""
    process, _, _ = holder
    assert store.claim(KEY) is None
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not store.read_claims()[KEY].live
    assert store.claim(KEY) is not None


def test_a_beating_holder_keeps_its_claim_beyond_the_time_to_live(store, holder):
    impatient = LocalStore(store.root, ttl_seconds=1.0)
    for _ in range(15):
        assert impatient.claim(KEY) is None
        time.sleep(0.1)


def test_a_stopped_holder_loses_its_claim_and_learns_it_when_it_wakes(store, holder):
    process, owner, pipe = holder
    impatient = LocalStore(store.root, ttl_seconds=0.5)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.6)
    claim = claimed(impatient)
    os.kill(process.pid, signal.SIGCONT)
    assert f"must be held by {owner}, got {claim.owner}; another process" in pipe.recv()
    process.join()
    claim.heartbeat()  # the loser's release has left it alone
    assert store.read_claims()[KEY].progress == {}


def test_what_a_holder_that_lost_its_claim_publishes_is_dropped(store):
    """The fence is publishing, not the claim."""
    loser = claimed(store)
    make_old(lease_path(store), 61)
    winner = claimed(store)
    assert store.publish_node(KEY, FILES, RECORD)
    winner.release()
    assert not store.publish_node(KEY, {"model.safetensors": b"late"}, RECORD)
    assert store.read_file(KEY, "model.safetensors") == b"weights"
    with pytest.raises(ClaimLost, match="got no claim"):
        loser.heartbeat()


def test_a_heartbeat_renews_a_claim(store):
    claim = claimed(store)
    make_old(lease_path(store), 61)
    claim.heartbeat()
    assert store.claim(KEY) is None


def test_a_heartbeat_after_the_release_is_lost(store):
    claim = claimed(store)
    claim.release()
    with pytest.raises(ClaimLost):
        claim.heartbeat()


def test_a_heartbeat_costs_less_than_a_millisecond(store):
    """The best of many: a busy machine is no failure."""
    claim = claimed(store)
    seconds = []
    for step in range(50):
        start = time.perf_counter()
        claim.heartbeat({"step": step})
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1e-3


def test_two_threads_may_beat_at_once(store):
    claim = claimed(store)
    errors = []

    def beat() -> None:
        try:
            for step in range(100):
                claim.heartbeat({"step": step})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=beat, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.read_claims()[KEY].progress == {"step": 99}


def test_others_see_who_works_and_how_far(store, holder):
    process, owner, _ = holder
    while not (info := store.read_claims()[KEY]).progress:
        time.sleep(0.01)
    assert (info.owner, info.pid, info.live) == (owner, process.pid, True)
    assert info.progress == {"step": 3}
    assert 0 <= info.age_seconds < 60


def test_progress_stays_when_a_heartbeat_has_none(store):
    claim = claimed(store)
    claim.heartbeat({"loss": float("nan"), "step": 1})
    claim.heartbeat()
    assert store.read_claims()[KEY].progress["step"] == 1


def test_an_old_claim_is_shown_as_dead(store):
    store.claim(KEY)
    make_old(lease_path(store), 100)
    info = store.read_claims()[KEY]
    assert not info.live
    assert info.age_seconds == pytest.approx(100, abs=5)


@pytest.mark.parametrize("field", ["host", "machine"])
def test_a_process_of_another_machine_or_container_is_not_taken_for_dead(store, field):
    """Its pid means nothing here; only silence frees its claim."""
    store.claim(KEY)
    path = lease_path(store)
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, field: "elsewhere", "pid": 2**22 + 1}))
    assert store.claim(KEY) is None
    make_old(path, 61)
    assert store.claim(KEY) is not None


def test_a_pid_that_was_given_again_is_not_taken_for_the_holder(store):
    store.claim(KEY)
    path = lease_path(store)
    path.write_text(json.dumps({**json.loads(path.read_text()), "started": "1"}))
    assert store.claim(KEY) is not None


@pytest.mark.parametrize("garbage", ["", "{", "[]", "null", '{"token": 1}', "\udcff"])
def test_a_garbage_claim_is_freed_by_its_age(store, garbage):
    path = lease_path(store)
    path.parent.mkdir(parents=True)
    path.write_bytes(garbage.encode("utf-8", "surrogateescape"))
    assert store.claim(KEY) is None
    assert store.read_claims()[KEY].owner == "unknown"
    make_old(path, 61)
    assert store.claim(KEY) is not None


def test_a_takeover_that_died_half_way_does_not_block_the_key(store):
    """Its lock is freed by its age, like a claim."""
    store.claim(KEY)
    path = lease_path(store)
    lock = path.with_name("steal-" + json.loads(path.read_text())["token"])
    lock.mkdir()
    make_old(path, 61)
    assert store.claim(KEY) is None
    make_old(lock, 61)
    assert store.claim(KEY) is None  # this one removed the lock
    assert store.claim(KEY) is not None


def test_foreign_files_in_the_work_folder_are_no_claims(store):
    store.save_scratch(KEY, "train", b"")
    (store.root / "work" / "notes.txt").write_text("mine")
    assert store.read_claims() == {}
