"""Facts about model.data.datasets: descriptions, splits in place, fingerprints and keys."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.config import DataConfig
from model.data import file_digests
from model.data.datasets import DATASETS, Dataset, dataset_key, describe, load_dataset

DIGITS = DataConfig()
CROPS = DataConfig(name="flower-crops", num_images=40, image_size=8)


def write_npz(folder: Path) -> DataConfig:
    """Twelve labelled float images of 4x4 pixels."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(12, 1, 4, 4)).astype(np.float32)
    np.savez(folder / "data.npz", images=images, labels=np.arange(12) % 3)
    return DataConfig(name="npz", path=str(folder / "data.npz"), image_size=4, dtype="float32")


def write_folder(root: Path) -> DataConfig:
    """Four different grey images in two classes."""
    for number in range(4):
        folder = root / "xy"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return DataConfig(name="folder", path=str(root))


def facts(dataset: Dataset) -> dict[str, object]:
    """Everything about a data set except its pixels and the order of its images."""
    parts = (dataset.train, dataset.reference, dataset.validation)
    return {
        "name": dataset.name,
        "shape": dataset.images.shape,
        "dtype": dataset.images.dtype,
        "bounded": dataset.bounded,
        "class_names": dataset.class_names,
        "num_classes": dataset.num_classes,
        "sizes": [len(part) for part in parts],
        "class_counts": [dataset.class_counts(part) for part in parts],
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image_size": 12, "dtype": "float32"},
        {"reference_fraction": 0.37, "validation_fraction": 0.11, "train_limit": 401},
        {"split": "all", "split_seed": 3},
    ],
)
def test_the_description_of_digits_is_what_loading_gives(changes: dict) -> None:
    """Sizes, names, dtype and class counts agree exactly."""
    config = replace(DIGITS, **changes)
    assert facts(describe(config)) == facts(load_dataset(config))


@pytest.mark.parametrize("changes", [{}, {"num_images": 47, "validation_fraction": 0.25}])
def test_the_description_of_flower_crops_is_what_loading_gives(changes: dict) -> None:
    """Class counts that nine does not divide agree too."""
    config = replace(CROPS, **changes)
    assert facts(describe(config)) == facts(load_dataset(config))


def test_the_description_of_npz_is_what_loading_gives(tmp_path: Path) -> None:
    """Read from the file's headers and labels."""
    config = replace(write_npz(tmp_path), validation_fraction=0.3)
    assert facts(describe(config)) == facts(load_dataset(config))


def test_descriptions_load_neither_torch_nor_sklearn() -> None:
    """`sweep plan` answers at once."""
    code = (
        "import sys; from model.config import DataConfig; from model.data.datasets import describe;"
        "from model.data.torchvision_table import TORCHVISION_SETS as sets;"
        "[describe(DataConfig(name=n)) for n in ('digits', 'flower-crops', *sets)];"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'PIL') if m in sys.modules])"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


def test_loading_twice_gives_one_fingerprint() -> None:
    """Digits and generated crops are deterministic."""
    assert load_dataset(DIGITS).fingerprint == load_dataset(DIGITS).fingerprint
    assert load_dataset(CROPS).fingerprint == load_dataset(CROPS).fingerprint


def test_the_fingerprint_covers_pixels_labels_names_indices_and_bounds() -> None:
    """A change of any of them is a change of it; the name alone is not."""
    index = np.arange(3)
    base = Dataset(
        name="a",
        images=np.zeros((3, 1, 4, 4), np.uint8),
        labels=np.array([0, 1, 0]),
        class_names=("x", "y"),
        train=index[:1],
        reference=index[1:2],
        validation=index[2:],
        bounded=True,
    )
    changes = {
        "images": np.ones((3, 1, 4, 4), np.uint8),
        "labels": np.array([0, 1, 1]),
        "class_names": ("x", "z"),
        "train": index[:2],
        "reference": index[:1],
        "validation": index[:0],
        "bounded": False,
    }
    others = {"name", "unnamed_classes"}  # no class of loaded data is unnamed
    assert set(changes) == {field.name for field in fields(Dataset)} - others
    prints = {replace(base, **{name: value}).fingerprint for name, value in changes.items()}
    assert len(prints | {base.fingerprint}) == 1 + len(changes)
    assert replace(base, name="b").fingerprint == base.fingerprint


def test_the_fingerprint_of_small_data_is_pinned() -> None:
    """Keys of finished nodes hold it: a change here orphans them."""
    dataset = load_dataset(replace(DIGITS, train_limit=10))
    assert dataset.fingerprint[:16] == "774879326199a78b"


def test_every_setting_is_in_the_key() -> None:
    """A change of any field of the data settings is another key."""
    changes = [
        {"image_size": 16},
        {"split": "all"},
        {"split_seed": 1},
        {"reference_fraction": 0.3},
        {"validation_fraction": 0.1},
        {"train_limit": 5},
        {"num_images": 41},
        {"resize": "bicubic_aa_float"},
        {"dtype": "float32"},
    ]
    keys = {dataset_key(replace(CROPS, **change)) for change in changes}
    assert len(keys | {dataset_key(CROPS)}) == 1 + len(changes)
    assert all(len(key) == 16 for key in keys)


def test_keys_of_earlier_versions_are_pinned() -> None:
    """A setting that is added later, at its key_default, is in none of them."""
    assert dataset_key(DIGITS) == "0b578cf03b5ae60e"
    assert dataset_key(DataConfig(name="flowers102", image_size=64)) == "2b933b1d0d58e31f"


def test_a_later_setting_beside_its_key_default_is_in_the_key() -> None:
    """It makes other labels."""
    smiling = DataConfig(name="celeba", attribute="Smiling")
    assert dataset_key(smiling) != dataset_key(replace(smiling, attribute=None))


def test_the_same_bytes_have_one_key_wherever_and_whenever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Touched, renamed, copied, linked, or named by a relative path."""
    config = write_npz(tmp_path)
    path = Path(config.path or "")
    before = dataset_key(config)
    os.utime(path, ns=(1, 1))
    assert dataset_key(config) == before
    copy, link = tmp_path / "copy.npz", tmp_path / "link.npz"
    shutil.copyfile(path, copy)
    link.symlink_to(copy)
    monkeypatch.chdir(tmp_path)
    for other in (copy, link, copy.name, f"./{path.name}"):
        assert dataset_key(replace(config, path=str(other))) == before


def test_a_changed_byte_is_another_key_though_size_and_times_are_the_same(tmp_path: Path) -> None:
    config = write_npz(tmp_path)
    path = Path(config.path or "")
    before, status = dataset_key(config), path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert dataset_key(config) != before


def test_moved_and_renamed_images_of_a_folder(tmp_path: Path) -> None:
    """A moved folder is the same data set; a renamed image or class, or an exchange, is another."""
    config = write_folder(tmp_path / "a")
    before = dataset_key(config)
    moved = replace(config, path=str((tmp_path / "a").rename(tmp_path / "b")))
    assert dataset_key(moved) == before
    first, second = sorted((tmp_path / "b").glob("*/*"))[:2]
    one, two = first.read_bytes(), second.read_bytes()
    assert one != two
    first.write_bytes(two)
    second.write_bytes(one)
    assert dataset_key(moved) != before
    first.write_bytes(one)
    second.write_bytes(two)
    assert dataset_key(moved) == before
    first.parent.rename(tmp_path / "b" / "another")
    assert dataset_key(moved) != before


def test_digests_of_a_large_data_set_are_cached_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "MANY_FILES", 1)
    monkeypatch.setattr(file_digests, "SETTLED_SECONDS", -60.0)
    hashed: list[Path] = []
    digest_of = file_digests._sha256
    monkeypatch.setattr(
        file_digests, "_sha256", lambda file: hashed.append(file) or digest_of(file)
    )
    config = write_folder(tmp_path / "a")
    before = dataset_key(config)
    assert len(hashed) == 4
    assert (dataset_key(config), len(hashed)) == (before, 4)
    changed = hashed[0]
    changed.write_bytes(changed.read_bytes() + b"!")
    assert dataset_key(config) != before
    assert hashed[4:] == [changed]


@pytest.mark.parametrize("damage", ["[", "[1]", '{"x/0.png": 3}', "null"])
def test_a_damaged_cache_of_digests_is_not_used(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "MANY_FILES", 1)
    config = write_folder(tmp_path / "a")
    before = dataset_key(config)
    (cached,) = (tmp_path / "cache").rglob("*.json")
    cached.write_text(damage)
    assert dataset_key(config) == before


def test_a_file_that_has_just_changed_is_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change again within the resolution of its times."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "MANY_FILES", 1)
    dataset_key(write_folder(tmp_path / "a"))
    (cached,) = (tmp_path / "cache").rglob("*.json")
    assert cached.read_text() == "{}"


@pytest.mark.parametrize("function", [describe, load_dataset, dataset_key])
def test_a_misspelt_name_is_an_error_with_a_suggestion(function) -> None:
    """At every door."""
    message = f"data.name must be one of {', '.join(DATASETS)}, got 'digts'; did you mean 'digits'?"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        function(DataConfig(name="digts"))


@pytest.mark.parametrize("split", ["keras_80_20", "official_train", "official_trainval"])
def test_official_splits_are_for_sets_that_come_with_them(split: str) -> None:
    """Digits do not."""
    message = f"data.split must be stratified or all for data.name=digits, got {split!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}; add --data.split stratified$"):
        describe(DataConfig(split=split))  # ty: ignore


@pytest.mark.parametrize(
    "changes",
    [{"path": "somewhere"}, {"num_images": 9}, {"attribute": "Smiling"}],
    ids=["path", "num_images", "attribute"],
)
def test_a_setting_without_effect_warns(changes: dict) -> None:
    """Digits have no path and no number to choose."""
    (name,) = changes
    with pytest.warns(UserWarning, match=f"data.{name} has no effect for data.name=digits"):
        describe(replace(DIGITS, **changes))


def test_folder_and_npz_need_a_path() -> None:
    """The message names both fields."""
    for name in ("folder", "npz"):
        with pytest.raises(ValueError, match=f"data.path must be set for data.name={name}"):
            describe(DataConfig(name=name))


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("huggingface", "datasets", "huggingface"), ("mnist", "torchvision", "all")],
)
def test_a_missing_package_is_named_with_its_extra(
    name: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that can be typed."""
    monkeypatch.setitem(sys.modules, module, None)
    path = None if name == "mnist" else str(tmp_path)
    with pytest.raises(ValueError, match=f"got '{name}' without {module}") as error:
        load_dataset(DataConfig(name=name, path=path))
    assert str(error.value).endswith(f"install it with: pip install 'collapse-sweep[{extra}]'")


def test_every_data_set_is_in_the_guide() -> None:
    """In its table."""
    text = (Path(__file__).parent.parent / "docs" / "guide.md").read_text()
    assert [name for name in DATASETS if f"| {name} |" not in text] == []
