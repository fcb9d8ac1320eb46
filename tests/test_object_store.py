"""Facts of the store in a bucket, on an S3 server: the same promises as in a folder."""

import json
import multiprocessing
import os
import pickle
import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from s3_server import running_server
from test_store import CARD, FILES, KEY, METRICS, RECORD, claimed

from sweep.bucket import Bucket, open_bucket
from sweep.claims import ClaimLost
from sweep.config import ResourcesConfig
from sweep.files import CorruptError, StoreError
from sweep.object_store import ObjectStore
from sweep.places import open_store

pytestmark = pytest.mark.xdist_group("s3")

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def server():
    with running_server() as server:
        server.make_bucket("bucket")
        yield server


@pytest.fixture
def store(server, tmp_path, monkeypatch) -> ObjectStore:
    """A store below a prefix of its own."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return open_here(f"s3://bucket/{uuid.uuid4().hex}", tmp_path / "cache")


def open_here(url: str, cache: Path, lease_seconds: int = 60) -> ObjectStore:
    resources = ResourcesConfig(cache_dir=str(cache), lease_seconds=lease_seconds)
    store = open_store(url, resources)
    assert isinstance(store, ObjectStore)
    return store


def elsewhere(store: ObjectStore, folder: Path, lease_seconds: int = 60) -> ObjectStore:
    """The same store as another machine sees it: with nothing remembered or cached."""
    return open_here(store.place, folder / uuid.uuid4().hex, lease_seconds)


def damage(bucket: Bucket, path: str) -> None:
    found = bucket.read(path)
    assert found is not None
    data = bytearray(found[0])
    data[len(data) // 2] ^= 1
    bucket.write(path, bytes(data))


def node_file(store: ObjectStore, name: str) -> str:
    """Path in the bucket of a file of the node."""
    return store._nodes.file_path(KEY, name, store.read_node(KEY).files[name])


def test_a_node_is_read_as_it_was_published_on_another_machine(store, tmp_path):
    assert not store.has_node(KEY)
    assert store.publish_node(KEY, FILES, RECORD)
    other = elsewhere(store, tmp_path)
    assert other.has_node(KEY)
    assert replace(other.read_node(KEY), files={}) == RECORD
    assert {name: other.read_file(KEY, name) for name in FILES} == FILES
    assert other.verify_node(KEY) == []
    assert other.has_file(KEY, "pool.json")
    assert not other.has_file(KEY, "preview.png")


def test_the_first_to_publish_wins_and_the_others_leave_nothing(store, tmp_path):
    other = elsewhere(store, tmp_path)
    assert store.publish_node(KEY, FILES, RECORD)
    assert not other.publish_node(KEY, {**FILES, "pool.json": b"other"}, RECORD)
    assert other.read_file(KEY, "pool.json") == FILES["pool.json"]
    names = [entry.path for entry in store.bucket.list("files/")]
    assert len(names) == len(FILES)


def test_a_publisher_overtaken_while_uploading_deletes_its_own_files_only(store, tmp_path):
    """What the winner's record names stays, also where the loser wrote the same bytes."""
    other = elsewhere(store, tmp_path)

    class Overtaken(dict):
        """Files, while whose upload another machine publishes."""

        def items(self):
            yield from super().items()
            other.publish_node(KEY, FILES, RECORD)

    assert not store.publish_node(KEY, Overtaken(FILES | {"pool.json": b"other"}), RECORD)
    assert other.read_file(KEY, "pool.json") == FILES["pool.json"]
    assert other.verify_node(KEY) == []
    assert len(list(store.bucket.list("files/"))) == len(FILES)


def test_a_damaged_file_is_seen_and_the_node_can_be_computed_again(store, tmp_path):
    store.publish_node(KEY, FILES, RECORD)
    store.write_metrics(KEY, "m1", METRICS)
    damage(store.bucket, node_file(store, "model.safetensors"))
    other = elsewhere(store, tmp_path)
    with pytest.raises(CorruptError, match=r"model\.safetensors must have the SHA-256"):
        other.read_file(KEY, "model.safetensors")
    assert other.verify_node(KEY) == ["model.safetensors"]
    assert other.quarantine_node(KEY)
    assert not other.has_node(KEY)
    assert other.read_metrics(KEY, "m1") is None
    assert other.publish_node(KEY, FILES, RECORD)
    assert elsewhere(store, tmp_path).verify_node(KEY) == []


def test_a_whole_node_is_not_set_aside(store):
    store.publish_node(KEY, FILES, RECORD)
    assert not store.quarantine_node(KEY)
    assert store.has_node(KEY)


def test_a_damaged_record_is_an_error_and_can_be_set_aside(store, tmp_path):
    store.publish_node(KEY, FILES, RECORD)
    store.bucket.write(f"records/nodes/{KEY}.json", b'{"schema": 1, "key"')
    other = elsewhere(store, tmp_path)
    with pytest.raises(CorruptError, match="damaged"):
        other.read_node(KEY)
    assert other.quarantine_node(KEY)
    assert not other.has_node(KEY)


def test_a_file_is_downloaded_once(store, tmp_path):
    """The cache answers when the object is gone, and is checked: damaged, it is fetched again."""
    store.publish_node(KEY, FILES, RECORD)
    other = elsewhere(store, tmp_path)
    other.read_file(KEY, "pool.json")
    cached = other.cache.locate(node_file(store, "pool.json"))
    cached.write_bytes(b"damaged")
    assert other.read_file(KEY, "pool.json") == FILES["pool.json"]
    assert cached.read_bytes() == FILES["pool.json"]
    other.bucket.delete([node_file(store, "pool.json")])
    assert other.read_file(KEY, "pool.json") == FILES["pool.json"]


def test_a_data_set_is_located_on_this_machine(store, tmp_path):
    store.publish_dataset("d1", {"images.npy": b"pixels"}, CARD)
    other = elsewhere(store, tmp_path)
    assert other.locate_dataset_file("d1", "images.npy").read_bytes() == b"pixels"
    assert replace(other.read_card("d1"), files={}) == CARD
    assert other.verify_dataset("d1") == []


def test_a_block_is_written_once_and_read_as_written(store, tmp_path):
    images = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert store.write_block("s1", 0, images)
    other = elsewhere(store, tmp_path)
    assert not other.write_block("s1", 0, images + 1)
    assert np.array_equal(other.read_block("s1", 0), images)
    assert other.has_block("s1", 0)
    assert not other.has_block("s1", 1)
    with pytest.raises(FileNotFoundError):
        other.read_block("s1", 1)


def test_a_damaged_block_is_seen_and_can_be_drawn_again(store, tmp_path):
    images = np.zeros((2, 1, 4, 4), np.uint8)
    store.write_block("s1", 0, images)
    damage(store.bucket, "streams/s1/000000.safetensors")
    other = elsewhere(store, tmp_path)
    with pytest.raises(CorruptError, match="must hold the images"):
        other.read_block("s1", 0)
    other.discard_block("s1", 0)
    assert other.write_block("s1", 0, images)
    assert np.array_equal(elsewhere(store, tmp_path).read_block("s1", 0), images)


def test_metrics_belong_to_done_nodes(store):
    with pytest.raises(FileNotFoundError, match="train it first"):
        store.write_metrics(KEY, "m1", METRICS)
    store.publish_node(KEY, FILES, RECORD)
    assert store.read_metrics(KEY, "m1") is None
    store.write_metrics(KEY, "m1", METRICS)
    assert store.read_metrics(KEY, "m1") == METRICS


def test_the_newest_whole_checkpoint_of_any_owner_is_loaded(store, tmp_path):
    other = elsewhere(store, tmp_path)
    for step in range(4):
        (store if step % 2 else other).save_scratch(KEY, "state", b"step %d" % step)
    kept = sorted(entry.path for entry in store.bucket.list("scratch/"))
    assert len(kept) == 2
    assert other.load_scratch(KEY, "state") == b"step 3"
    damage(store.bucket, kept[-1])
    assert other.load_scratch(KEY, "state") == b"step 2"
    other.drop_scratch(KEY)
    assert store.load_scratch(KEY, "state") is None


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


def test_its_items_are_listed_whole_and_deleted(store, tmp_path):
    """A node is its record, files and numbers; an upload under way is not for cleaning."""
    store.publish_node(KEY, FILES, RECORD)
    store.write_metrics(KEY, "m1", METRICS)
    store.publish_dataset("d1", {"images.npy": b"pixels"}, CARD)
    store.write_block("s1", 0, np.zeros(3))
    store.save_scratch("k2", "state", b"state")
    store.bucket.write("files/nodes/k3/0-model.safetensors", b"being uploaded")
    with claimed(store):
        items = {item.kind: item for item in store.items()}
    assert {kind: item.key for kind, item in items.items()} == {
        "node": KEY,
        "dataset": "d1",
        "streams": "s1",
        "scratch": "k2",
    }
    assert len(items["node"].paths) == len(FILES) + 2
    for item in items.values():
        store.delete_item(item)
    assert store.items() == []
    assert not store.has_node(KEY)
    assert [entry.path for entry in store.bucket.list("files/")] == [
        "files/nodes/k3/0-model.safetensors"
    ]


def test_a_store_travels_without_what_it_remembers(store):
    store.publish_node(KEY, FILES, RECORD)
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
    assert copy.has_node(KEY)
    assert b"testing" not in pickle.dumps(store)


def test_a_missing_bucket_is_one_sentence(store, tmp_path):
    missing = open_here("s3://no-such-bucket/x", tmp_path)
    with pytest.raises(StoreError, match="no such bucket; make it first"):
        missing.publish_node(KEY, FILES, RECORD)
    with pytest.raises(ValueError, match=r"--store: .*no such bucket"):
        open_bucket("s3://no-such-bucket/x").check("--store")


def test_a_server_with_conditions_passes_the_check(store):
    store.bucket.check("--store")
    assert list(store.bucket.list("clock/")) == []


def test_a_server_that_ignores_conditions_is_refused(store, monkeypatch):
    """It would let two machines publish one key."""
    monkeypatch.setattr(
        Bucket,
        "_put_if",
        lambda self, path, data, mode: self.write(path, data) or (("e_tag", "1"),),
    )
    with pytest.raises(ValueError, match="obeys If-None-Match and If-Match"):
        store.bucket.check("--store")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://host/x", "schemes are s3, gs, az"),
        ("s3:///x", "s3://bucket/prefix"),
        ("s3://bucket/x?secret=1", "s3://bucket/prefix"),
    ],
)
def test_what_is_no_bucket_is_refused(url, rule):
    with pytest.raises(ValueError, match=rule):
        open_store(url)


def test_a_region_must_be_known(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="export AWS_REGION"):
        open_store("s3://bucket/x")


def test_a_request_whose_answer_was_lost_counts_as_ours(store):
    """The repeated request is refused on account of the first."""
    first = store.bucket.create("x", b"ours")
    assert store.bucket.create("x", b"ours") == first
    assert store.bucket.create("x", b"theirs") is None


def test_the_cache_drops_what_was_unused_longest(tmp_path, store):
    cache = replace(store.cache, limit_bytes=250)
    for i in range(3):
        cache.keep(f"f{i}", b"x" * 100)
        os.utime(cache.locate(f"f{i}"), (i, i))
        cache.read("f0")
    assert [cache.read(f"f{i}") is not None for i in range(3)] == [True, False, True]


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
def test_sixteen_claimers_and_crashing_holders_publish_fifty_keys_whole(store, server, tmp_path):
    """None lost, none corrupt; computed twice at most where a holder died."""
    num_crashing = 4
    processes = [
        SPAWN.Process(
            target=work_on,
            args=(
                store.place,
                server.environment,
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
