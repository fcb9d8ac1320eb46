"""Facts of a bucket's objects: created once, refused in one sentence, kept in a cache."""

import os
import pickle
import time
from dataclasses import replace

import pytest
from bucket_store import bucket_of, elsewhere, memory_bucket, new_store, open_here
from test_store import CARD, FILES, KEY, RECORD, flip_bit, node_file

from sweep.store.bucket import Bucket
from sweep.store.folder import StoreError
from sweep.store.store import Store, open_store

on_a_server = pytest.mark.xdist_group("s3")


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> Bucket:
    """In memory."""
    return memory_bucket(tmp_path, monkeypatch)


@pytest.fixture
def remote(s3, tmp_path, monkeypatch) -> Store:
    """On a server."""
    return new_store(s3, tmp_path, monkeypatch)


def images_path(store: Store) -> str:
    """Path in the bucket of the images of data set d1."""
    digest = store.datasets.read("d1").files["images.npy"]
    return store.files.file_path("datasets", "d1", "images.npy", digest)


@on_a_server
def test_a_missing_bucket_is_one_sentence(remote, tmp_path):
    missing = open_here("s3://no-such-bucket/x", tmp_path)
    with pytest.raises(StoreError, match="no such bucket; create it first"):
        missing.nodes.publish(KEY, FILES, RECORD)
    with pytest.raises(ValueError, match=r"--store: .*no such bucket"):
        missing.check()


@on_a_server
def test_a_server_with_conditions_passes_the_check(remote):
    remote.check()
    assert list(remote.files.list("clock/")) == []


@on_a_server
def test_a_server_keeps_what_is_published_for_another_machine(remote, tmp_path):
    """The path of every request that a store makes, through HTTP."""
    assert remote.nodes.publish(KEY, FILES, RECORD)
    other = elsewhere(remote, tmp_path)
    assert other.nodes.done({KEY, "b2"}) == {KEY}
    assert {name: other.nodes.read_file(KEY, name) for name in FILES} == FILES
    flip_bit(remote, node_file(remote, "pool.json"))
    assert elsewhere(remote, tmp_path).nodes.withdraw(KEY)
    assert not other.nodes.publish(KEY, FILES, RECORD)  # it remembers the record
    assert elsewhere(remote, tmp_path).nodes.publish(KEY, FILES, RECORD)


def test_a_server_that_ignores_conditions_is_refused(bucket, monkeypatch):
    """It would let two machines publish one key."""
    monkeypatch.setattr(Bucket, "create", lambda self, path, data: self.write(path, data) or True)
    with pytest.raises(ValueError, match="obeys If-None-Match, got"):
        bucket.check("--store")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://host/x", "schemes are s3, gs, az"),
        ("s3:///x", "s3://bucket/prefix"),
        ("s3://bucket/x?secret=1", "s3://bucket/prefix"),
        ("s3://key:secret@bucket/x", "s3://bucket/prefix"),
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


@on_a_server
def test_credentials_are_no_part_of_a_store(remote):
    assert b"testing" not in pickle.dumps(remote)


def test_a_request_whose_answer_was_lost_counts_as_ours(bucket):
    """The repeated request is refused because of the first."""
    assert bucket.create("x", b"ours")
    assert bucket.create("x", b"ours")
    assert not bucket.create("x", b"theirs")


def test_a_file_is_downloaded_once(bucket, tmp_path):
    """The cache answers when the object is gone, and is checked: damaged, it is fetched again."""
    store = Store(bucket)
    store.nodes.publish(KEY, FILES, RECORD)
    other, path = elsewhere(store, tmp_path), node_file(store, "pool.json")
    other.nodes.read_file(KEY, "pool.json")
    cached = bucket_of(other).cache.locate(path)
    cached.write_bytes(b"damaged")
    assert other.nodes.read_file(KEY, "pool.json") == FILES["pool.json"]
    assert cached.read_bytes() == FILES["pool.json"]
    bucket.delete([path])
    assert other.nodes.read_file(KEY, "pool.json") == FILES["pool.json"]


def test_only_what_never_changes_is_cached(bucket):
    for path in ("claims/a1/1.json", "records/nodes/a1.json", "metrics/a1/m.json", "scratch/a1/x"):
        bucket.write(path, b"x")
        assert bucket.cache.read(path) is None
    bucket.write("streams/s1/000000.safetensors", b"x")
    assert bucket.cache.read("streams/s1/000000.safetensors") == b"x"
    bucket.delete(["streams/s1/000000.safetensors"])
    assert bucket.cache.read("streams/s1/000000.safetensors") is None


def test_a_file_larger_than_a_part_is_fetched_in_parts(bucket, tmp_path, monkeypatch):
    """Never whole in memory, and whole on disk; then it is found there, used, and not evicted."""
    store, data = Store(bucket), bytes(range(256)) * 41
    store.datasets.publish("d1", {"images.npy": data}, CARD)
    monkeypatch.setattr("sweep.store.bucket.PART_BYTES", 1000)
    assert [len(part) for part in bucket.read_parts(images_path(store))] == [1000] * 10 + [496]
    other = elsewhere(store, tmp_path)
    place = other.datasets.locate("d1", "images.npy")
    assert place.read_bytes() == data
    os.utime(place, (0, 0))
    bucket.delete([images_path(store)])
    assert other.datasets.locate("d1", "images.npy") == place
    assert time.time() - place.stat().st_mtime < 60


def test_a_damaged_large_file_is_not_kept(bucket, tmp_path):
    """Neither as the file nor as a part of it."""
    store = Store(bucket)
    store.datasets.publish("d1", {"images.npy": b"pixels" * 1000}, CARD)
    flip_bit(store, images_path(store))
    other = elsewhere(store, tmp_path)
    with pytest.raises(StoreError, match="got 6000 damaged bytes"):
        other.datasets.locate("d1", "images.npy")
    assert [p for p in bucket_of(other).cache.root.rglob("*") if p.is_file()] == []


def name(number: int) -> str:
    """Path of a block."""
    return f"streams/{'0' * 64}/{number:06d}.safetensors"


def test_the_cache_drops_what_was_unused_longest(bucket):
    cache = replace(bucket.cache, limit_bytes=250)
    for i in range(3):
        cache.keep(name(i), [b"x" * 100], size=100)
        os.utime(cache.locate(name(i)), (i, i))
        cache.read(name(0))
    assert [cache.read(name(i)) is not None for i in range(3)] == [True, False, True]


def test_the_cache_deletes_nothing_of_others(bucket):
    """A data set beside it, a user's own file, and a file that another process is writing."""
    cache = replace(bucket.cache, limit_bytes=250)
    others = [cache.root / "flowers102" / "old.mat", cache.root / "notes.txt"]
    writing = cache.locate(name(0)).with_name(".f9.12345678.tmp")
    for path in (*others, writing):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
    for path in others:
        os.utime(path, (1, 1))
    for i in range(9):
        cache.keep(name(i), [b"x" * 100], size=100)
    assert all(path.exists() for path in (*others, writing))
    assert 1 <= sum(cache.read(name(i)) is not None for i in range(9)) <= 3
    os.utime(writing, (1, 1))
    cache.keep(name(9), [b"x" * 100], size=100)
    assert not writing.exists()
