"""Facts of the sets that torchvision reads, each from a tiny one in the real one's format."""

import gzip
import inspect
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from torchvision_files import SIDE, WRITERS, draw, serving

from model.config import DataConfig
from model.data.datasets import dataset_key, describe, load_dataset
from model.data.torchvision import must_download
from model.data.torchvision_table import CELEBA_ATTRIBUTES, TORCHVISION_SETS, TorchvisionSet
from model.errors import OneLineError

NO_OFFICIAL_SPLIT = ("eurosat",)
CHANNELS = {name: entry.channels for name, entry in TORCHVISION_SETS.items()}


def num_classes(name: str) -> int:
    """Classes of a set; two of CelebA's attribute."""
    return TORCHVISION_SETS[name].num_classes or 2


def parts_of(name: str) -> list[tuple[np.ndarray, list[int]]]:
    """Every class once in the first split, and three images in each of the others."""
    side, channels = SIDE.get(name, 28), CHANNELS[name]
    first = list(range(num_classes(name)))
    others = [[0, 1, 1]] * (len(TORCHVISION_SETS[name].splits) - 1)
    labels = [first, *others]
    return [(draw(len(x), side, channels, seed), x) for seed, x in enumerate(labels)]


def small_config(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """Write a tiny set which torchvision takes for the real one: its own sizes, no MD5."""
    parts, entry = parts_of(name), TORCHVISION_SETS[name]
    WRITERS[name](root, parts)
    splits = [s._replace(num_images=len(p[1])) for s, p in zip(entry.splits, parts, strict=True)]
    monkeypatch.setitem(TORCHVISION_SETS, name, replace(entry, splits=tuple(splits)))
    monkeypatch.setattr("torchvision.datasets.utils.check_md5", lambda *a, **k: True)
    attribute = "Smiling" if name == "celeba" else None
    return DataConfig(
        name=name, path=str(root), image_size=SIDE.get(name, 28), split="all", attribute=attribute
    )


def test_every_set_has_a_tiny_one() -> None:
    """Flowers 102 has tests of its own."""
    assert set(TORCHVISION_SETS) == {"flowers102", *WRITERS}


@pytest.mark.parametrize("name", WRITERS)
def test_images_and_classes_are_those_of_the_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One official split after the other; JPEG at quality 100 changes a flat colour by 2."""
    dataset = load_dataset(small_config(name, tmp_path, monkeypatch))
    parts = parts_of(name)
    wanted = np.concatenate([images for images, _ in parts]).transpose(0, 3, 1, 2)
    assert dataset.images.shape == wanted.shape
    assert np.abs(dataset.images.astype(int) - wanted).max() <= 2
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [label for _, labels in parts for label in labels]
    assert len(dataset.class_names) == num_classes(name)


def message_of(config: DataConfig) -> str:
    """The error of loading a set."""
    with pytest.raises(OneLineError) as error:
        load_dataset(config)
    return str(error.value)


def loosen(root: Path, entry: TorchvisionSet, folder: Path) -> None:
    """Copy the files of a set in MNIST's format as they are distributed; the labels are no .gz."""
    folder.mkdir(parents=True)
    for name in entry.files:
        content = (root / entry.folder / name).read_bytes()
        if "images" in name:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_loose_files_may_be_compressed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(name, tmp_path / "unpacked", monkeypatch)
    loosen(tmp_path / "unpacked", TORCHVISION_SETS[name], tmp_path / "loose")
    loose = replace(config, path=str(tmp_path / "loose"))
    assert load_dataset(loose).fingerprint == load_dataset(config).fingerprint
    assert describe(loose).shape == (1, 28, 28)
    key = dataset_key(loose)
    (tmp_path / "loose" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"other"))
    assert dataset_key(loose) != key
    assert "must hold the official files" in message_of(loose)
    (tmp_path / "loose" / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    assert "train-images-idx3-ubyte.gz must be a whole file of the data set" in message_of(loose)
    (tmp_path / "loose" / "train-images-idx3-ubyte.gz").unlink()
    assert "without train-images-idx3-ubyte" in message_of(loose)


def test_a_set_that_debian_has_installed_is_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package has the four .gz files; the next load finds them unpacked in the cache."""
    config = small_config("fashion-mnist", tmp_path / "root", monkeypatch)
    packaged = tmp_path / "share" / "fashion-mnist"
    loosen(tmp_path / "root", TORCHVISION_SETS["fashion-mnist"], packaged)
    monkeypatch.setattr("model.data.torchvision.PACKAGED", tmp_path / "share")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wanted, unnamed = load_dataset(config).fingerprint, replace(config, path=None)
    assert not must_download(unnamed)
    assert load_dataset(unnamed).fingerprint == wanted
    shutil.rmtree(packaged)
    assert not must_download(unnamed)
    assert load_dataset(unnamed).fingerprint == wanted
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other-cache"))
    assert must_download(unnamed)
    assert not must_download(config)


@pytest.mark.parametrize("name", WRITERS)
def test_a_description_is_what_loading_gives(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what only the files tell."""
    config = replace(small_config(name, tmp_path, monkeypatch), split="stratified", image_size=8)
    description, dataset = describe(config), load_dataset(config)
    assert description.shape == dataset.shape
    assert description.num_classes == len(dataset.class_names)
    assert description.class_names in (dataset.class_names, ())
    for part in ("train", "reference", "validation"):
        assert len(getattr(description, part)) == len(getattr(dataset, part))


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in NO_OFFICIAL_SPLIT])
def test_the_official_train_split_is_the_pool(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next of the official splits, validation or test, is the reference."""
    config = replace(small_config(name, tmp_path, monkeypatch), split="official_train")
    dataset, first = load_dataset(config), num_classes(name)
    assert sorted(dataset.train) == list(range(first))
    assert sorted(dataset.reference) == list(range(first, first + 3))


@pytest.mark.parametrize("name", TORCHVISION_SETS)
def test_torchvision_has_the_class_and_its_arguments(name: str) -> None:
    """Of the installed version; each split is one that its class knows."""
    entry = TORCHVISION_SETS[name]
    parameters = inspect.signature(getattr(torchvision.datasets, entry.reader)).parameters
    needed = {"root", "download", *(key for split in entry.splits for key in split.arguments)}
    needed |= {"loader"} if entry.takes_loader else set()
    assert needed <= set(parameters)


@pytest.mark.parametrize("name", TORCHVISION_SETS)
def test_the_tables_class_names_are_torchvisions(name: str) -> None:
    """Where its class holds them; those of MNIST are named by their digit alone."""
    entry = TORCHVISION_SETS[name]
    known = getattr(getattr(torchvision.datasets, entry.reader), "classes", None)
    if known is not None and entry.class_names:
        known = [text.split(" - ")[0] for text in known] if name == "mnist" else known
        assert list(entry.class_names) == known
    assert len(set(entry.class_names)) == len(entry.class_names)


def test_official_sizes_are_the_published_ones() -> None:
    """Numbers of classes and images, of the sets' own pages; CelebA has attributes instead."""
    hundreds = {"flowers102": 102, "cifar100": 100, "food101": 101}
    others = {"celeba": 0, "oxford-iiit-pet": 37, "gtsrb": 43}
    num_classes = {n: entry.num_classes for n, entry in TORCHVISION_SETS.items()}
    assert num_classes == dict.fromkeys(TORCHVISION_SETS, 10) | hundreds | others
    totals = {n: sum(s.num_images for s in entry.splits) for n, entry in TORCHVISION_SETS.items()}
    assert totals == {
        "flowers102": 8_189,
        "cifar10": 60_000,
        "cifar100": 60_000,
        "mnist": 70_000,
        "fashion-mnist": 70_000,
        "kmnist": 70_000,
        "svhn": 99_289,
        "stl10": 13_000,
        "celeba": 202_599,
        "food101": 101_000,
        "eurosat": 27_000,
        "oxford-iiit-pet": 7_349,
        "gtsrb": 39_270,
    }


def test_celeba_has_40_attributes_and_no_classes_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one, the images that lack it are class 0."""
    config = small_config("celeba", tmp_path, monkeypatch)
    assert len(set(CELEBA_ATTRIBUTES)) == 40
    assert load_dataset(config).class_names == ("not Smiling", "Smiling")
    plain = load_dataset(replace(config, attribute=None))
    assert (plain.labels, plain.class_names) == (None, ())
    assert describe(replace(config, attribute=None)).num_classes == 0


def test_a_misspelt_attribute_is_an_error_with_a_suggestion() -> None:
    """Before anything is read."""
    with pytest.raises(ValueError, match=r"got 'smiling'; did you mean 'Smiling'\?"):
        describe(DataConfig(name="celeba", attribute="smiling"))


def test_a_set_without_validation_split_has_no_official_trainval() -> None:
    """It would be official_train by another name."""
    with pytest.raises(ValueError, match=r"data\.split must be one of") as error:
        describe(DataConfig(name="cifar10", split="official_trainval"))
    assert str(error.value) == (
        "data.split must be one of stratified, all, keras_80_20, official_train for "
        "data.name=cifar10, got 'official_trainval'; add --data.split stratified"
    )


def test_a_set_of_one_split_has_no_official_one() -> None:
    """EuroSAT comes undivided."""
    with pytest.raises(ValueError, match=r"be stratified or all for data\.name=eurosat"):
        describe(DataConfig(name="eurosat", split="official_train"))


@pytest.mark.parametrize("function", [describe, load_dataset])
@pytest.mark.parametrize("name", WRITERS)
def test_a_path_without_the_files_is_an_error(function, name: str, tmp_path: Path) -> None:
    """A plan and a run say the same: what is missing, and both ways out."""
    with pytest.raises(FileNotFoundError) as error:
        function(DataConfig(name=name, path=str(tmp_path)))
    message, entry = str(error.value), TORCHVISION_SETS[name]
    assert message.startswith(f"data.path must be a folder that holds {entry.contents} for data")
    assert f"got {str(tmp_path)!r} without {entry.files[0]}" in message
    assert message.endswith("leave data.path out on a connected machine to download it")


class Bomb:
    """Unpickling one is noticed."""

    def __reduce__(self) -> tuple:
        return (pytest.fail, ("a foreign file was unpickled",))


def test_files_that_are_not_the_official_ones_are_not_unpickled(tmp_path: Path) -> None:
    """CIFAR's files are pickles; their MD5 is compared first."""
    WRITERS["cifar10"](tmp_path, parts_of("cifar10"))
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_1").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="must hold the official files of cifar10") as error:
        load_dataset(DataConfig(name="cifar10", path=str(tmp_path)))
    assert "\n" not in str(error.value)


def test_a_set_with_too_few_images_is_an_error(tmp_path: Path) -> None:
    """Where there is no MD5 to compare, as in EuroSAT, a half-unpacked set is noticed so."""
    WRITERS["eurosat"](tmp_path, parts_of("eurosat"))
    with pytest.raises(ValueError, match="must hold the 27000 images of eurosat, got 10; leave"):
        load_dataset(DataConfig(name="eurosat", path=str(tmp_path)))


@pytest.mark.parametrize("name", ["celeba", "food101"])
def test_an_unreadable_image_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever library opens it."""
    config = small_config(name, tmp_path, monkeypatch)
    next(iter(sorted(tmp_path.rglob("*.jpg")))).write_bytes(b"no image")
    with pytest.raises(ValueError, match="must be a readable image, got a damaged") as error:
        load_dataset(config)
    assert "\n" not in str(error.value)


def test_a_download_is_kept_in_the_cache_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SVHN has no folder of its own; here a server on this machine has its files."""
    config = replace(small_config("svhn", tmp_path, monkeypatch), path=None)
    files = torchvision.datasets.SVHN.split_list
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving(tmp_path) as url:
        local = {k: [url + v[1], *v[1:]] for k, v in files.items()}
        monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", local)
        first = load_dataset(config).fingerprint
    assert load_dataset(config).fingerprint == first
    kept = tmp_path / "cache" / "collapse-sweep" / "svhn"
    assert {path.name for path in kept.iterdir()} == {"train_32x32.mat", "test_32x32.mat"}


def test_a_failed_download_names_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line."""
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "file:///nowhere/x.tar.gz")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="run once on a connected machine") as error:
        load_dataset(DataConfig(name="cifar10"))
    assert "or pass --data.path DIR, with cifar-10-batches-py in DIR" in str(error.value)
    assert "\n" not in str(error.value)
