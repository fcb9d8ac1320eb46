"""Hostile .npz files: one line that names the file, in little time and memory."""

import io
import os
import random
import re
import resource
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import noise

from model.commands.evaluate import read_images, read_reference
from model.config import DataConfig
from model.data.datasets import dataset_key, describe, load_dataset
from model.data.reading import MAX_CLASSES
from model.errors import UsageError

IMAGES = noise(4, 8, 8)
MiB = 1 << 20


def npy(array: object, version: tuple[int, int] | None = None) -> bytes:
    """The bytes of an .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version=version)
    return file.getvalue()


def header(shape: str, dtype: str = "'|u1'", *, order: str = "False") -> bytes:
    """The start of an .npy file that claims a shape and a type."""
    text = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def write(path: Path, members: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)


def message_of(path: Path) -> str:
    """The error of a file, the same in a plan, in training and in `model evaluate`."""
    config = DataConfig(name="npz", path=str(path), split="all")
    messages = set()
    for read in (
        lambda: describe(config),
        lambda: load_dataset(config),
        lambda: read_images(path, flag="--images"),
        lambda: read_reference(path, None),
    ):
        with pytest.raises(UsageError) as error:
            read()
        messages.add(re.sub("0x[0-9a-f]+", "0x", str(error.value)))
    (message,) = messages
    assert "\n" not in message
    assert "delete" not in message
    assert len(message) < 500 + len(str(path))
    return message


FALSE_HEADERS: dict[str, bytes] = {
    "terabytes": header("(4, 1000000, 1000000)"),
    "more bytes than there are addresses": header(f"({10**30}, 8, 8)"),
    "no images of any size": header(f"(0, {10**30}, 8)") + bytes(8),
    "fewer bytes than there are": header("(2, 8, 8)") + bytes(256),
    "a negative side": header("(-4, 8, 8)"),
    "two negative sides": header("(-4, -8, 8)") + bytes(256),
    "a side that is no number": header("(4, True, 8)") + bytes(32),
    "nested tuples": header("(" * 900 + ")" * 900),
    "code": header("__import__('os').getpid()"),
    "a type that does not exist": header("(4, 8, 8)", "'|u3'") + bytes(256),
    "a type of no type": header("(4, 8, 8)", "[[[]]]") + bytes(256),
    "a version that does not exist": b"\x93NUMPY\x09\0" + header("(4, 8, 8)")[8:] + bytes(256),
    "a header of 4 GB": b"\x93NUMPY\x02\0\xff\xff\xff\xff" + b" " * 4000,
    "a header of 60 kB": b"\x93NUMPY\x02\0" + struct.pack("<I", 60_000) + b" " * 60_000,
    "nothing": b"",
    "half a magic number": b"\x93NUM",
    "a pickle": b"\x80\x04}.",
}


@pytest.mark.parametrize("name", FALSE_HEADERS)
@pytest.mark.parametrize("array", ["images", "labels", "class_names"])
def test_a_false_header_is_an_error(name: str, array: str, tmp_path: Path) -> None:
    """Whichever array has it."""
    path = tmp_path / "a.npz"
    whole = {"images.npy": npy(IMAGES), "labels.npy": npy([0, 1, 0, 1])}
    whole["class_names.npy"] = npy(["a", "b"])
    write(path, whole | {f"{array}.npy": FALSE_HEADERS[name]}, method=zipfile.ZIP_DEFLATED)
    assert f"{path} must " in message_of(path)


@pytest.mark.parametrize(
    ("array", "rule"),
    [
        (np.uint8(3), "images of {path} must be (N, C, H, W), (N, H, W, C) or (N, H, W) with N at"),
        (np.zeros((4, 8, 8), [("r", "u1"), ("g", "u1")]), "must be uint8 or float32, got \"[('r',"),
        (np.zeros((4, 8, 8), np.int8), "must be uint8 or float32, got 'int8'"),
        (np.zeros((4, 8, 8), ">f8"), "must be uint8 or float32, got 'float64'"),
        (np.zeros((4, 8, 8), "M8[s]"), "must be uint8 or float32, got 'datetime64[s]'"),
        (np.zeros((4, 8, 8), "V1"), "must be uint8 or float32, got '|V1'"),
        (np.zeros((1,) * 60, np.uint8), "must be (N, C, H, W), (N, H, W, C) or (N, H, W) with N"),
    ],
)
def test_images_of_another_kind_are_an_error(array: np.ndarray, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write(path, {"images.npy": npy(array)})
    assert rule.format(path=path) in message_of(path)


@pytest.mark.parametrize(
    ("labels", "rule"),
    [
        ([0.0, np.nan, 1.0, 0.0], "must be 4 integers, got 'float64 of shape (4,)'"),
        (np.int64(3), "must be 4 integers, got 'int64 of shape ()'"),
        ([[0, 1, 0, 1]], "must be 4 integers, got 'int64 of shape (1, 4)'"),
        ([True, False, True, False], "must be 4 integers, got 'bool of shape (4,)'"),
        (["0", "1", "0", "1"], "must be 4 integers, got '<U1 of shape (4,)'"),
        (np.zeros(4, [("a", "i4")]), "must be 4 integers, got \"[('a', '<i4')] of shape (4,)\""),
        (np.array([0, 1, 2**63, 0], np.uint64), f"below 100,000, got {2**63}; number the cl"),
        (np.array([0, 1, 2**64 - 1, 0], np.uint64), f"below 100,000, got {2**64 - 1}; number"),
        ([0, 10_000_000, 20_000_000, 1], "must be below 100,000, got 20000000; number the cl"),
        ([0, 1, MAX_CLASSES, 0], "must be below 100,000, got 100000; number the classes from"),
        ([0, 1, -(2**63), 0], f"must be at least 0, got -{2**63}"),
    ],
)
def test_labels_that_number_no_classes_are_an_error(
    labels: object, rule: str, tmp_path: Path
) -> None:
    """Memory does not grow with the largest."""
    path = tmp_path / "a.npz"
    write(path, {"images.npy": npy(IMAGES), "labels.npy": npy(labels)})
    message = message_of(path)
    assert message.startswith(f"labels of {path} must ")
    assert rule in message


def test_labels_with_gaps_are_an_error_of_training_alone(tmp_path: Path) -> None:
    """A reference may lack classes; memory does not grow with the largest label."""
    path = tmp_path / "a.npz"
    write(path, {"images.npy": npy(IMAGES), "labels.npy": npy([0, 1, 99_999, 0])})
    config = DataConfig(name="npz", path=str(path), split="all")
    with pytest.raises(UsageError, match=r"use each of the classes 0 to 99999, got \[0, 1, 9999"):
        describe(config)
    assert len(read_reference(path, None).real.class_names) == 100_000


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (np.str_("cat"), "must be strings, got '<U3 of shape ()'"),
        ([b"cat", b"dog"], "must be strings, got '|S3'"),
        ([["cat", "dog"]], "must be strings, got '<U3 of shape (1, 2)'"),
        (np.array(["cat", "dog"], object), "must be a whole .npz file without pickled objects"),
        (["cat"], "must be below the number of class_names (1), got 1"),
    ],
)
def test_class_names_of_another_kind_are_an_error(names: object, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    arrays = {"images": IMAGES, "labels": np.array([0, 1, 0, 1]), "class_names": names}
    np.savez(path, allow_pickle=True, **arrays)
    assert rule in message_of(path)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(version: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write(path, {"images.npy": npy(IMAGES, version), "labels.npy": npy([0, 1, 0, 1], version)})
    np.testing.assert_array_equal(read_images(path, flag="--images").images[:, 0], IMAGES)


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 3, 8, 8), (4, 8, 8, 3)])
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f4"])
def test_any_order_of_bytes_and_axes_gives_the_same_images(
    dtype: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    """Big-endian numbers, and Fortran's order of axes."""
    images, found = noise(*shape).astype(dtype), []
    for number, array in enumerate([images, np.asfortranarray(images)]):
        path = tmp_path / f"{number}.npz"
        np.savez(path, images=array)
        kind = "uint8" if dtype == "u1" else "float32"
        data = load_dataset(DataConfig(name="npz", path=str(path), split="all", dtype=kind))
        assert data.images.dtype == np.dtype(kind)
        np.testing.assert_array_equal(data.images, read_images(path, flag="--images").images)
        found.append(data.fingerprint)
    assert found[0] == found[1]


def encrypted(path: Path) -> None:
    """The flag alone, as an archive's directory has it."""
    write(path, {"images.npy": npy(IMAGES)})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)


def changed_directory(offset: int, value: int) -> Callable[[Path], None]:
    """An archive whose directory has another 32-bit number for its first member."""

    def spoil(path: Path) -> None:
        write(path, {"images.npy": npy(IMAGES)}, method=zipfile.ZIP_DEFLATED)
        content = bytearray(path.read_bytes())
        place = content.index(b"PK\1\2") + offset
        content[place : place + 4] = struct.pack("<I", value)
        path.write_bytes(content)

    return spoil


def bomb(path: Path) -> None:
    """Ten gigabytes of zeros, by the directory, in a few kilobytes."""
    size = 10 << 30
    write(path, {"images.npy": header(f"({size // 64}, 8, 8)")}, method=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)


def repeated(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", npy(IMAGES))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("images.npy", npy(255 - IMAGES))


def compressed_by(method: int) -> Callable[[Path], None]:
    return lambda path: write(path, {"images.npy": npy(IMAGES)}, method=method)


ARCHIVES: dict[str, tuple[Callable[[Path], object], str]] = {
    "encrypted": (encrypted, "is encrypted"),
    "repeated": (repeated, "must hold each array once, got 'images' several times"),
    "bzip2": (compressed_by(zipfile.ZIP_BZIP2), "compressed by another method than numpy's"),
    "lzma": (compressed_by(zipfile.ZIP_LZMA), "compressed by another method than numpy's"),
    "bomb": (bomb, "got a damaged one (images of 4,294,967,294 bytes in"),
    "false size": (changed_directory(24, 999), "got a damaged one (images of 999 bytes for the"),
    "false offset": (changed_directory(42, 2**31), "got a damaged one"),
    "size of zip64": (changed_directory(24, 2**32 - 1), "got a damaged one"),
    "no suffix": (lambda path: write(path, {"images": npy(IMAGES)}), "an array 'images', got "),
    "a path": (lambda path: write(path, {"../images.npy": b""}), "an array 'images', got ['../im"),
    "one array": (lambda path: path.write_bytes(npy(IMAGES)), "got a damaged one (File is not"),
    "many": (lambda path: write(path, {str(i) * 99: b"" for i in range(40)}), "an array 'images'"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_false_archive_is_an_error(name: str, tmp_path: Path) -> None:
    spoil, rule = ARCHIVES[name]
    path = tmp_path / "a.npz"
    spoil(path)
    message = message_of(path)
    assert rule in message
    assert message.startswith(f"{path} must ")


def test_any_damage_is_an_error_of_one_line(tmp_path: Path) -> None:
    """Or none that matters."""
    path, generator = tmp_path / "a.npz", random.Random(0)
    arrays: dict[str, Any] = {"labels": np.array([0, 1, 0, 1]), "class_names": ["cat", "dog"]}
    np.savez_compressed(path, images=IMAGES, **arrays)
    whole, messages, warned = path.read_bytes(), [], []
    for place in range(0, len(whole), 3):
        content = bytearray(whole)
        content[place] = generator.choice([0, 1, 127, 128, 255])
        path.write_bytes(content)
        try:
            read_images(path, flag="--images")
        except UsageError as error:
            messages.append(str(error))
        except UserWarning as warning:
            warned.append(str(warning))
    assert len(messages) > 100
    assert all("has arrays that are not read: " in text for text in warned)
    assert all("\n" not in text and str(path) in text for text in messages)


def test_a_true_bomb_is_an_error_where_memory_is_short(tmp_path: Path) -> None:
    """128 MiB of zeros in 128 KiB, in a process that may have half of it."""
    path, size = tmp_path / "a.npz", 128 * MiB
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("images.npy", "w") as member,
    ):
        start = header(f"({size // 64}, 8, 8)")
        for part in [start, *[bytes(16 * MiB)] * (size // (16 * MiB))]:
            member.write(part)
    pid = os.fork()
    if pid == 0:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + size // 2, used + size // 2))
        try:
            read_images(path, flag="--images")
        except UsageError as error:
            os._exit(0 if str(error) == f"{path} must fit in memory, got too little memory" else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("suffix", [".npz", ".NPZ", ""])
def test_a_named_pipe_is_no_file(suffix: str, tmp_path: Path) -> None:
    """It is not opened, which would wait for ever."""
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    config = DataConfig(name="npz", path=str(path), split="all")
    for read, name in (
        (lambda: load_dataset(config), "data.path"),
        (lambda: dataset_key(config), "data.path"),
        (lambda: read_images(path, flag="--images"), "--images"),
    ):
        with pytest.raises(UsageError) as error:
            read()
        wanted = f"{name} must be a file or folder, got {str(path)!r}, a named pipe"
        assert str(error.value) == wanted
