"""The command `model evaluate` on folders and files of one's own."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from evaluating import (
    CLASSES,
    DIGITS,
    GENERATED,
    LABELS,
    REFERENCE,
    TRAIN,
    measured,
    run,
    write_folder,
    write_npz,
)
from PIL import Image

from model.commands.evaluate import first_images
from model.config import MetricsConfig
from model.metrics.table import Evaluation, RealImages, evaluate_images

CONFIG = MetricsConfig(extractor="pixels")


def by_class(indices: np.ndarray) -> np.ndarray:
    """Indices in the order of a folder of class folders."""
    return indices[np.argsort(LABELS[indices], kind="stable")]


def real_images(*, train: bool = False) -> RealImages:
    """What a folder of REFERENCE and one of TRAIN in class folders give."""
    reference, trained = by_class(REFERENCE), by_class(TRAIN)
    return RealImages(
        reference=DIGITS.images[reference],
        reference_labels=LABELS[reference],
        train=DIGITS.images[trained] if train else None,
        train_labels=LABELS[trained] if train else None,
        class_names=CLASSES,
    )


def expected(found: Evaluation) -> dict:
    """An evaluation as it comes back from json."""
    return json.loads(json.dumps(asdict(found)))


# What is measured


def test_a_folder_is_measured_against_a_folder(tmp_path, capsys):
    """The numbers are those of evaluate_images on the same arrays, to the bit."""
    images = write_folder(tmp_path / "images", GENERATED)
    reference = write_folder(tmp_path / "reference", REFERENCE)
    real = RealImages(reference=DIGITS.images[REFERENCE])
    found = measured(capsys, "--images", images, "--reference", reference)
    assert found == expected(evaluate_images(DIGITS.images[GENERATED], real, CONFIG))


def test_a_folder_is_measured_against_a_data_set_by_name(tmp_path, capsys):
    """--reference NAME is --data.name NAME, and the other --data settings hold."""
    images = write_folder(tmp_path / "images", GENERATED)
    flags = ["--images", images, "--data.split-seed", 1]
    found = measured(capsys, *flags, "--reference", "digits")
    assert found == measured(capsys, *flags, "--data.name", "digits")
    assert found != measured(capsys, "--images", images)


def test_class_folders_are_the_classes_asked_for(tmp_path, capsys):
    """Metrics of classes are evaluate_images' with these labels, in the reference's numbering."""
    names = ("class_kid", "conditional_accuracy")
    few = by_class(GENERATED[LABELS[GENERATED] >= 5])  # folder 0 of --images is class 5
    images = write_folder(tmp_path / "images", few, classes=True)
    reference = write_folder(tmp_path / "reference", REFERENCE, classes=True)
    train = write_folder(tmp_path / "train", TRAIN, classes=True)
    config = MetricsConfig(extractor="pixels", names=names)
    found = measured(
        capsys,
        *("--images", images, "--reference", reference, "--train", train),
        *("--metrics.names", *names),
    )
    assert found == expected(
        evaluate_images(
            DIGITS.images[few], real_images(train=True), config, generated_labels=LABELS[few]
        )
    )
    assert set(found["classes"]["class_kid/pixels"]) == {"5", "6", "7", "8", "9"}


def test_a_data_set_brings_its_train_pool_and_classes(tmp_path, capsys):
    images = write_folder(tmp_path / "images", GENERATED)
    config = MetricsConfig(extractor="pixels", names=("classes",))
    real = RealImages(
        reference=DIGITS.images[DIGITS.reference],
        reference_labels=LABELS[DIGITS.reference],
        train=DIGITS.images[DIGITS.train],
        train_labels=LABELS[DIGITS.train],
        class_names=CLASSES,
    )
    found = measured(capsys, "--images", images, "--metrics.names", "classes")
    assert found == expected(evaluate_images(DIGITS.images[GENERATED], real, config))
    assert found["num_train"] == len(DIGITS.train)


def test_an_npz_file_is_measured_as_the_folder_of_the_same_images(tmp_path, capsys):
    """Each of the three may be a file; labels without class_names number the classes."""
    names = ["--metrics.names", "kid", "conditional_accuracy"]
    parts = {"images": GENERATED, "reference": REFERENCE, "train": TRAIN}
    folders, files = [], []
    for name, indices in parts.items():
        indices = by_class(indices)
        folder = write_folder(tmp_path / name, indices, classes=True)
        more = {} if name == "images" else {"class_names": CLASSES}
        file = write_npz(tmp_path / f"{name}.npz", indices, labels=LABELS[indices], **more)
        folders += [f"--{name}", folder]
        files += [f"--{name}", file]
    assert measured(capsys, *files, *names) == measured(capsys, *folders, *names)


def test_classes_are_matched_by_name(tmp_path, capsys):
    """Files whose class_names stand in another order give the same numbers."""
    flags: list[object] = ["--metrics.names", "conditional_accuracy"]
    for name, indices in {"images": GENERATED, "reference": REFERENCE, "train": TRAIN}.items():
        names = CLASSES if name == "reference" else CLASSES[::-1]
        labels = LABELS[indices] if name == "reference" else 9 - LABELS[indices]
        file = tmp_path / f"{name}.npz"
        flags += [f"--{name}", write_npz(file, indices, labels=labels, class_names=names)]
    real = RealImages(
        reference=DIGITS.images[REFERENCE],
        reference_labels=LABELS[REFERENCE],
        train=DIGITS.images[TRAIN],
        train_labels=LABELS[TRAIN],
        class_names=CLASSES,
    )
    config = MetricsConfig(extractor="pixels", names=("conditional_accuracy",))
    assert measured(capsys, *flags) == expected(
        evaluate_images(DIGITS.images[GENERATED], real, config, generated_labels=LABELS[GENERATED])
    )


def test_copies_of_training_images_are_seen_in_a_folder(tmp_path, capsys):
    """30 of 60 images are training images, pixel by pixel."""
    images = write_folder(tmp_path / "images", np.concatenate([TRAIN[:30], GENERATED[:30]]))
    reference = write_folder(tmp_path / "reference", REFERENCE)
    train = write_folder(tmp_path / "train", TRAIN)
    found = measured(
        capsys,
        *("--images", images, "--reference", reference, "--train", train),
        *("--metrics.names", "memorization"),
    )
    assert found["values"]["exact_copies/pixels"] == 0.5
    assert found["num_train"] == len(TRAIN)


def test_images_need_not_be_square_nor_grey(tmp_path, capsys):
    """JPEG files of 6x10 colour pixels."""
    rng = np.random.default_rng(0)
    for name in ("images", "reference"):
        (tmp_path / name).mkdir()
        for number, pixels in enumerate(rng.integers(0, 256, (5, 6, 10, 3), np.uint8)):
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.JPG", format="JPEG")
    flags = ["--images", tmp_path / "images", "--reference", tmp_path / "reference"]
    assert measured(capsys, *flags, "--metrics.names", "kid")["num_images"] == 5


def test_float_files_are_measured_as_they_are(tmp_path, capsys):
    """Floats of any range against floats, in every layout."""
    images = np.random.default_rng(0).normal(3, 5, (40, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "a.npz", images=images[:20, :, :, None])
    np.savez(tmp_path / "b.npz", images=images[20:])
    found = measured(capsys, "--images", tmp_path / "a.npz", "--reference", tmp_path / "b.npz")
    real = RealImages(reference=images[20:, None])
    assert found == expected(evaluate_images(images[:20, None], real, CONFIG))


# How many of them


@pytest.mark.filterwarnings("always")
def test_of_class_folders_each_class_counts_in_proportion(tmp_path, capsys):
    """The first 60 files would be of the first classes only; the reference needs no classes."""
    images = write_folder(tmp_path / "images", by_class(TRAIN), classes=True)
    reference = write_folder(tmp_path / "reference", REFERENCE)
    flags = ["--images", images, "--reference", reference, "--metrics.num-images", 60]
    assert run(*flags) == 0
    said = "only 60 (the first of each class, in proportion) of 180 images are measured"
    assert said in capsys.readouterr().err
    found = measured(capsys, *flags)
    ordered = by_class(TRAIN)
    chosen = ordered[first_images(60, len(ordered), LABELS[ordered])]
    assert len(np.unique(LABELS[chosen])) == 10
    real = RealImages(reference=DIGITS.images[REFERENCE])
    assert found == expected(evaluate_images(DIGITS.images[chosen], real, CONFIG))


def test_first_images_keep_the_shares_of_classes():
    """Of 10, 20 and 30 images, 6 are the first 1, 2 and 3."""
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    assert first_images(6, 60, labels).tolist() == [0, 10, 11, 30, 31, 32]
    assert first_images(60, 60, labels).tolist() == list(range(60))


def test_first_images_without_classes_are_the_first():
    assert first_images(3, 5).tolist() == [0, 1, 2]


# The table


def test_a_standard_error_stands_beside_its_metric(tmp_path, capsys):
    images = write_folder(tmp_path / "images", GENERATED)
    values = measured(capsys, "--images", images)["values"]
    assert run("--images", images) == 0
    head, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head == ["metric", "value", "se", "images", "reference"]
    row = {row[0]: row[1:] for row in rows}
    assert float(row["kid/pixels"][1]) == pytest.approx(values["kid_se/pixels"], rel=0.05)
    assert row["fid/pixels"][1] == "-"
    assert "kid_se/pixels" not in row


# Settings without effect


@pytest.mark.filterwarnings("always")
def test_settings_without_effect_are_warnings(tmp_path, capsys):
    images = write_folder(tmp_path / "images", GENERATED, classes=True)
    reference = write_folder(tmp_path / "reference", REFERENCE)
    flags = ["--images", images, "--reference", reference, "--train", reference]
    assert run(*flags, "--data.image-size", 16, "--metrics.names", "kid") == 0
    assert capsys.readouterr().err.splitlines() == [
        f"warning: --data.* has no effect with --reference {reference}",
        "warning: --train has no effect on these metrics.names",
    ]
