"""Facts of Oxford Flowers 102 by torchvision: its reader, its splits, its download."""

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import Flowers102
from torchvision_files import serving

from model.config import DataConfig
from model.data.datasets import describe, load_dataset
from model.data.torchvision_table import TORCHVISION_SETS

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
    """Settings of a small folder that torchvision takes for the real one: its own MD5 and sizes."""
    write_flowers102(tmp_path)
    files = {name: (file, None) for name, (file, _) in Flowers102._file_dict.items()}
    monkeypatch.setattr(Flowers102, "_file_dict", files)
    entry = TORCHVISION_SETS["flowers102"]
    sizes = (len(numbers) for numbers in SPLITS.values())
    small = tuple(s._replace(num_images=n) for s, n in zip(entry.splits, sizes, strict=True))
    monkeypatch.setitem(TORCHVISION_SETS, "flowers102", replace(entry, splits=small))
    return DataConfig(name="flowers102", path=str(tmp_path), image_size=8, split="official_train")


def test_flowers102_is_described_by_its_official_sizes() -> None:
    """8189 images of 102 classes; the paper's script trains on 6551 and judges by 1638."""
    config = DataConfig(name="flowers102", image_size=64, split="keras_80_20")
    description = describe(config)
    assert len(description.images) == 1020 + 1020 + 6149 == 8189
    assert (len(description.train), len(description.reference)) == (6551, 1638)
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
