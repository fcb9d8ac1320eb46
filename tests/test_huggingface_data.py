"""Facts of data sets that Hugging Face's `datasets` saved to a folder, or loads by name."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.config import DataConfig
from model.data.datasets import dataset_key, describe, load_dataset

hub = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No progress bars while files are written."""
    hub.disable_progress_bars()
    yield
    hub.enable_progress_bars()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Random 8-bit pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def make(images: list[np.ndarray], features: dict[str, Any], **columns: list[Any]) -> Any:
    """A data set of PNG images (column `picture`) and other columns."""
    kinds = hub.Features({"picture": hub.Image(), **features})
    pictures = [Image.fromarray(image) for image in images]
    return hub.Dataset.from_dict({"picture": pictures, **columns}, features=kinds)


def classed(labels: list[int], *, seed: int = 0) -> Any:
    """Colour images of 6x8 pixels with the classes cat and dog."""
    images = [noise(6, 8, 3, seed=seed + i) for i in range(len(labels))]
    return make(images, {"kind": hub.ClassLabel(names=["cat", "dog"])}, kind=labels)


def saved(data: Any, folder: Path) -> DataConfig:
    """Settings of a data set once it is saved, without a reference."""
    data.save_to_disk(folder / "saved")
    return DataConfig(name="huggingface", path=str(folder / "saved"), image_size=6, split="all")


def message_of(function: Callable[[DataConfig], object], config: DataConfig) -> str:
    """The one line of the error a function raises."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        function(config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_images_and_classes_are_found_by_their_types(tmp_path: Path) -> None:
    """Each image is cropped to its centred square."""
    dataset = load_dataset(saved(classed([0, 1, 0]), tmp_path))
    wanted = np.stack([noise(6, 8, 3, seed=i)[:, 1:7] for i in range(3)])
    np.testing.assert_array_equal(dataset.images, wanted.transpose(0, 3, 1, 2))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 1, 0]
    assert dataset.class_names == ("cat", "dog")


def test_the_description_is_what_loading_gives(tmp_path: Path) -> None:
    """Sizes, shape and class counts."""
    config = replace(saved(classed([0, 1] * 5), tmp_path), split="stratified")
    description, dataset = describe(config), load_dataset(config)
    assert description.shape == dataset.shape
    assert (len(description.train), len(description.reference)) == (8, 2)
    assert (len(dataset.train), len(dataset.reference)) == (8, 2)
    assert description.class_names == dataset.class_names
    assert description.class_counts(description.train) == (4, 4)
    assert dataset.class_counts(dataset.train) == (4, 4)


def test_splits_of_a_saved_dictionary_are_the_official_ones(tmp_path: Path) -> None:
    """Train comes first, whatever the order in which they were saved."""
    splits = {"test": classed([0, 1], seed=9), "train": classed([1, 0, 0])}
    config = replace(saved(hub.DatasetDict(splits), tmp_path), split="official_train")
    dataset = load_dataset(config)
    assert sorted(dataset.train) == [0, 1, 2]
    assert sorted(dataset.reference) == [3, 4]
    np.testing.assert_array_equal(dataset.images[0, :, 0], noise(6, 8, 3)[0, 1:7].T)
    assert len(describe(config).reference) == 2


def test_a_split_of_another_name_is_an_error(tmp_path: Path) -> None:
    """It is neither taken in nor left out in silence."""
    splits = hub.DatasetDict({"train": classed([0, 1]), "extra": classed([0, 1])})
    message = message_of(describe, saved(splits, tmp_path))
    assert message.startswith("data.path must have only splits called train, val, valid, validatio")


def test_one_split_has_no_official_ones(tmp_path: Path) -> None:
    """As other data without splits."""
    config = replace(saved(classed([0, 1]), tmp_path), split="official_train")
    assert "must be stratified or all for data.name=huggingface" in message_of(describe, config)


def test_grey_images_make_grey_data(tmp_path: Path) -> None:
    """Without a column of classes there are none."""
    images = [noise(6, 6, seed=i) for i in range(2)]
    config = saved(make(images, {}), tmp_path)
    dataset = load_dataset(config)
    assert describe(config).shape == dataset.shape == (1, 6, 6)
    np.testing.assert_array_equal(dataset.images[:, 0], np.stack(images))
    assert (dataset.labels, dataset.class_names) == (None, ())


def test_colour_after_a_grey_first_image_is_an_error(tmp_path: Path) -> None:
    """A plan has promised grey ones; the other way round grey becomes RGB."""
    grey, colour = noise(6, 6), noise(6, 6, 3)
    message = message_of(load_dataset, saved(make([grey, colour], {}), tmp_path / "grey"))
    assert message.startswith("image 1 (from 0) of ")
    assert "must be grey like the other images, got 'RGB'" in message
    mixed = load_dataset(saved(make([colour, grey], {}), tmp_path / "colour"))
    np.testing.assert_array_equal(mixed.images[1], np.stack([grey] * 3))


def test_a_16_bit_image_is_an_error(tmp_path: Path) -> None:
    """It is not cut to 8 bits in silence."""
    config = saved(make([np.full((6, 6), 4000, np.uint16)], {}), tmp_path)
    assert "must be an 8-bit image, got 'I;16'" in message_of(load_dataset, config)


def test_columns_may_be_named(tmp_path: Path) -> None:
    """Values of a plain column are classes in sorted order."""
    features = {"second": hub.Image(), "word": hub.Value("string")}
    images = [noise(6, 6, seed=i) for i in range(3)]
    others = [Image.fromarray(255 - image) for image in images]
    data = make(images, features, second=others, word=["b", "a", "b"])
    config = replace(saved(data, tmp_path), image_column="second", label_column="word")
    dataset = load_dataset(config)
    np.testing.assert_array_equal(dataset.images[:, 0], 255 - np.stack(images))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, 0, 1]
    assert dataset.class_names == ("a", "b")


def test_columns_that_are_not_plain_to_see_must_be_named(tmp_path: Path) -> None:
    """The message has the field and what there is."""
    kinds = {n: hub.ClassLabel(names=["x"]) for n in ("one", "two")}
    data = make([noise(6, 6)], {"other": hub.Image(), **kinds}, other=[None], one=[0], two=[0])
    config = saved(data, tmp_path)
    assert message_of(describe, config) == (
        "data.image_column must be set for a data set with 2 columns of images, got None; "
        "it has picture, other, one, two"
    )
    message = message_of(describe, replace(config, image_column="picture"))
    assert message.startswith("data.label_column must be set for a data set with several columns")
    message = message_of(describe, replace(config, image_column="one"))
    assert message == "data.image_column must be a column of images (picture, other), got 'one'"


@pytest.mark.parametrize(
    ("labels", "rule"),
    [
        ([0, -1], "kind of {path} must use each of its 2 classes, and no others, got [-1, 0]; "),
        ([0, 0], "kind of {path} must use each of its 2 classes, and no others, got [0]; "),
        ([0, None], "kind of {path} must name a class for every image, got 1 without one"),
    ],
)
def test_labels_that_do_not_number_the_classes_are_an_error(
    labels: list[int], rule: str, tmp_path: Path
) -> None:
    """As those of a test split whose answers are kept secret: datasets writes -1."""
    config = saved(classed(labels), tmp_path)
    assert message_of(describe, config).startswith(rule.format(path=config.path))


def test_a_missing_image_is_an_error(tmp_path: Path) -> None:
    """It is counted from 0."""
    kinds = hub.Features({"picture": hub.Image()})
    pictures = [Image.fromarray(noise(6, 6)), None]
    data = hub.Dataset.from_dict({"picture": pictures}, features=kinds)
    message = message_of(load_dataset, saved(data, tmp_path))
    assert message.startswith("image 1 (from 0) of ")
    assert "must be an image, got none" in message


def test_a_saved_data_set_that_changes_has_another_key(tmp_path: Path) -> None:
    """By its files; one of the hub has the same key in every working directory."""
    config = saved(classed([0, 1]), tmp_path)
    before = dataset_key(config)
    saved(classed([0, 1, 1]), tmp_path)
    assert dataset_key(config) != before


def test_a_name_of_the_hub_has_one_key_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no path below the working directory."""
    config = DataConfig(name="huggingface", path="owner/name")
    before = dataset_key(config)
    monkeypatch.chdir(tmp_path)
    assert dataset_key(config) == before


@pytest.mark.parametrize("function", [describe, load_dataset])
def test_a_path_that_is_neither_folder_nor_name_is_an_error(
    function: Callable[[DataConfig], object], tmp_path: Path
) -> None:
    """Without asking the hub."""
    path = str(tmp_path / "absent")
    assert message_of(function, DataConfig(name="huggingface", path=path)) == (
        "data.path must be owner/name of a data set of the Hugging Face hub, or a folder saved by "
        f"save_to_disk, got {path!r}"
    )


def test_a_folder_of_other_files_is_an_error(tmp_path: Path) -> None:
    """What `datasets` says of it is in the line."""
    (tmp_path / "x.txt").write_text("x")
    message = message_of(describe, DataConfig(name="huggingface", path=str(tmp_path)))
    assert f"got {str(tmp_path)!r} and FileNotFoundError (" in message


def test_a_name_that_cannot_be_downloaded_names_both_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here because the package is told to be offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    message = message_of(describe, DataConfig(name="huggingface", path="no-owner/no-name"))
    assert "got 'no-owner/no-name' and ConnectionError (" in message
    assert message.endswith("run once on a connected machine, or pass --data.path DIR")


def test_the_path_must_be_set() -> None:
    """The message says to what."""
    message = message_of(describe, DataConfig(name="huggingface"))
    assert message == (
        "data.path must be set for data.name=huggingface, got None; set it to owner/name, or to a "
        "folder"
    )
