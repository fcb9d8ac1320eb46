"""Facts of a bucket's objects: written on conditions, refused in one sentence, kept in a cache."""

import multiprocessing
import os
from dataclasses import replace

import pytest
from bucket_store import new_store, open_here
from test_store import FILES, KEY, RECORD

from sweep.bucket import Bucket, open_bucket
from sweep.files import StoreError
from sweep.object_store import ObjectStore
from sweep.places import open_store

pytestmark = pytest.mark.xdist_group("s3")

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(s3, tmp_path, monkeypatch) -> ObjectStore:
    return new_store(s3, tmp_path, monkeypatch)


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


def test_the_cache_deletes_nothing_of_others(tmp_path, store):
    """A data set beside it, a user's own file, and a file that another process is writing."""
    cache = replace(store.cache, limit_bytes=250)
    others = [cache.root / "flowers102" / "old.mat", cache.root / "notes.txt"]
    writing = cache.locate("f0").with_name(".f9.12345678.tmp")
    for path in (*others, writing):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
    for path in others:
        os.utime(path, (1, 1))
    for i in range(9):
        cache.keep(f"f{i}", b"x" * 100)
    assert all(path.exists() for path in (*others, writing))
    assert 1 <= sum(cache.read(f"f{i}") is not None for i in range(9)) <= 3
    os.utime(writing, (1, 1))
    cache.keep("f9", b"x" * 100)
    assert not writing.exists()
