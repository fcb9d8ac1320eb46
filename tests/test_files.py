"""Facts of a disk that refuses: one sentence each, and nothing half written."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_store import FILES, KEY, RECORD, claimed

from sweep.files import StoreError
from sweep.local_store import LocalStore


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 256 KiB of room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the mount command")
    if done.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_publishes_nothing(tiny_disk):
    store = LocalStore(tiny_disk)
    with pytest.raises(StoreError, match="a1 must have room for more files, got a full disk; free"):
        store.publish_node(KEY, {"model.safetensors": bytes(2**20)}, RECORD)
    with pytest.raises(StoreError, match="must have room for more files"):
        store.save_scratch(KEY, "train", bytes(2**20))
    with pytest.raises(StoreError, match="must have room for more files"):
        store.write_block("s1", 0, np.zeros((1, 1, 1024, 1024), np.uint8))
    assert not store.has_node(KEY)
    assert [path for path in tiny_disk.rglob("*") if path.is_file()] == []


def test_a_read_only_disk_can_be_read_and_refuses_writing_in_one_sentence(tiny_disk):
    store = LocalStore(tiny_disk)
    store.publish_node(KEY, FILES, RECORD)
    claim = claimed(store, "b2")
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    assert store.read_file(KEY, "pool.json") == b"{}"
    assert store.read_claims()["b2"].owner == claim.owner
    with pytest.raises(StoreError, match="must be writable, got a read-only file system; choose"):
        store.publish_node("b2", FILES, replace(RECORD, key="b2"))
    with pytest.raises(StoreError, match="must be writable, got a read-only file system; choose"):
        store.claim("c3")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path):
    store = LocalStore(tmp_path / "store")
    store.root.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="must be readable and writable, got 'permission denied'"):
        store.publish_node(KEY, FILES, RECORD)


def test_a_file_in_the_place_of_the_store_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="must be inside folders only, got a file in their place"):
        LocalStore(tmp_path / "file").publish_node(KEY, FILES, RECORD)
