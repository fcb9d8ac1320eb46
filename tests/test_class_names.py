"""Names of classes: one rule for folders, files, the hub and checkpoints."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from image_files import encoded, noise, save

from model.commands.checkpoint_file import check_classes
from model.commands.evaluate import read_generated, read_images, read_reference
from model.config import DataConfig
from model.data.datasets import describe, load_dataset
from model.errors import UsageError, check_choice, check_class_names, printable

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
HIDDEN = {
    "bytes": ("caf\udce9", r"caf\xe9"),
    "a line break": ("a\nb", r"a\nb"),
    "an escape sequence": ("\x1b[31mred", r"\x1b[31mred"),
    "a bell": ("\x07", r"\x07"),
    "a direction mark": ("abc\u202e", r"abc\u202e"),
    "a byte order mark": ("\ufeffcat", r"\ufeffcat"),
    "a space of no width": ("c\u200bat", r"c\u200bat"),
    "a space that does not break": ("a\u00a0b", r"a\xa0b"),
    "a filler": ("\u3164", r"\u3164"),
    "a braille blank": ("\u2800", r"\u2800"),
    "spaces": ("  ", "  "),
    "a private character": ("\ue000", r"\ue000"),
    "a C1 control character": ("\x9b31m", r"\x9b31m"),
}
TWINS = {
    "normalisation": (COMPOSED, DECOMPOSED, r"('caf\xe9', 'cafe\u0301')"),
    "order of marks": ("q\u0323\u0307", "q\u0307\u0323", r"('q\u0323\u0307', 'q\u0307\u0323')"),
    "spaces": ("big cat", "big  cat", "('big cat', 'big  cat')"),
    "a space at the end": ("cat", "cat ", "('cat', 'cat ')"),
    "a variation selector": ("\u2764", "\u2764\ufe0f", r"('\u2764', '\u2764\ufe0f')"),
    "Korean": ("\uac00", "\u1100\u1161", r"('\uac00', '\u1100\u1161')"),
}
PLAIN = (
    *("a|b", "=1", "<b>", "a&b", "T-shirt/top", "CON", "a:b", "a.", "$x_1$", "%d", "'", '"', "\\n"),
    *(
        "Cat",
        "cat",
        "CAT",
        COMPOSED,
        "\u0430\u0431",
        "\u732b",
        "\U0001f408",
        "0",
        "None",
        "-x",
        "*",
    ),
)


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_name_that_cannot_be_seen_is_shown_escaped(kind: str) -> None:
    name, shown = HIDDEN[kind]
    with pytest.raises(UsageError) as error:
        check_class_names("class names of x", ["cow", name])
    wanted = f"class names of x must be visible, printable text, got '{shown}'; rename it"
    assert str(error.value) == wanted


@pytest.mark.parametrize("kind", TWINS)
def test_names_that_look_the_same_are_shown_by_their_code_points(kind: str) -> None:
    first, second, shown = TWINS[kind]
    with pytest.raises(UsageError) as error:
        check_class_names("class names of x", [first, "cow", second])
    assert str(error.value) == f"class names of x must differ, got {shown}; rename one"


def test_every_other_name_is_allowed() -> None:
    """Punctuation that some file format escapes, reserved names of Windows, any script."""
    check_class_names("class names of x", PLAIN)
    check_class_names("class names of x", [DECOMPOSED])
    check_class_names("class names of x", ())


def test_a_message_shows_a_part_of_a_long_name() -> None:
    with pytest.raises(UsageError) as error:
        check_class_names("class names of x", ["a" * 10**6 + "\n", "b"])
    assert len(str(error.value)) < 400


def write_folder(root: Path, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        for image in range(2):
            save(root / name / f"{image}.png", noise(8, 8) // (1 + image + 2 * number))


def write_npz(path: Path, names: Sequence[str]) -> None:
    labels = np.repeat(np.arange(len(names)), 2)
    np.savez(path, images=noise(len(labels), 8, 8), labels=labels, class_names=np.array(names))


def messages_of(path: Path) -> set[str]:
    """The errors of a folder or file in a plan, in training and in `model evaluate`."""
    name = "npz" if path.suffix else "folder"
    config = DataConfig(name=name, path=str(path), split="all")
    messages = set()
    for read in (
        lambda: describe(config),
        lambda: load_dataset(config),
        lambda: read_images(path, flag="data.path"),
        lambda: read_reference(path, None),
    ):
        with pytest.raises(UsageError) as error:
            read()
        messages.add(str(error.value).replace("--reference", "data.path"))
    return messages


@pytest.mark.parametrize("kind", [kind for kind in HIDDEN if kind != "spaces"])
def test_a_class_folder_is_refused_when_it_is_read(kind: str, tmp_path: Path) -> None:
    """In training and in `model evaluate`."""
    name, shown = HIDDEN[kind]
    write_folder(tmp_path / "data", ["cow", name])
    assert messages_of(tmp_path / "data") == {
        f"class folders of data.path must be visible, printable text, got '{shown}'; rename it"
    }


@pytest.mark.parametrize("kind", TWINS)
def test_class_folders_that_look_the_same_are_refused(kind: str, tmp_path: Path) -> None:
    first, second, _ = TWINS[kind]
    write_folder(tmp_path / "data", [first, second])
    (message,) = messages_of(tmp_path / "data")
    assert message.startswith("class folders of data.path must differ, got (")


def test_class_folders_of_a_split_are_checked_too(tmp_path: Path) -> None:
    """Two of val/ would be one of train/."""
    write_folder(tmp_path / "data" / "train", [COMPOSED, "cow"])
    write_folder(tmp_path / "data" / "val", [COMPOSED, DECOMPOSED, "cow"])
    config = DataConfig(name="folder", path=str(tmp_path / "data"), split="all")
    with pytest.raises(UsageError, match=r"^class folders of data\.path must differ, got "):
        describe(config)


def test_one_class_of_two_splits_may_be_normalised_in_two_ways(tmp_path: Path) -> None:
    """As where one archive was unpacked on macOS."""
    write_folder(tmp_path / "data" / "train", [COMPOSED, "cow"])
    write_folder(tmp_path / "data" / "val", [DECOMPOSED, "cow"])
    config = DataConfig(name="folder", path=str(tmp_path / "data"), split="official_train")
    data = load_dataset(config)
    assert data.class_names == (COMPOSED, "cow")
    assert data.class_counts(data.reference) == (2, 2)


def test_classes_of_generated_images_may_be_normalised_in_another_way(tmp_path: Path) -> None:
    """They are the reference's."""
    write_folder(tmp_path / "real", [COMPOSED, "cow"])
    write_folder(tmp_path / "train", [DECOMPOSED, "cow"])
    write_folder(tmp_path / "new", [DECOMPOSED, "cow"])
    reference = read_reference(tmp_path / "real", tmp_path / "train")
    _, labels = read_generated(tmp_path / "new", reference, num_images=None)
    assert reference.real.class_names == (COMPOSED, "cow")
    assert reference.real.train_labels is not None
    assert labels is not None
    assert labels.tolist() == reference.real.train_labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("kind", [kind for kind in HIDDEN if kind != "bytes"])
def test_class_names_of_a_file_are_refused_when_it_is_read(kind: str, tmp_path: Path) -> None:
    name, shown = HIDDEN[kind]
    path = tmp_path / "a.npz"
    write_npz(path, ["cow", name])
    wanted = f"class_names of {path} must be visible, printable text, got '{shown}'; rename it"
    assert messages_of(path) == {wanted}


@pytest.mark.parametrize("kind", TWINS)
def test_class_names_of_a_file_that_look_the_same_are_refused(kind: str, tmp_path: Path) -> None:
    first, second, shown = TWINS[kind]
    path = tmp_path / "a.npz"
    write_npz(path, [first, second])
    assert messages_of(path) == {f"class_names of {path} must differ, got {shown}; rename one"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "must be visible, printable text, got 'a\\nb'"),
        ("cow ", "must differ, got ('cow', "),
    ],
)
def test_label_names_of_the_hub_are_refused_when_they_are_read(
    name: str, shown: str, tmp_path: Path
) -> None:
    hub = pytest.importorskip("datasets")
    hub.disable_progress_bars()
    kinds = {"image": hub.Image(), "label": hub.ClassLabel(names=["cow", name])}
    images = [{"bytes": encoded(noise(8, 8), "PNG"), "path": None}] * 2
    data = hub.Dataset.from_dict({"image": images, "label": [0, 1]}, features=hub.Features(kinds))
    data.save_to_disk(tmp_path / "saved")
    config = DataConfig(name="huggingface", path=str(tmp_path / "saved"), split="all")
    for function in (describe, load_dataset):
        with pytest.raises(UsageError) as error:
            function(config)
        assert str(error.value).startswith(f"class names of data.name=huggingface {shown}")


def test_a_mistaken_class_that_looks_the_same_is_shown_by_its_code_points() -> None:
    """`did you mean` would otherwise repeat what was written."""
    with pytest.raises(UsageError, match=r"; did you mean 'cafe\\u0301'\?$"):
        check_choice("--classes", COMPOSED, [DECOMPOSED, "cow"])


def test_text_for_a_terminal_is_escaped_where_it_is_not_printable() -> None:
    assert printable("a|b \u732b caf\udce9 \x1b[2J\n") == r"a|b " + "\u732b" + r" caf\xe9 \x1b[2J\n"


def test_a_command_names_the_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    """At once, with exit code 2, in plain bytes."""
    write_folder(tmp_path / "pics", [os.fsdecode(b"caf\xe9"), "tea"])
    words = ["plan", "quickstart", "--data.name", "folder", "--data.path", str(tmp_path / "pics")]
    done = subprocess.run([sys.executable, "-m", "sweep", *words], capture_output=True)
    assert done.returncode == 2
    assert done.stderr == (
        b"error: class folders of data.path must be visible, printable text, got 'caf\\xe9'; "
        b"rename it\n"
    )


@pytest.mark.parametrize("names", [["cow", "cow "], ["cow", "\x1b[31mred"], ["cow", ""]])
def test_class_names_of_a_checkpoint_are_checked(names: list[str]) -> None:
    """As all its settings are when it is read."""
    with pytest.raises(
        UsageError, match=r"^class_names must (differ|be visible, printable text), "
    ):
        check_classes(2, names)
