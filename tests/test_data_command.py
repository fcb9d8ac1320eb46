"""Facts of `sweep data`: it shows what a run would read, by the run's own reader."""

import io
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest
from image_files import noise, save
from PIL import Image

from model.config import DataConfig
from model.data.datasets import load_dataset
from sweep.__main__ import PROGRAM

pytestmark = pytest.mark.filterwarnings("default::UserWarning")  # a command prints them


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]):
    """The words after `sweep data` to the exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        return PROGRAM.run(["data", *map(str, words)]), *capfd.readouterr()

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of images of several formats, sizes and modes, and files that are none."""
    root = tmp_path / "my images"
    for number in range(6):
        save(root / "cat" / f"{number}.png", noise(40 + number % 2, 50, 3))
    for number in range(4):
        save(root / "dog" / f"{number}.jpg", noise(70, 50))
    (root / "cat" / "notes.txt").touch()
    (root / "dog" / "more.txt").touch()
    (root / "labels").touch()
    (root / "dog" / "gone.png").symlink_to("nowhere")
    save(root / "cat" / ".hidden.png", noise(4, 4))
    return root


def lines_of(text: str) -> dict[str, list[str]]:
    """The lines of the output by their first word or words."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("  ")
        found.setdefault(name, []).append(rest.strip())
    return found


def test_a_folder_is_counted_by_class_format_mode_and_size(folder: Path, ask) -> None:
    """Each kind of file that is not read has its number and an example."""
    code, out, _ = ask(folder)
    lines = lines_of(out)
    assert code == 0
    assert lines["images"] == ["10, read as 64x64x3 uint8"]
    assert lines["formats"] == ["PNG 6, JPEG 4"]
    assert lines["modes"] == ["RGB 6, L 4"]
    assert lines["sizes"][0].startswith("70x50 4, 40x50 3, 41x50 3 (height x width")
    assert sorted(lines["not read"]) == [
        f".png that are links to nothing: 1, for example {folder}/dog/gone.png",
        f"files ending in .txt: 2, for example {folder}/cat/notes.txt",
        f"files without a suffix: 1, for example {folder}/labels",
        f"hidden images: 1, for example {folder}/cat/.hidden.png",
    ]
    assert lines["split"] == ["stratified: 8 train, 2 reference, 0 validation images"]
    assert [line.split() for line in out.splitlines()[-2:]] == [
        ["cat", "6", "5", "1", "0"],
        ["dog", "4", "3", "1", "0"],
    ]


def options_of(out: str) -> list[str]:
    """The options that the first line tells."""
    return shlex.split(lines_of(out)["settings"][0])


def test_the_options_that_it_tells_read_the_same(folder: Path, ask, capfd) -> None:
    """In sweep plan, which is the door of a run."""
    _, out, _ = ask(folder, "--data.split", "all", "--data.train-limit", "7")
    options = [*options_of(out), "--metrics.names", "--axis", "pool.alpha=1"]
    assert PROGRAM.run(["plan", "quickstart", *options]) == 0
    told = capfd.readouterr().out
    assert "folder, 64x64x3 uint8: 7 train, 0 reference, 0 validation images" in told
    assert lines_of(out)["split"] == ["all: 7 train, 0 reference, 0 validation images"]


def test_the_sheet_has_a_row_for_each_class(folder: Path, ask, tmp_path: Path) -> None:
    """Of training images, as load_dataset returns them."""
    size = 36
    sheet = tmp_path / "sheet.png"
    code, out, _ = ask(folder, "--data.image-size", size, "--sheet", sheet)
    assert code == 0
    assert out.splitlines()[-1].endswith("from top to bottom (cat, dog)")
    pixels = np.asarray(Image.open(io.BytesIO(sheet.read_bytes())))
    assert pixels.shape == (2 * (size + 2), 12 * (size + 2), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = load_dataset(DataConfig(name="folder", path=str(folder), image_size=size))
    assert dataset.labels is not None
    for label in (0, 1):
        members = dataset.train[dataset.labels[dataset.train] == label]
        row = pixels[label * (size + 2) :][: size + 2]
        for column, index in enumerate(members):
            cell = row[1 : size + 1, column * (size + 2) + 1 :][:, :size]
            np.testing.assert_array_equal(cell, dataset.images[index].transpose(1, 2, 0))
        assert not row[1 : size + 1, len(members) * (size + 2) + 1 :][:, :size].any()


def test_an_npz_is_read_at_its_own_size_and_type(ask, tmp_path: Path) -> None:
    """Its other arrays are named; floats need no further option."""
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 12, 12), np.float32), index=np.arange(9))
    code, out, _ = ask(tmp_path / "a.npz")
    assert code == 0
    assert options_of(out)[-4:] == ["--data.image-size", "12", "--data.dtype", "float32"]
    assert lines_of(out)["images"] == ["9, read as 12x12x1 float32"]
    assert lines_of(out)["not read"] == ["arrays: 1, for example index"]
    assert lines_of(out)["classes"] == ["none"]


def test_a_known_name_is_that_data_set_even_beside_a_folder(ask, tmp_path, monkeypatch) -> None:
    """./digits is the folder."""
    save(tmp_path / "digits" / "1.png", noise(4, 4))
    save(tmp_path / "digits" / "2.png", noise(4, 4))
    monkeypatch.chdir(tmp_path)
    assert lines_of(ask("digits")[1])["images"] == ["1,797, read as 8x8x1 uint8"]
    assert lines_of(ask("./digits")[1])["images"] == ["2, read as 64x64x1 uint8"]


def test_official_splits_are_told(ask, tmp_path: Path) -> None:
    """So that one knows which values data.split has."""
    for part, count in (("train", 4), ("test", 2)):
        for number in range(count):
            save(tmp_path / part / "cat" / f"{number}.png", noise(8, 8))
    _, out, _ = ask(tmp_path)
    assert lines_of(out)["official"] == ["4 train, 0 validation, 2 test images"]


@pytest.mark.usefixtures("plugins_forgotten")
def test_a_data_set_of_a_plug_in(ask) -> None:
    """Its name is known once the plug-in is loaded."""
    example = Path(__file__).parents[1] / "examples" / "own_data.py"
    name = re.search(r'DATASETS = \{\s*"([^"]+)"', example.read_text())
    assert name is not None
    code, out, _ = ask(name[1], "--import", example)
    assert code == 0
    assert options_of(out)[:2] == ["--data.name", name[1]]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["absent"], "PATH must be a folder, an .npz or .parquet file or the name of a data set"),
        (["digit"], "did you mean 'digits'?"),
        (["empty"], "data.path must hold images, got none in 'empty'"),
        (["broken"], "broken/1.png must be a readable image"),
        (["good", "--data.path", "empty"], "data.path must be left out beside PATH, got 'empty'"),
        (["good", "--sheet", "sheet.jpg"], "--sheet must be a .png file, got 'sheet.jpg'"),
        (["good", "--sheet", "absent/sheet.png"], "absent/sheet.png must be writable, got "),
        (["good", "--data.split", "official_train"], "data.split must be stratified or all"),
        (["wrong.npz"], "wrong.npz must be a whole .npz file"),
        (["folder"], "data.path must be set for data.name=folder, got None"),
    ],
)
def test_bad_input_is_one_line(words, wanted: str, ask, tmp_path: Path, monkeypatch) -> None:
    """With exit code 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    save(tmp_path / "good" / "1.png", noise(4, 4))
    save(tmp_path / "good" / "2.png", noise(4, 4))
    save(tmp_path / "broken" / "1.png", noise(4, 4))
    (tmp_path / "broken" / "1.png").write_bytes(b"no image")
    (tmp_path / "wrong.npz").write_bytes(b"no archive")
    code, out, err = ask(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert wanted in err
    assert err.count("\n") == 1
