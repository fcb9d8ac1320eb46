"""Bad images and files in data sets of `datasets` and torchvision: one line, as for a folder."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from image_files import avif, deep_png, encoded, noise, png_start, tiff
from PIL import Image
from test_torchvision_data import small_config

from model.config import DataConfig
from model.data.datasets import describe, load_dataset
from model.errors import UsageError

GOOD = encoded(noise(6, 6, 3), "PNG")
FRAMES = encoded(noise(6, 6, 3), "GIF", save_all=True, append_images=[Image.new("RGB", (6, 6))])


def saved(root: Path, rows: list[dict[str, Any] | None]) -> DataConfig:
    """Settings of a saved data set with these images, as they are stored."""
    hub = pytest.importorskip("datasets")
    hub.disable_progress_bars()
    kinds = {"image": hub.Image(), "label": hub.ClassLabel(names=["cat"])}
    columns = {"image": rows, "label": [0] * len(rows)}
    data = hub.Dataset.from_dict(columns, features=hub.Features(kinds))
    data.save_to_disk(root / "saved")
    return DataConfig(name="huggingface", path=str(root / "saved"), image_size=6, split="all")


def row(content: bytes) -> dict[str, Any]:
    return {"bytes": content, "path": None}


def message_of(config: DataConfig, function: Callable[[DataConfig], object] = load_dataset) -> str:
    """The error, which is one line."""
    with pytest.raises(UsageError) as error:
        function(config)
    assert "\n" not in str(error.value)
    return str(error.value)


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "16 bits": (row(deep_png(3, 2)), "must be an 8-bit image, got 'RGB;16B'; convert it"),
    "10 bits": (row(avif(10)), "must be an 8-bit image, got '10 bits'; convert it"),
    "16 bits of TIFF": (
        row(tiff(bytes(384), {258: [16] * 3, 262: 2, 277: 3})),
        "must be an 8-bit image, got 'RGB;16L'; convert it",
    ),
    "too many pixels": (row(png_start(20_000, 20_000)), "must be an image of fewer pixels, got "),
    "damage": (row(GOOD[:-30]), "must be a readable image, got a damaged one ("),
    "a text": (row(b"no image"), "must be a readable image, got a damaged one (it starts as none"),
    "nothing": (row(b""), "must be a readable image, got a damaged one (it starts as none of"),
    "a program": (row(b"%!PS-Adobe-3.0\n"), "must be a readable image, got a damaged one (it st"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_of_the_hub_is_counted(name: str, tmp_path: Path) -> None:
    """From 0; the first one's is an error of a plan, too."""
    bad, rule = ROWS[name]
    config = saved(tmp_path / "second", [row(GOOD), bad])
    assert message_of(config).startswith(f"image 1 (from 0) of {config.path} {rule}")
    config = saved(tmp_path / "first", [bad, row(GOOD)])
    assert rule in message_of(config, describe)


def test_frames_of_rows_are_one_warning(tmp_path: Path) -> None:
    """With their number and the first one."""
    config = saved(tmp_path, [row(GOOD), row(FRAMES), row(FRAMES)])
    with pytest.warns(UserWarning, match="several frames") as caught:
        load_dataset(config)
    (warning,) = caught
    assert str(warning.message) == (
        "data.path has files of several frames, of which only the first is read: 2, the first is "
        f"image 1 (from 0) of {config.path}"
    )


@pytest.mark.parametrize("name", ["data-00001-of-00002.arrow", "more/0.png", "train.parquet"])
def test_a_file_that_no_split_names_is_a_warning(name: str, tmp_path: Path) -> None:
    """As one left there by an earlier version of the data set; caches and hidden files are not."""
    config = saved(tmp_path, [row(GOOD)])
    folder = tmp_path / "saved"
    for file in (name, "cache-0123.arrow", ".DS_Store"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(b"")
    for function in (describe, load_dataset):
        with pytest.warns(UserWarning, match="not read") as caught:
            function(config)
        assert str(caught[0].message) == (
            f"data.path has files that are not read: 1, the first is {name}; those of the splits "
            "are read"
        )


def test_a_named_pipe_in_a_saved_folder_is_refused(tmp_path: Path) -> None:
    """`datasets` would wait for it for ever."""
    config = saved(tmp_path, [row(GOOD)])
    (path,) = (tmp_path / "saved").glob("*.arrow")
    path.unlink()
    os.mkfifo(path)
    for function in (describe, load_dataset):
        assert message_of(config, function) == f"{path} must be a file, got a named pipe"


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json"])
def test_a_saved_folder_with_other_types_in_its_json_is_one_line(name: str, tmp_path: Path) -> None:
    """Each entry in turn becomes a number, a list and nothing; some do not matter."""
    config = saved(tmp_path, [row(GOOD)])
    path, messages = tmp_path / "saved" / name, []
    whole = json.loads(path.read_text())
    for key in whole:
        for value in (3, [], None):
            path.write_text(json.dumps(whole | {key: value}))
            try:
                load_dataset(config)
            except UsageError as error:
                messages.append(str(error))
    assert messages
    assert all("\n" not in text for text in messages)


def test_damaged_rows_do_not_crash(tmp_path: Path) -> None:
    """Offsets that lead out of the file are found before rows are read."""
    config = saved(tmp_path, [row(GOOD)] * 3)
    (path,) = (tmp_path / "saved").glob("*.arrow")
    whole, messages = path.read_bytes(), []
    start = whole.index(struct.pack("<III", 0, len(GOOD), 2 * len(GOOD)))
    for place in range(start, start + 16):
        path.write_bytes(whole[:place] + b"\x7f" + whole[place + 1 :])
        try:
            load_dataset(config)
        except UsageError as error:
            messages.append(str(error))
    assert messages
    assert all("\n" not in text for text in messages)


def first_picture(root: Path) -> Path:
    return min(path for path in root.rglob("*") if path.suffix in (".jpg", ".ppm"))


@pytest.mark.parametrize("name", ["celeba", "gtsrb", "oxford-iiit-pet", "food101", "eurosat"])
@pytest.mark.parametrize("kind", ["16 bits", "too many pixels", "a program"])
def test_a_bad_file_of_torchvision_is_named(
    name: str, kind: str, tmp_path: Path, monkeypatch
) -> None:
    """Also if torchvision opens the images itself."""
    config = small_config(name, tmp_path, monkeypatch)
    path = first_picture(tmp_path)
    bad, rule = ROWS[kind]
    path.write_bytes(bad["bytes"])
    assert message_of(config).startswith(f"{path} {rule}")


@pytest.mark.parametrize("name", ["celeba", "food101", "mnist", "cifar10", "svhn"])
def test_a_named_pipe_among_torchvisions_files_is_refused(
    name: str, tmp_path: Path, monkeypatch
) -> None:
    """Torchvision would wait for it for ever."""
    config = small_config(name, tmp_path, monkeypatch)
    path = min(path for path in tmp_path.rglob("*") if path.is_file())
    path.unlink()
    os.mkfifo(path)
    assert message_of(config) == f"{path} must be a file, got a named pipe"


@pytest.mark.parametrize("name", ["food101", "eurosat"])
def test_images_beside_the_official_ones_are_a_warning(
    name: str, tmp_path: Path, monkeypatch
) -> None:
    """With their number and the first one's name."""
    config = small_config(name, tmp_path, monkeypatch)
    picture = first_picture(tmp_path)
    other = picture.with_name("another.bmp")
    other.write_bytes(encoded(noise(28, 28, 3), "BMP"))
    if name == "eurosat":
        with pytest.raises(UsageError, match="must hold the 10 images of eurosat, got 11;"):
            load_dataset(config)
        return
    with pytest.warns(UserWarning, match="not read") as caught:
        load_dataset(config)
    assert str(caught[0].message) == (
        f"data.path has images that are not read: 1, the first is {other}; only the official ones "
        "are read"
    )


@pytest.mark.parametrize("label", [43, 10**9, -1])
def test_a_label_that_numbers_no_class_is_an_error(label: int, tmp_path: Path, monkeypatch) -> None:
    """Memory does not grow with it."""
    config = small_config("gtsrb", tmp_path, monkeypatch)
    table = tmp_path / "gtsrb" / "GT-final_test.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], f"{lines[1].split(';')[0]};{label}", *lines[2:]]))
    lowest, highest = min(label, 0), max(label, 42)
    wanted = f"must number its classes from 0 to 42, got {lowest} to {highest}"
    assert message_of(config).endswith(wanted)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0", b"\0\0\x08\x03", b"\0\0\x08\x03" + b"\x7f" * 12, b"\0\0\x99\x03" + bytes(12)],
)
def test_a_false_header_of_mnist_is_an_error(content: bytes, tmp_path: Path, monkeypatch) -> None:
    """It has no checksum once it is unpacked."""
    config = small_config("mnist", tmp_path, monkeypatch)
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    message = message_of(config)
    assert message.startswith(f"{tmp_path / 'MNIST' / 'raw'} must hold the official files of mnist")
    assert "delete" not in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.pgm", b"P5 0 4 255\n"),
        ("x.bmp", encoded(noise(4, 4), "BMP")[:18] + bytes(8) + encoded(noise(4, 4), "BMP")[26:]),
        ("x.gif", b"GIF89a" + bytes(7) + b"," + bytes(9) + b"\x08\0;"),
        ("x.tif", tiff(b"", {256: 0})),
        ("x.png", png_start(0, 4)),
    ],
)
def test_an_image_without_pixels_is_an_error(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    config = DataConfig(name="folder", path=str(tmp_path), image_size=4, split="all")
    assert message_of(config).startswith(f"{tmp_path / name} must be ")
