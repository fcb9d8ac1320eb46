"""Facts of scratch: the newest whole checkpoint of any owner is found."""

from pathlib import Path

import pytest
from test_store import KEY, SPAWN, claimed, flip_bit, one_file

from sweep.local_store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_the_newest_scratch_is_loaded_and_two_are_kept(store):
    for step in range(4):
        store.save_scratch(KEY, "train", b"step %d" % step)
    assert store.load_scratch(KEY, "train") == b"step 3"
    assert len(list(store.root.rglob("train.*"))) == 2


def test_scratch_of_different_names_and_nodes_is_apart(store):
    store.save_scratch(KEY, "train", b"a")
    store.save_scratch(KEY, "train.more", b"b")
    store.save_scratch("b2", "train", b"c")
    assert store.load_scratch(KEY, "train") == b"a"
    assert store.load_scratch("b2", "train.more") is None


def test_truncated_scratch_falls_back_to_the_one_before(store):
    store.save_scratch(KEY, "train", b"old")
    store.save_scratch(KEY, "train", b"new")
    newest = one_file(store.root, "train.000002")
    newest.write_bytes(newest.read_bytes()[:-1])
    assert store.load_scratch(KEY, "train") == b"old"
    store.save_scratch(KEY, "train", b"newer")
    assert store.load_scratch(KEY, "train") == b"newer"


def test_scratch_with_a_flipped_bit_anywhere_is_not_loaded(store):
    store.save_scratch(KEY, "train", b"data")
    path = one_file(store.root, "train.*")
    whole = path.read_bytes()
    for offset in range(len(whole)):
        path.write_bytes(whole)
        flip_bit(path, offset)
        assert store.load_scratch(KEY, "train") is None


def test_scratch_of_a_dead_owner_is_found_by_the_next(store):
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
    assert list((store.root / "work").iterdir()) == []
