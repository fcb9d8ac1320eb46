"""What `model evaluate` says of folders, files and flags that do not fit each other."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from evaluating import (
    CLASSES,
    DIGITS,
    GENERATED,
    LABELS,
    REFERENCE,
    TRAIN,
    error_of,
    measured,
    run,
    save_arrays,
    write_folder,
    write_npz,
)
from PIL import Image


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Folders of ten images and of 120 in class folders, and a place for a broken one."""
    return {
        "images": write_folder(tmp_path / "images", GENERATED[:10]),
        "reference": write_folder(tmp_path / "reference", REFERENCE, classes=True),
        "broken": write_folder(tmp_path / "broken", GENERATED[:3]),
        "new": tmp_path / "new",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--reference digts",
            "--reference must be an existing folder or .npz file, or a data set (digits, flower-",
        ),
        ("--reference digts", "did you mean 'digits'?"),
        ("--reference cifr10", "did you mean 'cifar10'?"),
        ("--reference {new}", "--reference must be an existing folder or .npz file, or a data"),
        (
            "--reference digits --data.name flower-crops",
            "--reference must be the data set of --data.name (flower-crops), got 'digits'",
        ),
        (
            "--reference {reference} --data.name=digits",
            "--reference must be the data set of --data.name (digits), got",
        ),
        ("--train {reference}", "--train must be left out if the reference is a data set"),
        ("--reference digits --train {reference}", "--train must be left out if"),
        (
            "--reference {reference} --metrics.names classes",
            "metrics.names must not have 'classes' without real training images "
            "(with model evaluate: --train DIR)",
        ),
        (
            "--reference {reference} --metrics.names classes --train {images}",
            "metrics.names must not have 'classes' without real images with classes",
        ),
        (
            "--reference {reference} --metrics.names conditional_accuracy --train {reference}",
            "without images of a class-conditional model, or in class sub-folders",
        ),
        (
            "--reference {reference} --metrics.names classes --train {new}",
            "--train must be an existing folder or .npz file, got",
        ),
        (
            "--reference {reference} --metrics.num-images 11",
            "metrics.num_images must be at most the number of images (10), got 11; give more",
        ),
        ("--reference {images}/000000.png", "--reference must be an existing folder or .npz file"),
    ],
)
def test_flags_that_contradict_each_other(folders, capsys, words, message):
    words = [word.format(**folders) for word in words.split()]
    assert message in error_of(capsys, "--images", folders["images"], *words)


def save(path: Path, size: tuple[int, int], mode: str = "L") -> None:
    Image.new(mode, size).save(path)


def png_start(width: int, height: int) -> bytes:
    """A grey PNG file without pixels: what is read before its size is judged."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, part in ((b"IHDR", head), (b"IDAT", b"")):
        content += struct.pack(">I", len(part)) + name + part
        content += struct.pack(">I", zlib.crc32(name + part))
    return content


BROKEN = {
    "another size": (
        lambda folder: save(folder / "000001.png", (9, 8)),
        "000001.png must be 8x8x1 (height, width, channels) like {owner}, got 8x9x1",
    ),
    "16 bits": (
        lambda folder: save(folder / "000002.png", (8, 8), "I;16"),
        "000002.png must be an 8-bit image, got 'I;16'",
    ),
    "cut short": (
        lambda folder: (folder / "000001.png").write_bytes(
            (folder / "000001.png").read_bytes()[:-30]
        ),
        "000001.png must be a readable image, got a damaged one",
    ),
    "more pixels than Pillow reads": (
        lambda folder: (folder / "000001.png").write_bytes(png_start(20000, 20000)),
        "000001.png must be an image of fewer pixels, got 'Image size (400000000 pixels) exceeds",
    ),
    "text named as an image": (
        lambda folder: (folder / "000001.jpg").write_text("no image"),
        "000001.jpg must be a readable image, got a damaged one",
    ),
    "a class folder beside images": (
        lambda folder: (folder / "cat").mkdir(),
        "must hold class folders or loose images, not both",
    ),
    "nothing": (
        lambda folder: [file.unlink() for file in folder.iterdir()],
        "must hold images, got none in",
    ),
    "an empty class": (
        lambda folder: [file.unlink() for file in folder.iterdir()] and (folder / "3").mkdir(),
        "broken/3'; images end in",
    ),
}


@pytest.mark.parametrize("flag", ["images", "reference"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_one_line_that_names_the_file(folders, capsys, name, flag):
    """Whichever of the two it is: the reference has the form of its own first image."""
    spoil, message = BROKEN[name]
    spoil(folders["broken"])
    flags = folders | {flag: folders["broken"]}
    error = error_of(capsys, "--images", flags["images"], "--reference", flags["reference"])
    assert message.format(owner="the reference" if flag == "images" else "000000.png") in error
    if "png" in message:
        assert str(folders["broken"]) in error


def test_a_file_in_colour_differs_from_a_grey_reference(folders, capsys):
    save(folders["broken"] / "000001.png", (8, 8), "RGB")
    error = error_of(capsys, "--images", folders["broken"], "--reference", folders["reference"])
    assert (
        f"{folders['broken'] / '000001.png'} must be 8x8x1 (height, width, channels) like "
        "the reference, got 8x8x3"
    ) in error


def test_a_file_in_colour_makes_a_reference_rgb(folders, capsys):
    """As it makes a data set; grey images then differ from it."""
    save(folders["broken"] / "000001.png", (8, 8), "RGB")
    error = error_of(capsys, "--images", folders["images"], "--reference", folders["broken"])
    assert (
        f"{folders['images'] / '000000.png'} must be 8x8x3 (height, width, channels) like "
        "the reference, got 8x8x1"
    ) in error


def test_a_folder_of_several_splits_is_an_error(folders, tmp_path, capsys):
    """Training images would be measured with the others."""
    for name in ("train", "val"):
        write_folder(tmp_path / "both" / name, REFERENCE, classes=True)
    error = error_of(capsys, "--images", tmp_path / "both", "--reference", folders["reference"])
    assert "--images must be the images of one split, got those of several in" in error


@pytest.mark.filterwarnings("always")
def test_a_file_that_is_no_image_is_one_warning(folders, capsys):
    (folders["images"] / "notes.txt").write_text("no image")
    assert run("--images", folders["images"], "--reference", folders["reference"]) == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "read" in line]
    assert warning.startswith(
        "warning: --images has files that are not read: 1, the first is notes.txt; images end in "
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": [1]}, "must hold an array 'images', got ['pixels']"),
        ({"images": np.zeros((3, 8, 8))}, "must be uint8 or float32, got 'float64'"),
        ({"images": np.zeros((3, 8, 8), np.float32)}, "must be uint8 like the reference, got"),
        ({"images": np.zeros((3, 8), np.uint8)}, "(N, H, W) with N at least 1 and C 1 or 3, got"),
        ({"images": np.zeros((3, 9, 8), np.uint8)}, "must be 8x8x1 (height, width, channels) like"),
        ({"labels": [0, 1]}, "must be 3 integers, got 'int64 of shape (2,)'"),
        ({"labels": [0, 1, -1]}, "must be at least 0, got -1"),
        ({"labels": [0, 1, 10]}, "must be below the number of the reference's classes (10)"),
        ({"labels": [0, 1, 2], "class_names": ["0", "1"]}, "must be below the number of class_na"),
        ({"labels": [0, 1, 0], "class_names": ["0", "0"]}, "must differ, got ('0', '0')"),
        ({"labels": [0, 1, 0], "class_names": [0, 1]}, "must be strings, got 'int64'"),
        (
            {"labels": [0, 1, 0], "class_names": ["0", "cat"]},
            "classes of --images must be among those of the reference (0, 1, 2, 3, 4, 5, 6, 7, 8, "
            "9), got 'cat'",
        ),
        ({"images": np.array([{}])}, "must be uint8 or float32, got 'object'"),
        ({"labels": np.array([{}] * 3)}, "must be a whole .npz file without pickled objects"),
    ],
)
def test_a_broken_file_is_one_line(folders, tmp_path, capsys, arrays, message):
    images = {} if "pixels" in arrays else {"images": DIGITS.images[:3]}
    file = save_arrays(tmp_path / "a.npz", images | arrays)
    flags = ["--images", file, "--reference", folders["reference"]]
    assert message in error_of(capsys, *flags)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x93NUMPY"])
def test_a_file_that_is_no_archive_is_one_line(folders, tmp_path, capsys, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    error = error_of(capsys, "--images", folders["images"], "--reference", path)
    assert f"{path} must be a whole .npz file without pickled objects" in error


def test_nan_in_a_file_is_an_error(tmp_path, capsys):
    images = np.ones((4, 8, 8), np.float32)
    np.savez(tmp_path / "whole.npz", images=images)
    images[1, 2, 3] = np.nan
    np.savez(tmp_path / "a.npz", images=images)
    flags = ["--images", tmp_path / "a.npz", "--reference", tmp_path / "whole.npz"]
    assert "a.npz must hold no image with nan or inf, got 1" in error_of(capsys, *flags)


@pytest.mark.parametrize("flag", ["images", "train"])
def test_eight_bits_are_not_compared_with_floats_of_any_range(folders, tmp_path, capsys, flag):
    """Their scale is not known."""
    floats = tmp_path / "floats.npz"
    np.savez(floats, images=DIGITS.images[REFERENCE].astype(np.float32) / 127.5 - 1)
    eight = write_npz(tmp_path / "bytes.npz", GENERATED)
    flags = {"images": floats, "train": floats, "reference": floats}
    words = ["--metrics.names", "memorization"]
    for wrong, message in (
        (eight, f"images of {eight} must be float32 like the reference, got 'uint8'"),
        (folders["images"], f"--{flag} {folders['images']} must be float32 like the reference"),
    ):
        given = [w for k, v in (flags | {flag: wrong}).items() for w in (f"--{k}", v)]
        assert message in error_of(capsys, *given, *words)


@pytest.mark.parametrize("flag", ["--images", "--reference", "--train"])
def test_one_image_is_too_few(folders, tmp_path, capsys, flag):
    """Whichever side it is of; the flag is named."""
    parts = {"--images": folders["images"], "--reference": folders["reference"]}
    parts["--train"] = folders["reference"]
    parts[flag] = write_folder(tmp_path / "one", REFERENCE[:1])
    words = [word for pair in parts.items() for word in pair]
    error = error_of(capsys, *words, "--metrics.names", "memorization")
    assert f"{flag} must hold at least 2 images, got 1" in error


def test_what_a_metric_needs_is_asked_for_before_images_are_read(folders, capsys):
    """So that nothing is said of images that will not be measured."""
    error = error_of(
        capsys,
        *("--images", folders["reference"], "--reference", folders["images"]),
        *("--train", folders["reference"], "--metrics.names", "class_kid"),
    )
    assert "metrics.names must not have 'class_kid' without real images with classes" in error


def without_sevens(tmp_path: Path) -> list[object]:
    """Flags of files whose training images lack a class."""
    words: list[object] = []
    few = TRAIN[LABELS[TRAIN] != 7]
    for name, indices in {"images": GENERATED, "reference": REFERENCE, "train": few}.items():
        classes = {"labels": LABELS[indices], "class_names": CLASSES}
        words += [f"--{name}", write_npz(tmp_path / f"{name}.npz", indices, **classes)]
    return words


def test_a_probe_that_cannot_be_fitted_is_an_error_before_features_are(tmp_path, capsys):
    """The class without images is named; weights that are no network are not read yet."""
    weights = tmp_path / "weights.pt"
    weights.write_text("no network")
    words = [*without_sevens(tmp_path), "--metrics.names", "kid", "classes"]
    error = error_of(
        capsys, *words, "--metrics.extractor", "inception", "--metrics.weights", weights
    )
    assert "metrics.names must not have 'classes' here: a probe's images must include" in error
    assert "got none of 7;" in error


def test_kid_by_class_needs_no_probe_where_classes_were_asked_for(tmp_path, capsys):
    """A class without training images does not matter then."""
    found = measured(capsys, *without_sevens(tmp_path), "--metrics.names", "class_kid")
    assert "7" in found["classes"]["class_kid/pixels"]


def test_a_class_folder_must_be_one_of_the_references_classes(folders, tmp_path, capsys):
    images = write_folder(tmp_path / "more", GENERATED, classes=True)
    (images / "7").rename(images / "seven")
    error = error_of(capsys, "--images", images, "--reference", folders["reference"])
    assert "classes of --images must be among those of the reference" in error
    assert "got 'seven'" in error


def test_reference_and_training_images_have_the_same_classes(folders, tmp_path, capsys):
    train = write_folder(tmp_path / "train", TRAIN, classes=True)
    (train / "7").rename(train / "seven")
    flags = ["--images", folders["images"], "--reference", folders["reference"], "--train", train]
    error = error_of(capsys, *flags, "--metrics.names", "classes")
    assert "class names must be the same in" in error
    assert "got ['7', 'seven'] in one of them only" in error
