"""Facts of a disk, a process or a machine that refuses: one sentence each, and nothing is lost."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_store import CARD, FILES, KEY, RECORD, claimed, paths

from model.errors import OneLineError
from sweep.files import read_json
from sweep.store.arrays import map_array
from sweep.store.folder import CorruptError, StoreError
from sweep.store.store import Store, open_store

ROOT = Path(__file__).parents[1]
NOBODY = 65534
LARGE = 64 * 2**20
"""Bytes of what does not fit into what no_memory leaves."""


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
    store = open_store(tiny_disk)
    with pytest.raises(
        StoreError, match=f"{KEY} must have room for more files, got a full disk; free"
    ):
        store.nodes.publish(KEY, {"model.safetensors": bytes(2**20)}, RECORD)
    with pytest.raises(StoreError, match="must have room for more files"):
        store.save_scratch(KEY, "train", bytes(2**20))
    with pytest.raises(StoreError, match="must have room for more files"):
        store.write_block("s1", 0, np.zeros((1, 1, 1024, 1024), np.uint8))
    assert not store.nodes.has(KEY)
    assert [path for path in tiny_disk.rglob("*") if path.is_file()] == []


def test_a_read_only_disk_can_be_read_and_refuses_writing_in_one_sentence(tiny_disk):
    store = open_store(tiny_disk)
    store.nodes.publish(KEY, FILES, RECORD)
    claim = claimed(store, "b2")
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    assert store.nodes.read_file(KEY, "pool.json") == b"{}"
    assert store.claims.read()["b2"].owner == claim.owner
    with pytest.raises(StoreError, match="must be writable, got a read-only file system; choose"):
        store.nodes.publish("b2", FILES, replace(RECORD, key="b2"))
    with pytest.raises(StoreError, match="must be writable, got a read-only file system; choose"):
        store.claims.take("c3")


def test_a_folder_without_permission_is_one_sentence(open_folder):
    store = open_store(open_folder / "store")
    (open_folder / "store").mkdir(mode=0o500)
    with (
        no_permission(),
        pytest.raises(StoreError, match="must be readable and writable, got 'permission denied'"),
    ):
        store.nodes.publish(KEY, FILES, RECORD)


def test_a_file_in_the_place_of_the_store_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="must be inside folders, got a file in place of a folder"):
        open_store(tmp_path / "file").nodes.publish(KEY, FILES, RECORD)


@contextmanager
def no_descriptors() -> Generator[None]:
    """No file can be opened by this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_memory(size: int = LARGE // 2) -> Generator[None]:
    """This process gets half as much memory as a large file needs, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    num_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = num_pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def no_permission() -> Generator[None]:
    """This process is nobody, where it was root, for whom permissions mean nothing."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def open_folder() -> Generator[Path]:
    """A folder that nobody may enter too, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


SHORTAGES: dict[str, tuple[Callable[[], AbstractContextManager[None]], str, type]] = {
    "ENOMEM": (no_memory, "must fit into memory, got no memory left", MemoryError),
    "EMFILE": (no_descriptors, "must be opened, got too many open files", OSError),
    "EACCES": (no_permission, "must be readable and writable, got 'permission denied'", OSError),
}

READS: dict[str, Callable[[Store], object]] = {
    "block": lambda store: store.read_block("s1", 0),
    "node file": lambda store: store.nodes.read_file(KEY, "model.safetensors"),
    "look for damage": lambda store: store.nodes.damaged_files(KEY),
    "withdrawal": lambda store: store.nodes.withdraw(KEY),
    "data set": lambda store: store.datasets.locate("d1", "images.npy"),
    "record": lambda store: store.nodes.read(KEY),
    "claim": lambda store: store.claims.take(KEY),
    "claims": lambda store: store.claims.read(),
    "checkpoint": lambda store: store.load_scratch(KEY, "state"),
}

FITTING = {"look for damage", "withdrawal", "data set", "record", "claim", "claims"}
"""Reads that need little memory, whatever the size of a file."""


@pytest.mark.parametrize(
    ("shortage", "read"),
    [(s, r) for s in SHORTAGES for r in READS if not (s == "ENOMEM" and r in FITTING)],
)
def test_a_shortage_is_called_by_its_name_and_never_damage(shortage, read, open_folder):
    """So nothing is deleted, put aside or computed again, and it is read when there is enough."""
    store, size = open_store(open_folder / "store"), LARGE if shortage == "ENOMEM" else 100
    store.nodes.publish(KEY, {"model.safetensors": bytes(size)}, RECORD)
    store.datasets.publish("d1", {"images.npy": b"pixels"}, CARD)
    store.write_block("s1", 0, np.zeros(size, np.uint8))
    store.save_scratch(KEY, "state", bytes(size))
    claimed(store)
    READS[read](store)  # imports what it needs
    before = paths(store)
    for path in before:
        (Path(store.location) / path).chmod(0)
    (Path(store.location) / "claims" / KEY).chmod(0)
    context, message, cause = SHORTAGES[shortage]
    with context(), pytest.raises(StoreError, match=message) as error:
        READS[read](store)
    assert not isinstance(error.value, CorruptError)
    assert isinstance(error.value.__cause__, cause)
    for path in before:
        (Path(store.location) / path).chmod(0o600)
    (Path(store.location) / "claims" / KEY).chmod(0o700)
    assert paths(store) == before
    READS[read](store)


LOAD = """
import sys

sys.path.insert(0, "tests")
from test_files import KEY, LARGE, no_memory

from sweep.store.folder import StoreError
from sweep.store.store import open_store

store = open_store(sys.argv[1])
try:
    with no_memory(LARGE * 3 // 2):
        store.load_scratch(KEY, "state")
except StoreError as error:
    print(error)
"""


def test_a_checkpoint_that_fits_into_memory_only_once_is_not_damage(open_folder):
    """Its content is a copy of a part of the file. A new process has no freed memory to use."""
    store = open_store(open_folder / "store")
    store.save_scratch(KEY, "state", bytes(LARGE))
    before = paths(store)
    command = [sys.executable, "-c", LOAD, store.location]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "must fit into memory" in done.stdout
    assert paths(store) == before
    assert store.load_scratch(KEY, "state") == bytes(LARGE)


@pytest.mark.parametrize("shortage", ["EMFILE", "EACCES"])
def test_a_shortage_while_an_array_is_mapped_is_not_damage(shortage, open_folder):
    np.save(open_folder / "images.npy", np.zeros(3))
    map_array(open_folder / "images.npy")
    (open_folder / "images.npy").chmod(0)
    context, message, _ = SHORTAGES[shortage]
    with context(), pytest.raises(StoreError, match=message) as error:
        map_array(open_folder / "images.npy")
    assert not isinstance(error.value, CorruptError)


@pytest.mark.parametrize(
    ("shortage", "message"), [("EMFILE", "Too many open files"), ("EACCES", "Permission denied")]
)
def test_a_results_file_that_cannot_be_opened_is_not_called_damaged(shortage, message, open_folder):
    path = open_folder / "sweep.json"
    path.write_bytes(b"{}")
    path.chmod(0)
    with SHORTAGES[shortage][0](), pytest.raises(OneLineError, match=f"readable, got '{message}'"):
        read_json(path)
