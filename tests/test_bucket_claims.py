"""Facts of claims on a bucket: one holder at a time, freed by death at once, else by silence."""

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from bucket_store import elsewhere, new_store, open_here
from test_store import KEY, RECORD, claimed

from sweep.claims import ClaimLost
from sweep.object_store import ObjectStore

pytestmark = pytest.mark.xdist_group("s3")

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(s3, tmp_path, monkeypatch) -> ObjectStore:
    return new_store(s3, tmp_path, monkeypatch)


def test_a_key_is_claimed_once_and_free_after_release(store, tmp_path):
    other = elsewhere(store, tmp_path)
    with claimed(store) as claim:
        assert other.claim(KEY) is None
        (found,) = other.read_claims().values()
        assert (found.owner, found.pid, found.live) == (claim.owner, os.getpid(), True)
    assert elsewhere(store, tmp_path).read_claims() == {}
    assert other.claim(KEY) is not None


def test_a_silent_claim_is_taken_over_and_its_holder_told(store, tmp_path):
    """The holder lives, so only its silence frees the key: two seconds here."""
    ours = elsewhere(store, tmp_path, lease_seconds=2)
    theirs = elsewhere(store, tmp_path, lease_seconds=2)
    asleep = claimed(ours)
    assert theirs.claim(KEY) is None
    deadline = time.monotonic() + 30
    while (taken := theirs.claim(KEY)) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert taken is not None
    with pytest.raises(ClaimLost, match="took over"):
        asleep.heartbeat()
    asleep.release()
    assert ours.claim(KEY) is None
    taken.heartbeat()


def test_heartbeats_keep_a_claim_and_show_progress(store, tmp_path):
    ours = elsewhere(store, tmp_path, lease_seconds=2)
    with claimed(ours) as claim:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            claim.heartbeat({"step": 3})
            time.sleep(0.1)
        other = elsewhere(store, tmp_path, lease_seconds=2)
        assert other.claim(KEY) is None
        assert other.read_claims()[KEY].progress == {"step": 3}


def test_a_holder_that_promised_fewer_beats_is_given_the_time_for_them(store, tmp_path):
    """Two sweeps with leases of their own share a bucket."""
    theirs = elsewhere(store, tmp_path, lease_seconds=1)
    with claimed(store):
        time.sleep(3)
        assert theirs.claim(KEY) is None
        assert theirs.read_claims()[KEY].live


def lose_an_answer(claim) -> None:
    """A heartbeat that reaches the bucket, and whose answer does not come back."""
    known = claim.version
    claim._beat_at = float("-inf")
    claim.heartbeat()
    assert claim.version != known
    claim.version = known
    claim._beat_at = float("-inf")


def test_a_heartbeat_whose_answer_was_lost_loses_no_claim(store):
    claim = claimed(store)
    lose_an_answer(claim)
    claim.heartbeat()
    lose_an_answer(claim)
    claim.release()
    assert store.claim(KEY) is not None


def hold(store: ObjectStore, pipe) -> None:
    claim = store.claim(KEY)
    pipe.send(claim is not None)
    time.sleep(60)


def test_the_claim_of_a_killed_process_of_this_machine_is_free_at_once(store):
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=hold, args=(store, theirs))
    process.start()
    assert ours.recv()
    assert store.claim(KEY) is None
    process.kill()
    process.join()
    assert store.claim(KEY) is not None


def work_on(url: str, environment: dict[str, str], folder: str, first: int, crash: bool) -> list:
    """Claim, compute and publish every key that is not done; (computed, published) of each.

    A process that crashes dies holding its third claim.
    """
    os.environ.update(environment)
    store = open_here(url, Path(folder), lease_seconds=2)
    missing, log = [f"k{(first + i) % 50}" for i in range(50)], []
    while missing:
        for key in list(missing):
            if store.has_node(key):
                missing.remove(key)
                continue
            claim = store.claim(key)
            if claim is None:
                continue
            with claim:
                if crash and len(log) == 2:
                    os._exit(1)
                if not store.has_node(key):
                    files = {"model.safetensors": f"weights of {key}".encode(), "pool.json": b"{}"}
                    store.publish_node(key, files, replace(RECORD, key=key))
                    log.append(key)
        time.sleep(0.01)
    Path(folder).mkdir(exist_ok=True)
    (Path(folder) / "log.json").write_text(json.dumps(log))
    return log


@pytest.mark.slow
def test_sixteen_claimers_and_crashing_holders_publish_fifty_keys_whole(store, s3, tmp_path):
    """None lost, none corrupt; computed twice at most where a holder died."""
    num_crashing = 4
    processes = [
        SPAWN.Process(
            target=work_on,
            args=(
                store.place,
                s3.environment,
                str(tmp_path / f"c{i}"),
                3 * i,
                i < num_crashing,
            ),
        )
        for i in range(16)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [p.exitcode for p in processes] == [1] * num_crashing + [0] * 12
    fresh = elsewhere(store, tmp_path)
    keys = [f"k{i}" for i in range(50)]
    assert [fresh.verify_node(key) for key in keys] == [[]] * 50
    assert all(
        fresh.read_file(key, "model.safetensors") == f"weights of {key}".encode() for key in keys
    )
    logs = [json.loads(path.read_text()) for path in tmp_path.glob("c*/log.json")]
    computed = sum(map(len, logs)) + 2 * num_crashing
    assert 50 <= computed <= 50 + num_crashing
