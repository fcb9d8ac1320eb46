"""`model train` and `model sample` of a class-conditional model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sheets import untile
from tiny_training import new_stream

from model.__main__ import PROGRAM
from model.checkpoint import Checkpoint
from model.commands.checkpoint_file import chosen_classes
from model.config import SampleConfig
from model.data.reading import decode_image

SMALL = [
    *("--data.train-limit", "64", "--model.widths", "4", "8", "--model.block-depth", "1"),
    *("--model.stem-width", "4", "--model.embedding-dim", "4"),
    *("--train.epochs", "None", "--train.steps", "20", "--train.batch-size", "8"),
]
DIGITS = [str(digit) for digit in range(10)]


def run(name: str, *args: object) -> int:
    return PROGRAM.run([name, *map(str, args)])


def sampled(weights: Path, out: Path, count: int, *args: object) -> Path:
    flags = ["--num-images", count, "--sample.steps", 2, *args]
    assert run("sample", weights, "--out", out, *flags) == 0
    return out


def read_png(path: Path) -> np.ndarray:
    """(C, H, W) uint8."""
    return decode_image(path).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A conditional network of 20 steps."""
    path = tmp_path_factory.mktemp("trained") / "conditional.safetensors"
    assert run("train", "--out", path, "--model.conditional", *SMALL) == 0
    return path


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "gaussian.safetensors"
    flags = ["--data.train-limit", "64", "--model.family", "gaussian"]
    assert run("train", "--out", path, *flags) == 0
    return path


def named(checkpoint: Checkpoint, *names: str) -> Checkpoint:
    """The checkpoint of a model with so many classes, called so."""
    settings = checkpoint.settings | {"num_classes": len(names), "class_names": list(names)}
    return replace(checkpoint, settings=settings)


@pytest.fixture(scope="module")
def checkpoint(weights: Path) -> Checkpoint:
    return Checkpoint.from_bytes(weights.read_bytes())


def test_trained_model_knows_the_classes_of_its_data(checkpoint: Checkpoint) -> None:
    assert checkpoint.settings["num_classes"] == 10
    assert checkpoint.settings["class_names"] == DIGITS
    assert checkpoint.tensors["ema.class_embedding.weight"].shape == (11, 4)


def test_npz_file_holds_images_of_all_classes_in_turn(tmp_path, weights, checkpoint) -> None:
    """And the stream's own bytes."""
    with np.load(sampled(weights, tmp_path / "x.npz", 12, "--seed", 3)) as file:
        assert file["labels"].tolist() == [*range(10), 0, 1]
        assert file["class_names"].tolist() == DIGITS
        images, labels = file["images"], file["labels"]
    sampler, seed = SampleConfig(steps=2), (3, 1, 0)
    expected = new_stream(checkpoint, sampler, seed=seed).labelled(labels)
    np.testing.assert_array_equal(images, expected)


def test_more_images_begin_with_the_same_ones(tmp_path, weights) -> None:
    """Of 170, seven classes' second blocks are drawn too."""
    many, few = (sampled(weights, tmp_path / f"{count}.npz", count) for count in (167, 23))
    with np.load(many) as first, np.load(few) as second:
        np.testing.assert_array_equal(first["images"][:23], second["images"])
        np.testing.assert_array_equal(first["labels"][:23], second["labels"])


def test_folder_has_a_folder_for_each_class(tmp_path, weights) -> None:
    """Of the npz file's images, numbered in their class."""
    folder = sampled(weights, tmp_path / "images", 7, "--classes", 8, 3, 5)
    with np.load(sampled(weights, tmp_path / "x.npz", 7, "--classes", 8, 3, 5)) as file:
        images = file["images"]
        assert file["labels"].tolist() == [8, 3, 5, 8, 3, 5, 8]
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    eights = ["8/000000.png", "8/000001.png", "8/000002.png"]
    assert found == ["3/000000.png", "3/000001.png", "5/000000.png", "5/000001.png", *eights]
    for place, name in zip([0, 3, 6], eights, strict=True):
        np.testing.assert_array_equal(read_png(folder / name), images[place])


def test_sheet_has_a_row_for_each_class(tmp_path, weights) -> None:
    """In the order asked for, black where a class has one less."""
    sheet = sampled(weights, tmp_path / "x.png", 5, "--classes", 8, 3)
    with np.load(sampled(weights, tmp_path / "x.npz", 5, "--classes", 8, 3)) as file:
        images = file["images"]
    cells = untile(decode_image(sheet), 8)
    assert len(cells) == 2 * 3
    np.testing.assert_array_equal(cells[:5], images[[0, 2, 4, 1, 3]])
    assert not cells[5].any()


def test_evaluation_takes_the_class_folders_as_labels_asked_for(tmp_path, weights, capsys) -> None:
    """Folder and npz file to the same numbers."""
    values = []
    for name in ("images", "x.npz"):
        out = sampled(weights, tmp_path / name, 60)
        flags = ["--metrics.names", "conditional_accuracy", "--metrics.extractor", "pixels"]
        capsys.readouterr()
        assert run("evaluate", "--images", out, *flags, "--format", "json") == 0
        values.append(json.loads(capsys.readouterr().out)["values"])
    assert "conditional_accuracy/pixels" in values[0]
    assert values[0] == values[1]


def test_guidance_is_a_setting_of_the_sampler(tmp_path, weights) -> None:
    plain = sampled(weights, tmp_path / "a.npz", 10)
    guided = sampled(weights, tmp_path / "b.npz", 10, "--sample.guidance", 4)
    with np.load(plain) as first, np.load(guided) as second:
        assert (first["images"] != second["images"]).any()


def test_conditional_gaussian_is_trained_and_sampled(tmp_path) -> None:
    """Ones are darker than eights: their strokes cover less."""
    path = tmp_path / "null.safetensors"
    assert run("train", "--out", path, "--model.family", "gaussian", "--model.conditional") == 0
    with np.load(sampled(path, tmp_path / "x.npz", 64, "--classes", 1, 8)) as file:
        images, labels = file["images"], file["labels"]
    assert images[labels == 1].mean() < images[labels == 8].mean()


def test_the_best_epoch_of_a_conditional_model_can_be_kept(tmp_path) -> None:
    """Its images are of the validation images' classes."""
    flags = [*SMALL, "--train.select", "best_kid", "--data.validation-fraction", "0.02"]
    flags[flags.index("20")] = "2"  # steps, and so one look
    assert run("train", "--out", tmp_path / "x.safetensors", "--model.conditional", *flags) == 0


# Names and numbers


def test_no_class_is_all_classes(checkpoint: Checkpoint) -> None:
    assert chosen_classes([], checkpoint) == list(range(10))


@pytest.mark.parametrize("words", [["cat", "ant"], ["2", "0"], ["cat", "0"]])
def test_a_class_is_called_by_name_or_number(checkpoint: Checkpoint, words: list[str]) -> None:
    assert chosen_classes(words, named(checkpoint, "ant", "bee", "cat")) == [2, 0]


def test_a_number_is_a_name_where_classes_are_called_by_numbers(checkpoint: Checkpoint) -> None:
    """1 and 2 are then the first and the second class, and there is no 0."""
    ones = named(checkpoint, "1", "2")
    assert chosen_classes(["2"], ones) == [1]
    with pytest.raises(ValueError, match=r"^--classes must be one of 1, 2, got '0'$"):
        chosen_classes(["0"], ones)


def test_classes_without_names_are_numbers(checkpoint: Checkpoint) -> None:
    settings = checkpoint.settings | {"class_names": []}
    assert chosen_classes(["7"], replace(checkpoint, settings=settings)) == [7]


# Mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sample {weights} --out {new} --classes 11", "--classes must be one of 0, 1, 2,"),
        ("sample {weights} --out {new} --classes 3 3", "--classes must name each class once"),
        (
            "sample {unconditional} --out {new} --classes 3",
            "--classes must be left out for an unconditional model, got '3'",
        ),
        (
            "sample {unconditional} --out {new} --sample.guidance 2",
            "sample.guidance must be 1 with model.family=gaussian, got 2.0",
        ),
        ("sample {slashed} --out {new}", "class names must be valid folder names for this --out"),
        (
            "sample {nameless} --out {new}",
            "must be a model trained by this package, got one that lacks",
        ),
        (
            "train --out {new}.safetensors --model.conditional --data.name flat",
            "model.conditional must be False for data without classes",
        ),
        (
            "train --out {new}.safetensors --model.label-dropout 1",
            "model.label_dropout must be in [0, 1), got 1.0",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    tmp_path, weights, unconditional, checkpoint, capsys, words, message
) -> None:
    """And nothing is written."""
    made = tmp_path / "made"
    made.mkdir()
    np.savez(made / "flat.npz", images=np.zeros((40, 8, 8), np.uint8))
    slashed = named(checkpoint, "a/b", *DIGITS[1:])
    (made / "slashed.safetensors").write_bytes(slashed.to_bytes())
    settings = {k: v for k, v in checkpoint.settings.items() if k != "num_classes"}
    nameless = replace(checkpoint, settings=settings)
    (made / "nameless.safetensors").write_bytes(nameless.to_bytes())
    places = {name: made / f"{name}.safetensors" for name in ("slashed", "nameless")}
    places |= {"weights": weights, "unconditional": unconditional, "new": tmp_path / "new"}
    words = words.replace("--data.name flat", f"--data.name npz --data.path {made}/flat.npz")
    capsys.readouterr()
    name, *args = [word.format(**places) for word in words.split()]
    assert run(name, *args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]
