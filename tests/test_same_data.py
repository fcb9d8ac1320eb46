"""A results folder and its data: the same content is accepted anywhere, another one is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import files_of
from PIL import Image
from tiny_sweep import finish, make_lineage, make_sweep

from sweep.config import SweepConfig
from sweep.results_folder import read_sweep, write_sweep

DONE = "2 done, 0 to train"


def write_pictures(root: Path, *, seed: int = 0) -> Path:
    """24 noisy pictures of two classes."""
    for number in range(24):
        folder = root / "xy"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng([seed, number]).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(noise).save(folder / f"{number:02}.png")
    return root


def write_arrays(path: Path, *, seed: int = 0, compressed: bool = False) -> Path:
    """An .npz file of 24 noisy images."""
    images = np.random.default_rng(seed).integers(0, 256, (24, 1, 8, 8), np.uint8)
    (np.savez_compressed if compressed else np.savez)(path, images=images)
    return path


def sweep_of(name: str, path: Path | str, **axes: list) -> SweepConfig:
    changes = {
        "data.name": name,
        "data.path": str(path),
        "data.train_limit": None,
        "model.family": "gaussian",
        "metrics.num_images": None,
    }
    grid = {axis.replace("__", "."): values for axis, values in axes.items()}
    return make_sweep((grid,), make_lineage(changes))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pics")


@pytest.fixture
def out(tmp_path: Path, pictures: Path) -> Path:
    return finish(tmp_path / "run", sweep_of("folder", pictures))


def again(word: str, out: Path, path: object) -> tuple[object, ...]:
    """The words of the command that began a folder, with data at another path."""
    return word, out / "sweep.json", "--out", out, "--data.path", path


def test_a_copy_with_other_times_is_the_same_data(ask, out, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(pictures)
    (tmp_path / "copy").rename(pictures)
    assert DONE in ask("sweep", *again("plan", out, pictures))[1]


def test_moved_data_are_the_same_data(ask, out, pictures, tmp_path):
    """Which the next run says in sweep.json; no model is computed again."""
    moved = pictures.rename(tmp_path / "moved")
    assert DONE in ask("sweep", *again("plan", out, moved))[1]
    before = sorted(path.name for path in (out / "generations").iterdir())
    code, said = ask("sweep", *again("run", out, moved))
    assert code == 0
    assert "nothing to compute" in said
    assert sorted(path.name for path in (out / "generations").iterdir()) == before
    assert read_sweep(out).base.data.path == str(moved)
    assert len(list((out / "datasets").iterdir())) == 1


@pytest.mark.parametrize("word", ["status", "clean"])
def test_a_finished_sweep_answers_from_its_store(word, ask, out, pictures, monkeypatch):
    """Without the data, and from another working folder."""
    shutil.rmtree(pictures)
    monkeypatch.chdir("/")
    code, said = ask("sweep", word, out)
    assert code == 0
    assert "2 of 2" in said or "nothing to delete" in said


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("word", ["plan", "run"])
def test_a_finished_sweep_whose_data_are_gone_uses_its_store_and_says_so(word, ask, out, pictures):
    shutil.rmtree(pictures)
    code, said = ask("sweep", *again(word, out, pictures))
    assert code == 0
    assert "the data set in the store is used" in said
    assert DONE in said or "nothing to compute" in said


def changed_pixel(pictures: Path) -> None:
    path = next(pictures.rglob("*.png"))
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)


def renamed_class(pictures: Path) -> None:
    (pictures / "x").rename(pictures / "z")


def one_image_less(pictures: Path) -> None:
    next(pictures.rglob("*.png")).unlink()


def one_image_more(pictures: Path) -> None:
    shutil.copyfile(next(pictures.rglob("*.png")), pictures / "x" / "99.png")


def other_class(pictures: Path) -> None:
    next(pictures.glob("x/*.png")).rename(pictures / "y" / "98.png")


CHANGES = [changed_pixel, renamed_class, one_image_less, one_image_more, other_class]


@pytest.mark.parametrize("word", ["plan", "run"])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_are_refused_and_nothing_is_replaced(change, word, ask, out, pictures):
    """In place, under the old path."""
    change(pictures)
    before = files_of(out)
    code, said = ask("sweep", *again(word, out, pictures))
    assert code == 2
    assert said.startswith(f"error: data.path must hold the data set with which {out} was begun")
    assert files_of(out) == before


@pytest.mark.parametrize("word", ["plan", "run"])
def test_the_same_relative_path_in_another_folder_is_refused(
    word, ask, pictures, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    out = finish(tmp_path / "run", sweep_of("folder", "pics"))
    write_pictures(tmp_path / "b" / "pics", seed=1)
    monkeypatch.chdir(tmp_path / "b")
    before = files_of(out)
    code, said = ask("sweep", word, out / "sweep.json", "--out", out)
    assert code == 2
    assert "got 'pics' with another one" in said
    assert files_of(out) == before


def test_arrays_saved_in_another_way_are_the_same_data(ask, tmp_path):
    """The file's bytes differ, and its name; the images do not."""
    path = write_arrays(tmp_path / "a.npz")
    out = finish(tmp_path / "run", sweep_of("npz", path))
    other = write_arrays(tmp_path / "b.npz", compressed=True)
    assert path.read_bytes() != other.read_bytes()
    assert DONE in ask("sweep", *again("plan", out, other))[1]
    code, said = ask("sweep", *again("plan", out, write_arrays(tmp_path / "c.npz", seed=1)))
    assert code == 2
    assert "another one" in said


def test_a_path_is_a_new_point_if_paths_are_an_axis(ask, tmp_path):
    """And other data under one of the paths are refused all the same."""
    first, second, third = (write_arrays(tmp_path / f"{n}.npz", seed=n) for n in range(3))
    out = finish(tmp_path / "run", sweep_of("npz", first, data__path=[str(first), str(second)]))
    plan = ("plan", out / "sweep.json", "--out", out)
    assert "4 done, 0 to train" in ask("sweep", *plan)[1]
    assert "4 done, 2 to train" in ask("sweep", *plan, "--axis", f"data.path={third}")[1]
    write_arrays(second, seed=9)
    code, said = ask("sweep", *plan)
    assert code == 2
    assert f"got '{second}' with another one" in said


def test_a_damaged_data_set_is_prepared_again_from_the_same_files_only(ask, out, pictures):
    (images,) = out.glob("datasets/*/images.npy")
    images.write_bytes(images.read_bytes()[:-1])
    assert ask("sweep", *again("run", out, pictures))[0] == 0
    images.write_bytes(images.read_bytes()[:-1])
    changed_pixel(pictures)
    code, said = ask("sweep", *again("run", out, pictures))
    assert code == 2
    assert "with another one" in said


def test_status_needs_no_data_set(ask, out):
    shutil.rmtree(out / "datasets")
    code, said = ask("sweep", "status", out)
    assert code == 0
    assert "2 of 2 models done" in said


@pytest.mark.parametrize("word", ["clean", "evaluate"])
def test_a_store_without_the_data_set_is_an_error(word, ask, out):
    shutil.rmtree(out / "datasets")
    before = files_of(out)
    code, said = ask("sweep", word, out)
    assert code == 2
    assert f"{out} must hold the sweep's data set folder" in said
    assert files_of(out) == before


def test_the_same_command_prepares_a_lost_data_set_again(ask, out, pictures):
    shutil.rmtree(out / "datasets")
    code, said = ask("sweep", *again("run", out, pictures))
    assert code == 0
    assert "nothing to compute" in said


def test_lineages_of_other_settings_are_never_deleted(ask, out, pictures):
    """As after a change of sweep.json by hand, or a merge of two folders."""
    (record,) = (out / "lineages").iterdir()
    (out / "sweep.json").unlink()
    sweep = sweep_of("folder", pictures)
    write_sweep(out, replace(sweep, base=replace(sweep.base, seed=1)), "sweep run")
    code, said = ask("sweep", *again("run", out, pictures))
    assert code == 2
    assert "--out must hold only lineages of this sweep" in said
    assert record.exists()


def test_a_results_folder_of_an_earlier_version_names_its_data_in_its_lineages(ask, out, pictures):
    """Its sweep.json has no list of data sets."""
    write_sweep(out, read_sweep(out), "sweep run")
    shutil.rmtree(pictures)
    code, said = ask("sweep", "status", out)
    assert code == 0
    assert "2 of 2" in said
