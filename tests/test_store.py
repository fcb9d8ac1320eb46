"""Facts of the store: published whole or not at all, first one wins, damage is seen when read."""

import multiprocessing
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweep.claims import Claim
from sweep.files import CorruptError
from sweep.local_store import LocalStore
from sweep.records import DatasetCard, MetricsRecord, NodeRecord, RecordError
from sweep.store import Store

SPAWN = multiprocessing.get_context("spawn")
KEY = "a1"
FILES = {"model.safetensors": b"weights", "pool.json": b"{}"}
RECORD = NodeRecord(
    key=KEY,
    status="done",
    seed=0,
    generation=1,
    member=0,
    family="gaussian",
    num_images=8,
    origins={"0": 8},
    num_steps=3,
    images_seen=24,
    views_per_image=3.0,
    ema_init_left=0.5,
    final_loss=0.25,
    seconds=1.0,
    images_per_second=24.0,
    device="cpu",
    num_threads=1,
    precision="fp32",
    weights_sha256="0",
    files={},
)
CARD = DatasetCard(
    key="d1",
    fingerprint="f",
    name="digits",
    shape=[1, 8, 8],
    dtype="uint8",
    class_names=[],
    num_train=8,
    num_reference=2,
    num_validation=0,
)
METRICS = MetricsRecord(
    spec={}, values={"kid": 0.5}, num_images=8, num_reference=8, stream="s1", images_sha256="0"
)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def published(store: LocalStore) -> LocalStore:
    store.publish_node(KEY, FILES, RECORD)
    return store


def claimed(store: Store, key: str = KEY) -> Claim:
    claim = store.claim(key)
    assert claim is not None
    return claim


def flip_bit(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def one_file(folder: Path, pattern: str) -> Path:
    (path,) = folder.rglob(pattern)
    return path


def work_on(root: Path, first: int, num_keys: int) -> int:
    """Claim, compute and publish every key that is not done; how many this process published."""
    store = LocalStore(root)
    missing = [f"k{(first + i) % num_keys}" for i in range(num_keys)]
    num_published = 0
    while missing:
        for key in list(missing):
            claim = None if store.has_node(key) else store.claim(key)
            if claim is not None:
                with claim:
                    if not store.has_node(key):
                        with (root / "computed").open("a") as log:
                            log.write(f"{key}\n")
                        record = replace(RECORD, key=key)
                        num_published += store.publish_node(key, FILES, record)
            if store.has_node(key):
                missing.remove(key)
        time.sleep(0.001)
    return num_published


def publish_slowly(root: Path) -> None:
    LocalStore(root).publish_node(KEY, {f"{i}.bin": b"x" * 1000 for i in range(20000)}, RECORD)


def test_eight_processes_publish_each_of_twenty_keys_once_and_whole(tmp_path):
    with SPAWN.Pool(8) as pool:
        counts = pool.starmap(work_on, [(tmp_path, 3 * i, 20) for i in range(8)], chunksize=1)
    keys = {f"k{i}" for i in range(20)}
    store = LocalStore(tmp_path)
    assert sum(counts) == 20
    assert {path.name for path in (tmp_path / "generations").iterdir()} == keys
    assert [store.verify_node(key) for key in keys] == [[]] * 20
    assert sorted((tmp_path / "computed").read_text().split()) == sorted(keys)  # claims save work
    assert list((tmp_path / "work").iterdir()) == []


def test_a_process_killed_while_publishing_leaves_nothing_published(tmp_path):
    """What it leaves in work/ goes with the scratch."""
    process = SPAWN.Process(target=publish_slowly, args=(tmp_path,))
    process.start()
    while not list(tmp_path.glob("work/a1/*/publish-*/*.bin")):
        time.sleep(0.001)
    process.kill()
    process.join()
    store = LocalStore(tmp_path)
    assert list(tmp_path.glob("work/a1/*/publish-*/*.bin")) != []
    assert not (tmp_path / "generations" / KEY).exists()
    assert store.publish_node(KEY, FILES, RECORD)
    store.drop_scratch(KEY)
    assert list((tmp_path / "work").iterdir()) == []


def test_local_store_is_a_store(store):
    as_protocol: Store = store  # what the type checker compares
    assert as_protocol is store


def test_a_store_can_be_pickled(published):
    assert pickle.loads(pickle.dumps(published)).has_node(KEY)  # noqa: S301 - our own bytes


def test_a_store_of_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    """Ray changes a trial's working directory."""
    monkeypatch.chdir(tmp_path)
    store = LocalStore("out")
    monkeypatch.chdir("/")
    assert store.root == tmp_path / "out"


def test_making_a_store_writes_nothing(store):
    assert not store.has_node(KEY)
    assert store.read_claims() == {}
    assert not store.root.exists()


def test_a_published_node_reads_as_it_was_written(published):
    assert {name: published.read_file(KEY, name) for name in FILES} == FILES


def test_the_record_holds_the_sha256_of_every_file(published):
    """SHA-256 of the bytes "{}" by coreutils' sha256sum."""
    expected = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    record = published.read_node(KEY)
    assert record.files["pool.json"] == expected
    assert replace(record, files={}) == RECORD


def test_the_second_to_publish_loses_and_readers_see_the_first(published):
    assert not published.publish_node(KEY, {"model.safetensors": b"other"}, RECORD)
    assert published.read_file(KEY, "model.safetensors") == b"weights"
    assert list((published.root / "work").rglob("*")) == []


def test_a_record_of_another_key_is_not_published(store):
    with pytest.raises(ValueError, match=r"record.key must be 'b2', got 'a1'"):
        store.publish_node("b2", FILES, RECORD)


def test_a_file_in_the_place_of_the_record_is_refused(store):
    with pytest.raises(ValueError, match=r"files must leave record.json to the record"):
        store.publish_node(KEY, {"record.json": b"{}"}, RECORD)


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "a\n"])
def test_a_key_that_could_leave_the_store_is_refused(store, name):
    with pytest.raises(ValueError, match="a key or file name must be letters"):
        store.has_node(name)


def test_a_missing_node_is_one_sentence(store):
    with pytest.raises(FileNotFoundError, match="must exist, got no published 'a1'; run"):
        store.read_node(KEY)


def test_a_file_the_record_does_not_have_is_one_sentence(published):
    with pytest.raises(FileNotFoundError, match=r"must be one of .*, pool.json, got 'x'"):
        published.read_file(KEY, "x")


def test_a_flipped_bit_in_a_file_is_corrupt(published):
    flip_bit(one_file(published.root, "model.safetensors"), 3)
    with pytest.raises(CorruptError, match=r"model.safetensors must have the SHA-256 .*; delete"):
        published.read_file(KEY, "model.safetensors")
    assert published.verify_node(KEY) == ["model.safetensors"]


def test_a_deleted_file_is_corrupt(published):
    one_file(published.root, "pool.json").unlink()
    with pytest.raises(CorruptError, match=r"pool.json must have the SHA-256 .*, got no file"):
        published.read_file(KEY, "pool.json")


def test_a_truncated_record_is_corrupt(published):
    path = one_file(published.root, "record.json")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptError, match=r"record.json must be a whole JSON file"):
        published.read_node(KEY)
    assert published.verify_node(KEY) == ["record.json"]


def test_a_record_copied_from_another_node_is_corrupt(published):
    folder = published.root / "generations"
    (folder / KEY).rename(folder / "b2")
    with pytest.raises(CorruptError, match=r"must be the record of b2, got 'a1'"):
        published.read_node("b2")


def test_a_record_of_another_schema_is_not_taken_for_damage(published):
    """A newer program's results must not be thrown away."""
    path = one_file(published.root, "record.json")
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))
    with pytest.raises(RecordError, match="must have schema version 1, got 99"):
        published.quarantine_node(KEY)


def test_a_quarantined_node_is_missing_and_kept_for_inspection(published):
    flip_bit(one_file(published.root, "pool.json"), 0)
    assert published.quarantine_node(KEY)
    assert not published.has_node(KEY)
    assert len(list(published.root.glob("work/corrupt-a1-*/record.json"))) == 1
    assert published.publish_node(KEY, FILES, RECORD)


def test_a_whole_node_is_not_quarantined(published):
    assert not published.quarantine_node(KEY)
    assert published.has_node(KEY)


@pytest.mark.parametrize("remains", [[], ["model.safetensors"], ["metrics/m.json"]])
def test_a_folder_without_record_is_not_done_and_is_replaced(store, remains):
    """A crashed file server can leave one; somebody may have deleted a damaged record."""
    folder = store.root / "generations" / KEY
    folder.mkdir(parents=True)
    for name in remains:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    assert not store.has_node(KEY)
    assert store.publish_node(KEY, FILES, RECORD)
    assert store.verify_node(KEY) == []


def test_a_file_in_the_place_of_a_node_is_replaced(store):
    (store.root / "generations").mkdir(parents=True)
    (store.root / "generations" / KEY).write_bytes(b"")
    assert store.publish_node(KEY, FILES, RECORD)


def test_a_data_set_reads_as_it_was_published(store):
    assert store.publish_dataset("d1", {"images.npy": b"i"}, CARD)
    assert not store.publish_dataset("d1", {"images.npy": b"j"}, CARD)
    assert store.has_dataset("d1")
    assert store.read_dataset_file("d1", "images.npy") == b"i"
    assert replace(store.read_card("d1"), files={}) == CARD


def test_a_damaged_data_set_is_seen_and_moved_away(store):
    store.publish_dataset("d1", {"images.npy": b"i"}, CARD)
    flip_bit(one_file(store.root, "images.npy"), 0)
    assert store.verify_dataset("d1") == ["images.npy"]
    assert store.quarantine_dataset("d1")
    assert not store.has_dataset("d1")


def test_metrics_read_as_they_were_written(published):
    published.write_metrics(KEY, "m1", METRICS)
    assert published.read_metrics(KEY, "m1") == METRICS
    assert published.read_metrics(KEY, "m2") is None
    assert published.verify_node(KEY) == []


def test_metrics_of_a_node_that_is_not_done_are_refused(store):
    with pytest.raises(FileNotFoundError, match="must belong to a done node, got 'a1'"):
        store.write_metrics(KEY, "m1", METRICS)


def test_truncated_metrics_are_corrupt(published):
    published.write_metrics(KEY, "m1", METRICS)
    one_file(published.root, "m1.json").write_text("{")
    with pytest.raises(CorruptError, match=r"m1.json must be a whole JSON file"):
        published.read_metrics(KEY, "m1")


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_block_reads_as_it_was_written(store, dtype):
    images = np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).astype(dtype)
    assert store.write_block("s1", 7, images.transpose(0, 1, 3, 2))
    block = store.read_block("s1", 7)
    assert block.dtype == images.dtype
    np.testing.assert_array_equal(block, images.transpose(0, 1, 3, 2))
    assert (store.root / "streams" / "s1" / "000007.safetensors").exists()


def test_the_second_to_write_a_block_loses(store):
    assert store.write_block("s1", 0, np.zeros((1, 1, 2, 2), np.uint8))
    assert not store.write_block("s1", 0, np.ones((1, 1, 2, 2), np.uint8))
    assert store.read_block("s1", 0).max() == 0


def test_a_missing_block_is_one_sentence(store):
    with pytest.raises(FileNotFoundError, match=r"0.safetensors must exist, got no such block"):
        store.read_block("s1", 0)


def test_a_flipped_bit_anywhere_in_a_block_is_corrupt(store):
    images = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)
    store.write_block("s1", 0, images)
    path = one_file(store.root, "*.safetensors")
    whole = path.read_bytes()
    for offset in range(len(whole)):
        flip_bit(path, offset)
        with pytest.raises(CorruptError, match="must hold the images it was written with"):
            store.read_block("s1", 0)
        path.write_bytes(whole)
    np.testing.assert_array_equal(store.read_block("s1", 0), images)


@pytest.mark.parametrize("length", [0, 4, 40, -1])
def test_a_truncated_block_is_corrupt_until_it_is_discarded(store, length):
    images = np.zeros((1, 1, 2, 2), np.uint8)
    store.write_block("s1", 0, images)
    path = one_file(store.root, "*.safetensors")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CorruptError, match="damaged bytes; delete it and run"):
        store.read_block("s1", 0)
    store.discard_block("s1", 0)
    assert store.write_block("s1", 0, images)


def test_free_bytes_are_known_before_the_store_exists(store):
    assert store.free_bytes() > 0
