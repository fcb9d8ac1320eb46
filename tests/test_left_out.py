"""Nothing in a folder or file of images is left out silently: it is read, an error or a warning."""

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from image_files import encoded, noise, save
from PIL import Image

from model.commands.evaluate import read_images
from model.config import DataConfig
from model.data.datasets import load_dataset
from model.data.own_images import IMAGE_SUFFIXES
from model.data.reading import ORIENTATION
from model.errors import UsageError

RGB = noise(8, 8, 3)
FRAMES = [Image.fromarray(255 - RGB), Image.fromarray(RGB // 2)]


def outcomes(root: Path) -> list[tuple[int, list[str]]]:
    """Number of images and warnings, in training and in `model evaluate`."""
    found = []
    for name, read in (
        ("data.path", lambda: load_dataset(folder(root)).images),
        ("--images", lambda: read_images(root, flag="--images").images),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            count = len(read())
        found.append((count, [str(w.message).removeprefix(name) for w in caught]))
    return found


def folder(root: Path) -> DataConfig:
    return DataConfig(name="folder", path=str(root), split="all")


def outcome(root: Path) -> tuple[int, list[str]]:
    """The same in both."""
    trained, evaluated = outcomes(root)
    assert trained == evaluated
    return trained


def message_of(root: Path) -> str:
    """The error, apart from the flag the same in both."""
    messages = []
    for name, read in (
        ("data.path", lambda: load_dataset(folder(root))),
        ("--images", lambda: read_images(root, flag="--images")),
    ):
        with pytest.raises(UsageError) as error:
            read()
        messages.append(str(error.value).replace(name, "PATH"))
    assert messages[0] == messages[1]
    return messages[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two images."""
    for number in range(4):
        save(tmp_path / "root" / ("cat", "dog")[number // 2] / f"{number}.png", RGB // (number + 1))
    return tmp_path / "root"


OTHERS: dict[str, Callable[[Path], object]] = {
    "cat/2.svg": lambda path: path.write_text("<svg/>"),
    "cat/2": lambda path: path.write_bytes(encoded(RGB, "PNG")),
    "cat/2.png~": lambda path: path.write_bytes(encoded(RGB, "PNG")),
    "cat/.2.png": lambda path: path.write_bytes(encoded(RGB, "PNG")),
    "cat/._2.JPG": lambda path: path.write_bytes(b"\0\5\x16\7"),
    ".trash": lambda path: save(path / "cat" / "2.png", RGB),
    "cat/2.tga": lambda path: path.write_bytes(encoded(RGB, "TGA")),
    "cat/2.npz": lambda path: path.write_bytes(b""),
    "cat/absent.png": lambda path: path.symlink_to("nowhere.png"),
    "cat/itself.png": lambda path: path.symlink_to(path.name),
    "cat/2.pipe": os.mkfifo,
    "cat/\x1b[31m.txt": lambda path: path.write_text(""),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_read_is_a_warning_with_its_name(name: str, root: Path) -> None:
    """With a count of one."""
    OTHERS[name](root / name)
    count, texts = outcome(root)
    assert count == 4
    shown = name.replace("\x1b", "\\x1b")
    listed = ", ".join(IMAGE_SUFFIXES)
    assert texts == [
        f" has files that are not read: 1, the first is {shown}; images end in {listed}"
    ]


def test_files_that_are_not_read_are_one_warning(root: Path) -> None:
    """With their number; hidden files that hold no images are not counted."""
    for name in OTHERS:
        OTHERS[name](root / name)
    (root / ".DS_Store").write_bytes(b"\0")
    (root / ".git").mkdir()
    count, (text,) = outcome(root)
    assert count == 4
    assert text.startswith(f" has files that are not read: {len(OTHERS)}, the first is ")


@pytest.mark.parametrize("name", ["2.GIF", "2.Jfif", "2.TIFF", "2.PnM", "2.dib", "2.Jp2", "2.AVIF"])
def test_suffixes_count_in_upper_and_lower_case(name: str, root: Path) -> None:
    """A suffix need not be the one of the file's format."""
    (root / "cat" / name).write_bytes(encoded(RGB, "BMP"))
    assert outcome(root) == (5, [])


def test_links_are_followed(root: Path, tmp_path: Path) -> None:
    """To files and folders elsewhere."""
    save(tmp_path / "elsewhere" / "2.png", RGB)
    (root / "cat" / "2.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    (root / "owl").symlink_to(tmp_path / "elsewhere")
    assert outcome(root) == (6, [])
    assert load_dataset(folder(root)).class_names == ("cat", "dog", "owl")


@pytest.mark.parametrize(
    ("name", "target", "rule"),
    [
        ("cat/kittens", "../dog", "PATH must hold class folders or loose images, not both, got "),
        (
            "cat/again",
            "..",
            "PATH must hold class folders or loose images, not both, got '0.png' b",
        ),
        ("again", ".", "PATH must hold only images in its class folders, got "),
    ],
)
def test_a_link_to_a_folder_inside_a_class_folder_is_an_error(
    name: str, target: str, rule: str, root: Path
) -> None:
    """A circle of links among them."""
    (root / name).symlink_to(target)
    assert message_of(root).startswith(rule)


@pytest.mark.parametrize("content", ["nothing", "a text", "a hidden image"])
def test_a_class_folder_without_images_is_an_error(content: str, root: Path) -> None:
    (root / "owl").mkdir()
    if content == "a text":
        (root / "owl" / "0.txt").write_text("no image")
    if content == "a hidden image":
        save(root / "owl" / ".0.png", RGB)
    assert message_of(root).startswith(f"PATH must hold images, got none in {str(root / 'owl')!r};")


def test_a_folder_with_an_images_name_is_an_error(root: Path) -> None:
    """As any folder beside images."""
    (root / "cat" / "2.png").mkdir()
    assert "got '0.png' beside '2.png' in" in message_of(root)


def test_a_folder_that_may_not_be_searched_is_an_error(root: Path, monkeypatch) -> None:
    """Its images are not taken for missing ones."""

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", lambda path: refuse(path) if path.suffix else True)
    assert message_of(root).endswith("cat must be readable, got 'Permission denied'")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("9.gif", "GIF"), ("9.png", "PNG"), ("9.webp", "WEBP"), ("9.tif", "TIFF"), ("9.avif", "AVIF")],
)
def test_further_frames_are_one_warning(name: str, kind: str, root: Path) -> None:
    """With the number of files and the first one's name; the first frame is read."""
    for part in ("cat", "dog"):
        content = encoded(RGB, kind, save_all=True, append_images=FRAMES)
        (root / part / name).write_bytes(content)
    assert outcome(root) == (
        6,
        [
            " has files of several frames, of which only the first is read: 2, the first is "
            f"{root / 'cat' / name}"
        ],
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_exif_orientation_is_one_warning_and_not_applied(kind: str, root: Path) -> None:
    """As by torchvision's loader; the pixels are those of the same file without it."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for part in ("cat", "dog"):
        (root / part / "9.img.png").write_bytes(encoded(RGB, kind, exif=exif))
    assert outcome(root) == (
        6,
        [
            " has files with an EXIF orientation, which are read as they are stored: 2, the first "
            f"is {root / 'cat' / '9.img.png'}"
        ],
    )
    with pytest.warns(UserWarning, match="EXIF orientation"):
        turned = load_dataset(folder(root)).images
    for part in ("cat", "dog"):
        (root / part / "9.img.png").write_bytes(encoded(RGB, kind))
    np.testing.assert_array_equal(load_dataset(folder(root)).images, turned)


def test_damaged_exif_data_are_no_damage_of_the_image(root: Path) -> None:
    """Nobody needs them."""
    (root / "cat" / "9.png").write_bytes(encoded(RGB, "PNG", exif=b"Exif\0\0II*\0\xff\xff"))
    assert outcome(root) == (5, [])


def test_the_first_frame_is_the_one_that_is_read(root: Path) -> None:
    """Of pages without loss."""
    content = encoded(RGB, "TIFF", save_all=True, append_images=FRAMES)
    (root / "cat" / "9.tif").write_bytes(content)
    with pytest.warns(UserWarning, match="only the first is read: 1"):
        images = load_dataset(folder(root)).images
    np.testing.assert_array_equal(images[2], RGB.transpose(2, 0, 1))


def npz(path: Path, **arrays: np.ndarray) -> DataConfig:
    np.savez(path, images=noise(4, 8, 8), **arrays)  # ty: ignore[invalid-argument-type]
    return DataConfig(name="npz", path=str(path), split="all")


LABELS, NAMES = np.array([0, 1, 0, 1]), np.array(["cat", "dog"])


@pytest.mark.parametrize(
    ("arrays", "first"),
    [
        ({"y": LABELS}, "y"),
        ({"label": LABELS, "extra": LABELS}, "label"),
        ({"class_names": NAMES}, "class_names"),
        ({"labels": LABELS, "a\x1b[31m": LABELS}, "a\\x1b[31m"),
    ],
)
def test_arrays_that_are_not_read_are_one_warning(
    arrays: dict[str, np.ndarray], first: str, tmp_path: Path
) -> None:
    """In training and in `model evaluate`."""
    config = npz(tmp_path / "a.npz", **arrays)
    count = len(set(arrays) - {"labels"})
    wanted = f"a.npz has arrays that are not read: {count}, the first is {first}; images, labels"
    for read in (
        lambda: load_dataset(config),
        lambda: read_images(tmp_path / "a.npz", flag="--images"),
    ):
        with pytest.warns(UserWarning, match="not read") as caught:
            read()
        assert wanted in str(caught[0].message)


@pytest.mark.parametrize("name", ["Labels", "LABELS", "Class_Names"])
def test_an_array_in_other_letters_is_an_error(name: str, tmp_path: Path) -> None:
    """Its images would have no classes."""
    config = npz(tmp_path / "a.npz", **{name: LABELS})
    with pytest.raises(UsageError) as error:
        load_dataset(config)
    assert str(error.value) == (
        f"{config.path} must spell its arrays images, labels, class_names, got {name!r}; rename it"
    )


def test_a_file_in_upper_case_is_read(tmp_path: Path) -> None:
    npz(tmp_path / "a.npz")
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    assert len(read_images(tmp_path / "A.NPZ", flag="--images").images) == 4
    config = replace(folder(tmp_path / "A.NPZ"), name="npz")
    assert len(load_dataset(config).images) == 4
