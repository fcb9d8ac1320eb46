"""Facts about folders of images as data sets."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.config import DataConfig, Split
from model.data.datasets import describe, load_dataset


def noise(*shape: int) -> np.ndarray:
    """Random 8-bit pixels."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    """Write an image file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def folder(path: Path) -> DataConfig:
    """Settings of a folder, without a reference."""
    return DataConfig(name="folder", path=str(path), image_size=4, split="all")


def message_of(function: Callable[[DataConfig], object], config: DataConfig) -> str:
    """The one line of the error a function raises."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        function(config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_sub_folders_are_classes_in_sorted_order(tmp_path: Path) -> None:
    """Files are sorted too, suffixes of any case count, and hidden files do not."""
    save(tmp_path / "b" / "1.png", noise(4, 4, 3))
    save(tmp_path / "a" / "2.PNG", noise(4, 4, 3) // 2)
    save(tmp_path / "a" / "1.bmp", noise(4, 4, 3) // 4)
    (tmp_path / "a" / ".notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    dataset = load_dataset(folder(tmp_path))
    assert dataset.class_names == ("a", "b")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 1]
    wanted = [noise(4, 4, 3) // 4, noise(4, 4, 3) // 2, noise(4, 4, 3)]
    np.testing.assert_array_equal(dataset.images, np.stack(wanted).transpose(0, 3, 1, 2))


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    """And no class names."""
    for i in range(3):
        save(tmp_path / f"{i}.png", noise(4, 4, 3))
    dataset = load_dataset(folder(tmp_path))
    assert (dataset.labels, dataset.class_names, len(dataset.train)) == (None, (), 3)


def test_grey_files_make_grey_images_and_one_in_colour_makes_all_rgb(tmp_path: Path) -> None:
    """The description knows it from the files' headers."""
    save(tmp_path / "1.png", noise(6, 5))
    assert describe(folder(tmp_path)).shape == (1, 4, 4)
    assert load_dataset(folder(tmp_path)).shape == (1, 4, 4)
    save(tmp_path / "2.png", noise(6, 5, 4))
    assert describe(folder(tmp_path)).shape == (3, 4, 4)
    assert load_dataset(folder(tmp_path)).shape == (3, 4, 4)


def test_the_description_of_a_folder_is_what_loading_gives(tmp_path: Path) -> None:
    """Sizes, names and class counts."""
    for i in range(12):
        save(tmp_path / "ab"[i % 2] / f"{i}.png", noise(5, 5, 3))
    config = replace(folder(tmp_path), split="stratified", reference_fraction=0.4)
    description, dataset = describe(config), load_dataset(config)
    assert len(description.train) == len(dataset.train) == 12 - 5
    assert len(description.reference) == len(dataset.reference) == 5
    assert description.class_names == dataset.class_names
    assert description.class_counts(description.train) == (3, 4)
    assert dataset.class_counts(dataset.train) == (3, 4)


def test_images_are_cropped_to_their_centred_square(tmp_path: Path) -> None:
    """A 4x8 picture gives its middle, unresized."""
    pixels = noise(4, 8, 3)
    save(tmp_path / "1.png", pixels)
    images = load_dataset(folder(tmp_path)).images
    np.testing.assert_array_equal(images[0], pixels[:, 2:6].transpose(2, 0, 1))


def test_a_folder_of_class_folders_may_mix_grey_colour_and_transparent_files(
    tmp_path: Path,
) -> None:
    """As CUB-200-2011 does: grey becomes equal channels, transparency is dropped."""
    colour, grey = noise(4, 4, 4), noise(4, 4)
    save(tmp_path / "images" / "001.Albatross" / "1.png", colour)
    save(tmp_path / "images" / "002.Auk" / "1.png", grey)
    dataset = load_dataset(folder(tmp_path / "images"))
    assert dataset.class_names == ("001.Albatross", "002.Auk")
    np.testing.assert_array_equal(dataset.images[0], colour[:, :, :3].transpose(2, 0, 1))
    np.testing.assert_array_equal(dataset.images[1], np.stack([grey] * 3))


def test_a_folder_beside_the_class_folders_is_named(tmp_path: Path) -> None:
    """As where data.path is CUB's own root, one folder too high."""
    save(tmp_path / "images" / "001.Albatross" / "1.png", noise(4, 4, 3))
    message = message_of(describe, folder(tmp_path))
    inner = tmp_path / "images" / "001.Albatross"
    assert message == (
        f"data.path must hold only images in its class folders, got {str(inner)!r}; "
        "move them up, or set data.path to the folder of the class folders"
    )


def split_tree(path: Path, *names: str) -> DataConfig:
    """Folders of two classes, with 3 training images each and 2 in the other splits."""
    for name in names:
        for number in range(6 if name == "train" else 4):
            save(path / name / "ab"[number % 2] / f"{number}.png", noise(4, 4, 3) // (number + 1))
    return replace(folder(path), split="official_train")


@pytest.mark.parametrize(
    ("names", "split", "sizes"),
    [
        (("train", "val"), "official_train", (6, 4)),
        (("train", "test"), "official_train", (6, 4)),
        (("train", "valid", "test"), "official_train", (6, 4)),
        (("train", "validation", "test"), "official_trainval", (10, 4)),
        (("train", "val", "test"), "all", (14, 0)),
        (("train", "val"), "stratified", (8, 2)),
    ],
)
def test_train_val_and_test_folders_are_official_splits(
    names: tuple[str, ...], split: Split, sizes: tuple[int, int], tmp_path: Path
) -> None:
    """Plan and run agree; classes are the folders inside them."""
    config = replace(split_tree(tmp_path, *names), split=split)
    description, dataset = describe(config), load_dataset(config)
    assert (len(dataset.train), len(dataset.reference)) == sizes
    assert (len(description.train), len(description.reference)) == sizes
    assert dataset.class_names == description.class_names == ("a", "b")
    assert dataset.class_counts(dataset.train) == description.class_counts(description.train)
    assert dataset.class_counts(dataset.train) == (sizes[0] // 2, sizes[0] // 2)


def test_the_official_train_split_is_the_train_folder(tmp_path: Path) -> None:
    """Its images and no others."""
    dataset = load_dataset(split_tree(tmp_path, "train", "val"))
    assert sorted(dataset.train) == list(range(6))
    np.testing.assert_array_equal(dataset.images[0], noise(4, 4, 3).transpose(2, 0, 1))


def test_a_folder_without_splits_has_no_official_ones(tmp_path: Path) -> None:
    """A plan says so."""
    save(tmp_path / "a" / "1.png", noise(4, 4, 3))
    config = replace(folder(tmp_path), split="official_train")
    message = message_of(describe, config)
    assert message == (
        "data.split must be stratified or all for data.name=folder, got 'official_train'; "
        "add --data.split stratified"
    )


def test_train_and_val_folders_have_no_official_trainval(tmp_path: Path) -> None:
    """Nothing would be left to judge by."""
    config = replace(split_tree(tmp_path, "train", "val"), split="official_trainval")
    assert "one of stratified, all, keras_80_20, official_train for" in message_of(describe, config)


def test_splits_of_loose_images_are_an_error(tmp_path: Path) -> None:
    """They are not taken for classes called train and val."""
    for name in ("train", "val"):
        save(tmp_path / name / "1.png", noise(4, 4, 3))
    message = message_of(describe, folder(tmp_path))
    image = tmp_path / "train" / "1.png"
    assert message.startswith(
        f"data.path must hold class folders in each split, got {str(image)!r}"
    )


def test_a_class_of_val_that_train_lacks_is_an_error(tmp_path: Path) -> None:
    """It names the folder."""
    config = split_tree(tmp_path, "train", "val")
    save(tmp_path / "val" / "c" / "1.png", noise(4, 4, 3))
    message = message_of(describe, config)
    extra = tmp_path / "val" / "c"
    assert message == f"data.path must have each class in train/ too, got {str(extra)!r}"


def test_two_folders_of_one_split_are_an_error(tmp_path: Path) -> None:
    """Neither is left out in silence."""
    message = message_of(describe, split_tree(tmp_path, "train", "val", "valid"))
    wanted = "data.path must have one folder for each split, got ['train', 'val', 'valid']"
    assert message == wanted


@pytest.mark.parametrize("function", [describe, load_dataset])
def test_a_missing_folder_is_an_error(
    function: Callable[[DataConfig], object], tmp_path: Path
) -> None:
    """The same line from a plan and from a run."""
    path = tmp_path / "absent"
    wanted = f"data.path must be an existing folder, got {str(path)!r}"
    assert message_of(function, folder(path)) == wanted


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    """It says which suffixes count."""
    message = message_of(describe, folder(tmp_path))
    wanted = f"data.path must hold images, got none in {str(tmp_path)!r}; images end in .apng, "
    assert message.startswith(wanted)


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    """It would be a class without images."""
    save(tmp_path / "a" / "1.png", noise(4, 4, 3))
    (tmp_path / "b").mkdir()
    message = message_of(describe, folder(tmp_path))
    assert message.startswith(f"data.path must hold images, got none in {str(tmp_path / 'b')!r}; ")


def test_loose_images_beside_class_folders_are_an_error(tmp_path: Path) -> None:
    """They would have no class."""
    save(tmp_path / "a" / "1.png", noise(4, 4, 3))
    save(tmp_path / "2.png", noise(4, 4, 3))
    assert message_of(describe, folder(tmp_path)) == (
        "data.path must hold class folders or loose images, not both, got '2.png' beside 'a' in "
        f"{str(tmp_path)!r}"
    )


@pytest.mark.parametrize("function", [describe, load_dataset])
def test_a_folder_inside_a_class_folder_is_an_error(
    function: Callable[[DataConfig], object], tmp_path: Path
) -> None:
    """Its images would be left out."""
    save(tmp_path / "cat" / "1.png", noise(4, 4, 3))
    save(tmp_path / "cat" / "kittens" / "1.png", noise(4, 4, 3))
    assert message_of(function, folder(tmp_path)) == (
        "data.path must hold class folders or loose images, not both, got '1.png' beside "
        f"'kittens' in {str(tmp_path / 'cat')!r}"
    )


def test_files_that_are_no_images_give_one_warning(tmp_path: Path) -> None:
    """With their number and the name of the first; a link to nothing is one of them."""
    save(tmp_path / "cat" / "1.png", noise(4, 4, 3))
    (tmp_path / "cat" / "2.svg").write_text("<svg/>")
    (tmp_path / "cat" / "3.png").symlink_to(tmp_path / "absent.png")
    (tmp_path / "labels.csv").write_text("1.png,cat")
    with pytest.warns(UserWarning, match=r"\.webp$") as warned:
        assert len(load_dataset(folder(tmp_path)).images) == 1
    assert len(warned) == 1
    assert str(warned[0].message).startswith(
        "data.path has files that are not read: 3, the first is labels.csv; images end in .apng, "
    )


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    """A file that is no image at once, one cut short when its pixels are read."""
    path = tmp_path / "1.png"
    path.write_bytes(b"no image")
    assert message_of(describe, folder(tmp_path)).startswith(f"{path} must be a readable image")
    save(path, noise(64, 64, 3))
    path.write_bytes(path.read_bytes()[:2000])
    assert message_of(load_dataset, folder(tmp_path)).startswith(f"{path} must be a readable")


def test_a_16_bit_image_is_an_error(tmp_path: Path) -> None:
    """It is not cut to 8 bits in silence."""
    path = tmp_path / "1.png"
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(path)
    wanted = f"{path} must be an 8-bit image, got 'I;16'"
    assert message_of(describe, folder(tmp_path)).startswith(wanted)
    save(tmp_path / "0.png", noise(4, 4, 3))  # colour is known from here, its header is not read
    assert message_of(load_dataset, folder(tmp_path)).startswith(wanted)
