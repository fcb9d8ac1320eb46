"""Facts of what strangers may do: a store of theirs runs nothing, no sweep of ours is reached."""

import io
import ipaddress
import json
import os
import pickle
import re
import shutil
import socket
import struct
import sys
import zipfile
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from results_folder import rewrite
from running_sweep import Running, wait_for, write_sweep
from tiny_sweep import compute, make_sweep, plan_in

from analysis import __main__ as analysis_program
from model.checkpoint import Checkpoint
from sweep import __main__ as sweep_program
from sweep.lineage.datasets import ARRAYS, IMAGES, load_prepared
from sweep.results_folder import fill
from sweep.results_folder import write_sweep as write_record
from sweep.store.arrays import dump_array, dump_arrays, load_array
from sweep.store.folder import CorruptError, sha256
from sweep.store.store import open_store
from sweep.tensorboard import write_boards

PROGRAMS = {"sweep": sweep_program.main, "analysis": lambda: sys.exit(analysis_program.main())}
DEEP = b'{"a":' * 100_000
"""JSON that no parser of ours may follow to its end."""


class Bomb:
    """An object that makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Generator[Path]:
    """A file that must never come to be; that the bombs are live ones is shown first."""
    mark = tmp_path / "mark"
    for data in (pickled(mark), pickled_array(mark)):
        with io.BytesIO(data) as file:
            np.load(file, allow_pickle=True) if data[:1] == b"\x93" else pickle.load(file)  # noqa: S301
        assert mark.exists()
        mark.unlink()
    yield mark
    assert not mark.exists()


def pickled(mark: Path) -> bytes:
    return pickle.dumps(Bomb(mark))


def pickled_array(mark: Path) -> bytes:
    """An .npy file of objects."""
    file = io.BytesIO()
    np.save(file, np.array([Bomb(mark)], object), allow_pickle=True)
    return file.getvalue()


def pickled_arrays(mark: Path) -> bytes:
    """An .npz file of objects by every name that is read."""
    names = ("images", "labels", "train", "reference", "validation", "step", "loss")
    return dump_arrays(**dict.fromkeys(names, np.array([Bomb(mark)], object)))


def huge_array(mark: Path) -> bytes:
    """An .npy file of a few bytes that says it holds a million gigabytes."""
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**9)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def npz(npy: bytes, **changes: int) -> bytes:
    """An .npz file with one file by every name that is read, its flags perhaps changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("images", "labels", "train", "reference", "validation", "step", "loss"):
            archive.writestr(f"{name}.npy", npy)
    data = bytearray(file.getvalue())
    if "flag" in changes:  # bit 0 of the flags of each entry, behind its signature and versions
        for at in [m.start() for m in re.finditer(b"PK\x03\x04", data)]:
            data[at + 6] |= changes["flag"]
        for at in [m.start() for m in re.finditer(b"PK\x01\x02", data)]:
            data[at + 8] |= changes["flag"]
    return bytes(data)


def npy(header: bytes) -> bytes:
    """An .npy file with a header of one's own."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def tensors(header: bytes, length: int | None = None) -> bytes:
    """A safetensors file with a header of one's own."""
    return struct.pack("<Q", len(header) if length is None else length) + header


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "pickle": pickled,
    "objects.npy": pickled_array,
    "objects.npz": pickled_arrays,
    "huge.npy": huge_array,
    "endless.npz": lambda _: npz(
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d,)}\n" % 10**30)
    ),
    "open header.npz": lambda _: npz(npy(b"{'descr': '<f4', 'shape': (1,\n")),
    "encrypted.npz": lambda _: npz(npy(b""), flag=1),
    "deep header": lambda _: tensors(DEEP),
    "endless header": lambda _: tensors(b"{}", length=2**62),
    "tensor beyond the file": lambda _: tensors(
        b'{"images":{"dtype":"F32","shape":[9],"data_offsets":[0,999999999]}}'
    ),
    "settings of no use": lambda _: tensors(b'{"__metadata__":{"settings":"[1]"}}'),
    "deep settings": lambda _: tensors(
        json.dumps({"__metadata__": {"settings": DEEP.decode()}}).encode()
    ),
    "empty": lambda _: b"",
}


@pytest.fixture(params=HOSTILE)
def hostile(request, mark) -> bytes:
    return HOSTILE[request.param](mark)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A sweep that is done."""
    out = tmp_path_factory.mktemp("finished") / "out"
    store = open_store(out)
    sweep = make_sweep()
    lineages = plan_in(sweep, store)
    write_record(out, sweep, "sweep run tiny.toml --out out")
    compute(lineages[0].config, store)
    fill(out, lineages, store)
    return out


def strangers(finished: Path, folder: Path) -> Path:
    """A copy of the sweep, to be changed."""
    return Path(shutil.copytree(finished, folder / "out"))


def put(path: Path, data: bytes) -> None:
    """Put a file in place of a published one, with a record that agrees."""
    path.write_bytes(data)
    index = next(p for p in path.parent.iterdir() if p.name in ("record.json", "card.json"))
    files = json.loads(index.read_text())["files"]
    rewrite(index, files={**files, path.name: sha256(data)})


def one(out: Path, pattern: str) -> Path:
    return min(out.glob(pattern))


def test_a_strangers_checkpoint_is_an_error(hostile) -> None:
    """It names its source."""
    with pytest.raises(ValueError, match="stranger must be a complete checkpoint of ours"):
        Checkpoint.from_bytes(hostile, source="stranger")


def test_a_strangers_block_is_none(hostile) -> None:
    """So that it is drawn again."""
    assert load_array(hostile) is None
    assert load_array(dump_array(np.zeros(3))) is not None


@pytest.mark.parametrize("name", [IMAGES, ARRAYS])
def test_a_strangers_data_set_is_an_error(name, hostile, finished, tmp_path) -> None:
    """Though its checksums are right."""
    out = strangers(finished, tmp_path)
    put(one(out, f"datasets/*/{name}"), hostile)
    store = open_store(out)
    card = store.datasets.read(one(out, "datasets/*").name)
    with pytest.raises(CorruptError, match=rf"{name}.* must hold plain arrays"):
        load_prepared(card, store)


def test_strange_curves_are_an_error(hostile, finished, tmp_path) -> None:
    """When TensorBoard's files are written."""
    out = strangers(finished, tmp_path)
    put(one(out, "generations/*/curves.npz"), hostile)
    store = open_store(out)
    with pytest.raises(CorruptError, match=r"curves\.npz must hold plain arrays"):
        write_boards(out, fill(out, plan_in(make_sweep(), store), store))


STRANGE_RECORDS = {
    "deep": DEEP,
    "a list": b"[]",
    "empty": b"",
    "a pickle": pickle.dumps({"key": 1}),
    "an endless number": b'{"key": ' + b"9" * 10_000 + b"}",
    "another key": b'{"schema": 1, "key": "../../../etc"}',
}


@pytest.mark.parametrize("command", ["sweep status", "analysis table"])
@pytest.mark.parametrize(
    "pattern",
    ["generations/*/record.json", "lineages/*.json", "sweep.json", "datasets/*/card.json"],
)
@pytest.mark.parametrize("data", STRANGE_RECORDS.values(), ids=STRANGE_RECORDS)
def test_a_strange_record_is_a_line(
    command, pattern, data, finished, tmp_path, monkeypatch, capsys
) -> None:
    """Or is not looked at; it never ends in a traceback."""
    out = strangers(finished, tmp_path)
    one(out, pattern).write_bytes(data)
    program, action = command.split()
    monkeypatch.setattr("sys.argv", [program, action, str(out)])
    with pytest.raises(SystemExit) as end:
        PROGRAMS[program]()
    printed = capsys.readouterr()
    assert end.value.code == 0 or printed.err.count("\n") == 1, printed.err


@pytest.mark.parametrize("name", ["../../../evil", "/evil", "a/b", ""])
def test_a_name_that_leaves_its_folder_is_refused(name, finished, tmp_path) -> None:
    """Whether a record calls a file so, or its key."""
    out = strangers(finished, tmp_path)
    path = one(out, "generations/*/record.json")
    rewrite(path, files={name: "0" * 64})
    store = open_store(out)
    for read in (store.nodes.read_file, store.nodes.has_file):
        with pytest.raises(ValueError, match="must be letters, digits"):
            read(path.parent.name, name)
    for ask in (store.nodes.has, store.claims.take, store.drop_scratch):
        with pytest.raises(ValueError, match="must be letters, digits"):
            ask(name)


def listening(pids: set[int]) -> set[str]:
    """Addresses on which the processes wait for connections by TCP, loopback's left out."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                inodes.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
    found = set()
    tables = {"tcp": socket.AF_INET, "tcp6": socket.AF_INET6}
    for path, family in ((Path("/proc/net") / name, each) for name, each in tables.items()):
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            _, local, _, state, *rest = line.split()
            if state != "0A" or rest[5] not in inodes:  # 0A: listening
                continue
            words = local.split(":")[0]
            raw = b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8))
            found.add(socket.inet_ntop(family, raw))
    return {address for address in found if not is_loopback(address)}


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own, also one of IPv4 written in IPv6."""
    known = ipaddress.ip_address(address)
    inner = known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None
    return (inner or known).is_loopback


def test_one_that_listens_to_all_is_seen() -> None:
    """The next test would see it."""
    assert listening({os.getpid()}) == set()
    with socket.create_server(("127.0.0.1", 0)):
        assert listening({os.getpid()}) == set()
    with socket.create_server(("0.0.0.0", 0)):  # noqa: S104 - the point
        assert listening({os.getpid()}) == {"0.0.0.0"}  # noqa: S104 - the point
    if not Path("/proc/net/tcp6").exists():
        pytest.skip("a machine without IPv6")
    with socket.create_server(("::", 0), family=socket.AF_INET6):
        assert listening({os.getpid()}) == {"::"}


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_on_one_machine_is_reached_from_nowhere_else(tmp_path) -> None:
    """None of its processes, Ray's among them, listens on anything but loopback."""
    write_sweep(tmp_path, base__train__steps=3000)
    with Running(out=tmp_path / "out", words=("tiny.toml",)) as run:
        wait_for(lambda: run.training(1, saved_step=1), "a training")
        processes = run.processes()
        assert any("gcs_server" in command for command in processes.values())
        assert any("raylet" in command for command in processes.values())
        assert listening(set(processes)) == set()
