"""Facts about model.public_data: digits, flower crops, and torchvision's Flowers 102."""

import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from sklearn import datasets as sklearn_datasets
from torchvision.datasets import Flowers102

from model.config import DataConfig
from model.datasets import describe, load_dataset
from model.public_data import DIGITS_CLASS_COUNTS, FLOWERS102_SPLIT_SIZES

CROPS = DataConfig(name="flower-crops", num_images=18, image_size=8, split="all")
LABELS = (1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 3, 3, 3)
"""Classes (counted from 1) of the small folder's images, by image number from 1."""
SPLITS = {"trnid": [3, 1, 2], "valid": [4, 5, 6], "tstid": [7, 8, 9, 10, 11, 12, 13, 14, 15]}


def picture(number: int) -> np.ndarray:
    """A grey-edged 24x16 picture whose centred square is flat in a colour of its own."""
    pixels = np.full((16, 24, 3), 128, np.uint8)
    pixels[:, 4:20] = (10 * number, 255 - 10 * number, 90)
    return pixels


def write_flowers102(root: Path) -> None:
    """A small folder in the format of Oxford Flowers 102, with mat files of (1, n) arrays."""
    folder = root / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, len(LABELS) + 1):
        path = folder / "jpg" / f"image_{number:05d}.jpg"
        Image.fromarray(picture(number)).save(path, quality=100, subsampling=0)
    savemat(folder / "imagelabels.mat", {"labels": np.array([LABELS], np.uint8)})
    savemat(folder / "setid.mat", {k: np.array([v], np.uint16) for k, v in SPLITS.items()})


@pytest.fixture
def small_flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """Settings of a small folder that torchvision takes for the real one: no MD5 is compared."""
    write_flowers102(tmp_path)
    files = {name: (file, None) for name, (file, _) in Flowers102._file_dict.items()}
    monkeypatch.setattr(Flowers102, "_file_dict", files)
    return DataConfig(name="flowers102", path=str(tmp_path), image_size=8, split="official_train")


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without logging."""

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Generator[str]:
    """The address of a server of a folder's files."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def test_digits_are_sklearns_in_eight_bits() -> None:
    """Level 16 becomes 255, level 8 (127.5) rounds to the even 128."""
    levels, labels = sklearn_datasets.load_digits(return_X_y=True)
    dataset = load_dataset(DataConfig())
    table = np.rint(np.arange(17) * 255 / 16).astype(np.uint8)
    assert (table[8], table[16]) == (128, 255)
    np.testing.assert_array_equal(dataset.images.reshape(1797, 64), table[levels.astype(int)])
    np.testing.assert_array_equal(dataset.labels, labels)


def test_digits_class_counts_are_sklearns() -> None:
    """The constants that a plan uses."""
    _, labels = sklearn_datasets.load_digits(return_X_y=True)
    assert tuple(np.bincount(labels)) == DIGITS_CLASS_COUNTS


def test_float_digits_are_the_bytes_over_255() -> None:
    """At their own size no pixel is rounded anew."""
    floats = load_dataset(DataConfig(dtype="float32")).images
    np.testing.assert_array_equal(
        floats, load_dataset(DataConfig()).images.astype(np.float32) / np.float32(255)
    )


def test_a_larger_set_of_crops_begins_with_the_smaller() -> None:
    """Crop j of a photograph depends on the seed and j alone."""
    small, large = load_dataset(CROPS), load_dataset(replace(CROPS, num_images=30))
    np.testing.assert_array_equal(large.images[:18], small.images)


def test_crops_are_all_different_and_follow_the_seed() -> None:
    """No two of a seed are equal; another seed gives others."""
    first, other = load_dataset(CROPS), load_dataset(replace(CROPS, split_seed=1))
    assert len({image.tobytes() for image in first.images}) == 18
    assert not (first.images == other.images).all(axis=(1, 2, 3)).any()


def test_crops_are_spread_evenly_over_the_photographs() -> None:
    """18 crops are two of each of flowers1 ... flowers9."""
    dataset = load_dataset(CROPS)
    assert dataset.class_names == tuple(f"flowers{i}" for i in range(1, 10))
    assert dataset.class_counts(dataset.train) == (2,) * 9


def test_fewer_crops_than_photographs_are_an_error() -> None:
    """A class without images would be left."""
    with pytest.raises(ValueError, match=r"data.num_images must be at least 9, .*, got 8"):
        describe(replace(CROPS, num_images=8))


def test_flowers102_is_described_by_its_official_sizes() -> None:
    """8189 images of 102 classes; the paper's script trains on 6551 and judges by 1638."""
    config = DataConfig(name="flowers102", image_size=64, split="keras_80_20")
    description = describe(config)
    assert description.num_images == sum(FLOWERS102_SPLIT_SIZES) == 8189
    assert (description.num_train, description.num_reference) == (6551, 1638)
    assert (description.num_classes, description.shape) == (102, (3, 64, 64))


def test_flowers102_images_are_the_centred_squares_in_official_order(
    small_flowers: DataConfig,
) -> None:
    """The files of setid.mat's train split come first, in its order (3, 1, 2)."""
    dataset = load_dataset(small_flowers)
    numbers = SPLITS["trnid"] + SPLITS["valid"] + SPLITS["tstid"]
    for image, number in zip(dataset.images, numbers, strict=True):
        wanted = picture(number)[:8, 4:12].transpose(2, 0, 1)
        assert np.abs(image.astype(int) - wanted).max() <= 8, "JPEG and the crop's edge"
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [LABELS[number - 1] - 1 for number in numbers]
    assert dataset.class_names[:2] == ("pink primrose", "hard-leaved pocket orchid")


def test_flowers102_splits_are_those_of_the_files(small_flowers: DataConfig) -> None:
    """The folder's own sizes count: 3 train, 3 validation and 9 test images here."""
    sizes = {}
    for split in ("official_train", "official_trainval", "all", "keras_80_20"):
        dataset = load_dataset(replace(small_flowers, split=split))
        sizes[split] = (len(dataset.train), len(dataset.reference))
    assert sizes == {
        "official_train": (3, 3),
        "official_trainval": (6, 9),
        "all": (15, 0),
        "keras_80_20": (2 + 2 + 7, 1 + 1 + 2),
    }


def test_an_unreadable_flower_is_named(small_flowers: DataConfig) -> None:
    """One line with the file's path."""
    path = Path(small_flowers.path or "") / "flowers-102" / "jpg" / "image_00007.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"image_00007.jpg must be a readable image") as error:
        load_dataset(small_flowers)
    assert "\n" not in str(error.value)


def test_flowers102_with_other_mat_files_is_an_error(tmp_path: Path) -> None:
    """Torchvision compares their MD5; the message names the folder."""
    write_flowers102(tmp_path)
    with pytest.raises(ValueError, match=r"flowers-102 must hold the official files") as error:
        load_dataset(DataConfig(name="flowers102", path=str(tmp_path)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("function", [describe, load_dataset])
def test_a_path_without_flowers102_is_an_error(function, tmp_path: Path) -> None:
    """A plan and a run say the same."""
    with pytest.raises(FileNotFoundError) as error:
        function(DataConfig(name="flowers102", path=str(tmp_path)))
    assert str(error.value) == (
        "data.path must be a folder that holds flowers-102 (with jpg, imagelabels.mat and "
        f"setid.mat) for data.name=flowers102, got {str(tmp_path)!r} without jpg; "
        "leave data.path out on a connected machine to download it"
    )


def test_flowers102_is_downloaded_once_into_the_cache(
    tmp_path: Path, small_flowers: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torchvision's own downloader, from a server on this machine."""
    served = Path(small_flowers.path or "") / "flowers-102"
    with tarfile.open(served / "102flowers.tgz", "w:gz") as archive:
        archive.add(served / "jpg", "jpg")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = replace(small_flowers, path=None)
    with serving(served) as url:
        monkeypatch.setattr(Flowers102, "_download_url_prefix", url)
        first = load_dataset(config)
    assert load_dataset(config).fingerprint == first.fingerprint
    assert first.fingerprint == load_dataset(small_flowers).fingerprint
    folder = tmp_path / "cache" / "collapse-sweep" / "flowers102"
    assert [path.name for path in folder.iterdir()] == ["flowers-102"]
    assert not (folder / "flowers-102" / "102flowers.tgz").exists()


def test_a_failed_download_names_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, and nothing is left in the cache."""
    monkeypatch.setattr(Flowers102, "_download_url_prefix", "file:///nowhere/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        load_dataset(DataConfig(name="flowers102"))
    message = str(error.value)
    assert "\n" not in message
    assert "run once on a connected machine" in message
    assert "--data.path DIR" in message
    assert list((tmp_path / "collapse-sweep" / "flowers102").iterdir()) == []
