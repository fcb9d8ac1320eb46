"""Facts of Parquet files of images, written by pyarrow and by Hugging Face's `datasets`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import encoded

from model.config import DataConfig
from model.data.datasets import dataset_key, describe, load_dataset, read_dataset
from sweep.__main__ import PROGRAM

pytestmark = pytest.mark.filterwarnings("default::UserWarning")


def noise(count: int, *, seed: int = 0, channels: int = 3) -> list[np.ndarray]:
    """Random images of 6x8 pixels."""
    shape = (count, 6, 8) if channels == 1 else (count, 6, 8, channels)
    return list(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def files_of(images: Sequence[np.ndarray]) -> list[bytes]:
    return [encoded(image, "PNG") for image in images]


def structs(images: Sequence[np.ndarray]) -> pa.Array:
    """The column that Hugging Face writes."""
    rows = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(files_of(images))]
    return pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def write(path: Path, features: dict[str, Any] | None = None, **columns: Any) -> DataConfig:
    """Write a file, with the features that Hugging Face would tell of it; return its settings."""
    table = pa.table(columns)
    if features:
        told = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": told})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return DataConfig(name="parquet", path=str(path), image_size=6, split="all")


def squares(images: Sequence[np.ndarray]) -> np.ndarray:
    """(N, C, 6, 6): the centred squares."""
    return np.stack([np.atleast_3d(image)[:, 1:7].transpose(2, 0, 1) for image in images])


CLASSES = {"kind": {"_type": "ClassLabel", "names": ["cat", "dog"]}, "image": {"_type": "Image"}}


@pytest.mark.parametrize("write_images", [structs, files_of], ids=["structs", "bytes"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_and_classes_are_found(write_images, channels: int, tmp_path: Path) -> None:
    """As structs of bytes and path, or as bytes; classes as Hugging Face names them."""
    images = noise(5, channels=channels)
    labels = [0, 1, 0, 1, 1]
    config = write(tmp_path / "a.parquet", CLASSES, image=write_images(images), kind=labels)
    dataset, contents = read_dataset(config)
    np.testing.assert_array_equal(dataset.images, squares(images))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == labels
    assert dataset.class_names == ("cat", "dog")
    assert contents.seen.formats == {"PNG": 5}
    description = describe(config)
    assert description.shape == dataset.shape
    assert description.class_counts(description.train) == (2, 3)


@pytest.mark.parametrize(
    ("values", "names", "numbers"),
    [
        (["b, c", "a", "b, c"], ("a", "b, c"), [1, 0, 1]),
        ([7, 3, 7], ("3", "7"), [1, 0, 1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
    ],
)
@pytest.mark.parametrize("column", ["label", "other"])
def test_classes_may_be_words_or_any_numbers(values, names, numbers, column, tmp_path) -> None:
    """The column `label` is used unless another one is named."""
    config = write(tmp_path / "a.parquet", image=structs(noise(3)), **{column: values})
    assert load_dataset(config).class_names == (names if column == "label" else ())
    dataset = load_dataset(replace(config, label_column=column))
    assert dataset.class_names == names
    assert dataset.labels is not None
    assert dataset.labels.tolist() == numbers


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    """Several files of one split are one data set; hidden files are ignored."""
    images = noise(6)
    for i in range(3):
        part = structs(images[2 * i : 2 * i + 2])
        write(tmp_path / "data" / f"train-0000{i}-of-00003.parquet", image=part)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "old.parquet").write_bytes(b"")
    config = DataConfig(name="parquet", path=str(tmp_path), image_size=6, split="all")
    np.testing.assert_array_equal(load_dataset(config).images, squares(images))


@pytest.mark.parametrize(
    "pattern", ["data/{}-00000-of-00001.parquet", "{}/a.parquet", "x_{}.parquet"]
)
def test_splits_are_words_of_the_names(pattern: str, tmp_path: Path) -> None:
    """They are official ones; train comes first."""
    images = noise(5)
    for part, chosen in (("test", images[3:]), ("train", images[:3])):
        write(tmp_path / pattern.format(part), image=structs(chosen))
    config = DataConfig(name="parquet", path=str(tmp_path), image_size=6, split="official_train")
    dataset = load_dataset(config)
    np.testing.assert_array_equal(dataset.images, squares(images))
    assert sorted(dataset.train) == [0, 1, 2]
    assert sorted(dataset.reference) == [3, 4]
    assert len(describe(config).reference) == 2


def test_the_key_depends_on_contents_and_not_on_the_place(tmp_path: Path) -> None:
    """Of a file and of a folder."""
    one = write(tmp_path / "one" / "a.parquet", image=structs(noise(3)))
    two = write(tmp_path / "two" / "b.parquet", image=structs(noise(3)))
    other = write(tmp_path / "three" / "a.parquet", image=structs(noise(3, seed=1)))
    assert dataset_key(one) == dataset_key(two) != dataset_key(other)
    folder = replace(one, path=str(tmp_path / "one"))
    assert dataset_key(folder) == dataset_key(replace(one, path=str(tmp_path / "one") + "/"))


def test_what_is_not_read_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By sweep data, which finds the kind of the folder itself."""
    images, labels, captions = structs(noise(4)), [0, 0, 1, 1], ["a"] * 4
    write(tmp_path / "train.parquet", image=images, label=labels, caption=captions)
    (tmp_path / "README.md").touch()
    assert PROGRAM.run(["data", str(tmp_path), "--data.image-size", "6"]) == 0
    out, err = capfd.readouterr()
    assert f"--data.name parquet --data.path {tmp_path} --data.image-size 6" in out
    assert "not read     columns: 1, for example caption" in out
    assert f"not read     files: 1, for example {tmp_path}/README.md" in out
    assert "warning: data.path has files that are not read: 1, the first is README.md" in err


def message_of(function: Callable[[DataConfig], object], config: DataConfig) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        function(config)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("columns", "settings", "wanted"),
    [
        ({"text": ["a"] * 2}, {}, "data.path must have a column of images, got ['text']"),
        (
            {"image": structs(noise(2)), "other": files_of(noise(2))},
            {},
            "data.image_column must be ",
        ),
        (
            {"image": structs(noise(2)), "label": [0.5, 1.5]},
            {"label_column": "label"},
            "data.label_column must be a column of classes (there are none), got 'label'",
        ),
        ({"image": structs(noise(2)), "label": [0, None]}, {}, "must name a class for every image"),
        ({"image": [b"", b""]}, {}, "image 0 (from 0) of "),
        ({"image": pa.array([None, None], pa.binary())}, {}, "must be an image, got none"),
        (
            {"image": [{"bytes": None, "path": "/etc/passwd"}] * 2},
            {},
            "data.path must have a column of images",
        ),
        ({"image": pa.array([], pa.binary())}, {}, "data.path must hold images, got none in "),
    ],
)
def test_an_unsuitable_file_is_one_line(columns, settings, wanted: str, tmp_path: Path) -> None:
    """Before anything is loaded."""
    config = replace(write(tmp_path / "a.parquet", **columns), **settings)
    assert wanted in message_of(describe, config)


def test_a_path_is_never_followed(tmp_path: Path) -> None:
    """A file may come from a stranger, who must not choose what is read."""
    target = tmp_path / "secret.png"
    target.write_bytes(encoded(noise(1)[0], "PNG"))
    rows = pa.array(
        [{"bytes": None, "path": str(target)}],
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    message = message_of(load_dataset, write(tmp_path / "a.parquet", image=rows))
    assert f"must be an image, got only the path '{target}'" in message


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    """Cut short, or with other bytes somewhere: never other images."""
    path = tmp_path / "a.parquet"
    images = noise(8)
    config = write(path, image=structs(images))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert message_of(describe, config).startswith(f"{path} must be a whole Parquet file, got ")
    rng = np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            load_dataset(config)
        except (ValueError, FileNotFoundError) as error:
            assert "\n" not in str(error)  # noqa: PT017 (some changes are harmless)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (
            ["a/x.parquet", "b/x.parquet"],
            "in folders called train, validation and test, got ['a', 'b']",
        ),
        (["train-0.parquet", "more.parquet"], "got 'more.parquet' beside files of 1 splits"),
    ],
)
def test_files_that_are_no_one_data_set_are_an_error(names, wanted: str, tmp_path: Path) -> None:
    """Such as the configurations of a repository, which repeat each other's images."""
    for name in names:
        write(tmp_path / name, image=structs(noise(2)))
    config = DataConfig(name="parquet", path=str(tmp_path), image_size=6, split="all")
    assert wanted in message_of(describe, config)


def test_another_reader_names_this_one(tmp_path: Path) -> None:
    """The line says what to set."""
    write(tmp_path / "data" / "train.parquet", image=structs(noise(2)))
    config = DataConfig(name="folder", path=str(tmp_path))
    assert message_of(describe, config).endswith("set --data.name parquet to read them")


def test_files_that_hugging_face_writes(tmp_path: Path) -> None:
    """By Dataset.to_parquet, with its types."""
    hub = pytest.importorskip("datasets")
    from PIL import Image

    images = noise(4)
    features = hub.Features({"image": hub.Image(), "label": hub.ClassLabel(names=["x", "y"])})
    pictures = [Image.fromarray(image) for image in images]
    data = hub.Dataset.from_dict({"image": pictures, "label": [1, 0, 0, 1]}, features=features)
    data.to_parquet(tmp_path / "a.parquet")
    dataset = load_dataset(
        DataConfig(name="parquet", path=str(tmp_path), image_size=6, split="all")
    )
    np.testing.assert_array_equal(dataset.images, squares(images))
    assert dataset.class_names == ("x", "y")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, 0, 0, 1]
    other = DataConfig(name="huggingface", path=str(tmp_path), image_size=6)
    assert "set --data.name parquet to read its .parquet files" in message_of(describe, other)
