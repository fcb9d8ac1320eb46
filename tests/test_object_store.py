"""Facts of the store in a bucket, on an S3 server: the same promises as in a folder."""

import multiprocessing
import os
import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
from bucket_store import elsewhere, new_store
from test_store import CARD, FILES, KEY, METRICS, RECORD, claimed

from sweep.bucket import Bucket
from sweep.files import CorruptError
from sweep.inventory import OLD_SECONDS
from sweep.object_store import ObjectStore

pytestmark = pytest.mark.xdist_group("s3")

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(s3, tmp_path, monkeypatch) -> ObjectStore:
    return new_store(s3, tmp_path, monkeypatch)


def damage(bucket: Bucket, path: str) -> None:
    found = bucket.read(path)
    assert found is not None
    data = bytearray(found[0])
    data[len(data) // 2] ^= 1
    bucket.write(path, bytes(data))


def node_file(store: ObjectStore, name: str) -> str:
    """Path in the bucket of a file of the node."""
    return store._nodes.file_path(KEY, name, store.read_node(KEY).files[name])


def dataset_file(store: ObjectStore) -> str:
    """Path in the bucket of the images of data set d1."""
    digest = store.read_card("d1").files["images.npy"]
    return store._datasets.file_path("d1", "images.npy", digest)


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


def test_who_knew_a_node_learns_that_it_was_withdrawn(store, tmp_path):
    """Two trials find its weights damaged; one is faster."""
    store.publish_node(KEY, FILES, RECORD)
    fast, slow = elsewhere(store, tmp_path), elsewhere(store, tmp_path)
    assert fast.read_node(KEY) == slow.read_node(KEY)
    damage(store.bucket, node_file(store, "model.safetensors"))
    assert fast.quarantine_node(KEY)
    assert not slow.quarantine_node(KEY)
    assert not slow.has_node(KEY)


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


def test_a_file_larger_than_a_part_is_fetched_in_parts(store, tmp_path, monkeypatch):
    """Never whole in memory, and whole on disk; then it is found there, used, and not evicted."""
    data = bytes(range(256)) * 41
    store.publish_dataset("d1", {"images.npy": data}, CARD)
    monkeypatch.setattr("sweep.bucket.PART_BYTES", 1000)
    other = elsewhere(store, tmp_path)
    sizes = [len(part) for part in other.bucket.read_parts(dataset_file(other), len(data))]
    assert sizes == [1000] * 10 + [496]
    place = other.locate_dataset_file("d1", "images.npy")
    assert place.read_bytes() == data
    os.utime(place, (0, 0))
    other.bucket.delete([dataset_file(other)])
    assert other.locate_dataset_file("d1", "images.npy") == place
    assert time.time() - place.stat().st_mtime < 60


def test_a_damaged_large_file_is_an_error_and_not_kept(store, tmp_path, monkeypatch):
    """Seen at its last part: what came before it is not left as the file."""
    monkeypatch.setattr("sweep.bucket.PART_BYTES", 1000)
    store.publish_dataset("d1", {"images.npy": b"pixels" * 1000}, CARD)
    other = elsewhere(store, tmp_path)
    damage(store.bucket, dataset_file(store))
    with pytest.raises(CorruptError, match="got 6000 damaged bytes"):
        other.locate_dataset_file("d1", "images.npy")
    assert [path for path in other.cache.root.rglob("*") if path.is_file()] == []
    assert other.verify_dataset("d1") == ["images.npy"]
    store.bucket.delete([dataset_file(store)])
    with pytest.raises(CorruptError, match="got no file"):
        other.locate_dataset_file("d1", "images.npy")
    assert other.verify_dataset("d1") == ["images.npy"]


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
        "remains": "k3",
    }
    assert items.pop("remains").age_seconds < OLD_SECONDS
    assert len(items["node"].paths) == len(FILES) + 2
    for item in items.values():
        store.delete_item(item)
    assert [item.key for item in store.items()] == ["k3"]
    assert not store.has_node(KEY)
    assert [entry.path for entry in store.bucket.list("files/")] == [
        "files/nodes/k3/0-model.safetensors"
    ]


def test_a_store_travels_without_what_it_remembers(store):
    store.publish_node(KEY, FILES, RECORD)
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
    assert copy.has_node(KEY)
    assert b"testing" not in pickle.dumps(store)
