"""Facts of a store's blocks, checkpoints and items, in a folder and in a bucket alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bucket_store import elsewhere, store_of
from test_store import (
    CARD,
    FILES,
    KEY,
    METRICS,
    RECORD,
    SPAWN,
    SPEC,
    claimed,
    content,
    flip_bit,
    paths,
    record_path,
)

from sweep.store.folder import OLD_SECONDS, CorruptError, Folder
from sweep.store.store import Store, open_store

BLOCK = "streams/s1/000000.safetensors"
PIXELS = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path: Path, monkeypatch) -> Store:
    return store_of(request.param, tmp_path, monkeypatch)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_block_reads_as_it_was_written(store, dtype, tmp_path):
    images = np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).astype(dtype)
    assert store.write_block("s1", 7, images.transpose(0, 1, 3, 2))
    other = elsewhere(store, tmp_path)
    assert other.has_block("s1", 7)
    block = other.read_block("s1", 7)
    assert block.dtype == images.dtype
    np.testing.assert_array_equal(block, images.transpose(0, 1, 3, 2))
    assert paths(store) == ["streams/s1/000007.safetensors"]


def test_the_second_to_write_a_block_loses(store, tmp_path):
    assert store.write_block("s1", 0, PIXELS)
    assert not elsewhere(store, tmp_path).write_block("s1", 0, PIXELS + 1)
    np.testing.assert_array_equal(store.read_block("s1", 0), PIXELS)


def test_a_missing_block_is_one_sentence(store):
    assert not store.has_block("s1", 0)
    with pytest.raises(FileNotFoundError, match=r"0.safetensors must exist, got no such block"):
        store.read_block("s1", 0)


def test_a_flipped_bit_anywhere_in_a_block_is_corrupt(store, tmp_path):
    store.write_block("s1", 0, PIXELS)
    whole = content(store, BLOCK)
    for offset in range(len(whole)):
        flip_bit(store, BLOCK, offset)
        with pytest.raises(CorruptError, match="must hold the array that was written"):
            elsewhere(store, tmp_path).read_block("s1", 0)
        store.files.write(BLOCK, whole)
    np.testing.assert_array_equal(store.read_block("s1", 0), PIXELS)


@pytest.mark.parametrize("length", [0, 4, 40, -1])
def test_a_truncated_block_is_corrupt_until_it_is_discarded(store, length, tmp_path):
    store.write_block("s1", 0, PIXELS)
    store.files.write(BLOCK, content(store, BLOCK)[:length])
    other = elsewhere(store, tmp_path)
    with pytest.raises(CorruptError, match="damaged bytes; delete it and run"):
        other.read_block("s1", 0)
    other.discard_block("s1", 0)
    assert other.write_block("s1", 0, PIXELS)


def test_free_bytes_are_known_before_the_store_exists(tmp_path):
    assert (open_store(tmp_path / "store").files.free_bytes() or 0) > 0


def test_the_newest_whole_checkpoint_of_any_owner_is_loaded(store, tmp_path):
    other = elsewhere(store, tmp_path)
    for step in range(4):
        (store if step % 2 else other).save_scratch(KEY, "train", b"step %d" % step)
    kept = paths(store)
    assert len(kept) == 2
    assert other.load_scratch(KEY, "train") == b"step 3"
    store.files.write(kept[-1], content(store, kept[-1])[:-1])
    assert other.load_scratch(KEY, "train") == b"step 2"
    store.save_scratch(KEY, "train", b"newer")
    assert other.load_scratch(KEY, "train") == b"newer"
    other.drop_scratch(KEY)
    assert store.load_scratch(KEY, "train") is None


def test_scratch_of_different_names_and_nodes_is_apart(store):
    store.save_scratch(KEY, "train", b"a")
    store.save_scratch(KEY, "train.more", b"b")
    store.save_scratch("b2", "train", b"c")
    assert store.load_scratch(KEY, "train") == b"a"
    assert store.load_scratch("b2", "train.more") is None


def test_scratch_with_a_flipped_bit_anywhere_is_not_loaded(store):
    store.save_scratch(KEY, "train", b"data")
    (path,) = paths(store)
    whole = content(store, path)
    for offset in range(len(whole)):
        store.files.write(path, whole)
        flip_bit(store, path, offset)
        assert store.load_scratch(KEY, "train") is None


def test_scratch_of_a_dead_owner_is_found_by_the_next(tmp_path):
    store = open_store(tmp_path)
    process = SPAWN.Process(target=store.save_scratch, args=(KEY, "train", b"theirs"))
    process.start()
    process.join()
    assert store.load_scratch(KEY, "train") == b"theirs"
    store.save_scratch(KEY, "train", b"ours")
    assert store.load_scratch(KEY, "train") == b"ours"


def test_dropping_scratch_keeps_the_claim(store):
    store.save_scratch(KEY, "train", b"data")
    with claimed(store) as claim:
        store.drop_scratch(KEY)
        claim.heartbeat()
        assert store.load_scratch(KEY, "train") is None


def test_its_items_are_listed_whole_and_deleted(store):
    """A node is its record, files and numbers; claims and notes are no items."""
    stream, other, unnamed = (digit * 64 for digit in "123")
    store.nodes.publish(KEY, FILES, RECORD)
    store.write_metrics(KEY, SPEC, METRICS)
    card = replace(CARD, key="d1" * 8)
    store.datasets.publish(card.key, {"images.npy": b"pixels"}, card)
    store.write_block(stream, 0, np.zeros(3))
    store.save_scratch(other, "state", b"state")
    unfinished = store.files.file_path("nodes", unnamed, "model.safetensors", "0" * 16)
    store.files.write(unfinished, b"being uploaded")
    store.files.write("notes.txt", b"foreign")
    with claimed(store):
        items = {item.kind: item for item in store.items()}
    assert {kind: item.key for kind, item in items.items()} == {
        "node": KEY,
        "dataset": card.key,
        "streams": stream,
        "scratch": other,
        "remains": unnamed,
    }
    assert items.pop("remains").age_seconds < OLD_SECONDS
    assert len(items["node"].paths) == len(FILES) + 2
    assert items["node"].paths[0] == record_path(store)
    for item in items.values():
        store.delete_item(item)
    assert [item.key for item in store.items()] == [unnamed]
    assert not store.nodes.has(KEY)
    assert [p for p in paths(store) if not p.startswith("claims/")] == [unfinished, "notes.txt"]


def test_what_is_removed_in_a_folder_takes_its_empty_folders_along(tmp_path):
    files = Folder(tmp_path)
    files.write("streams/s1/a/b", b"")
    files.write("top", b"")
    files.delete(["streams/s1/a/b", "streams/s1/none", "top"])
    assert [path.name for path in tmp_path.iterdir()] == ["streams"]
    assert list((tmp_path / "streams").iterdir()) == []
