"""The command `model`: train, sample and evaluate, in this process where one will do."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sheets import untile

from model.__main__ import PROGRAM, Train
from model.checkpoint import Checkpoint
from model.commands.train import fit_dataset
from model.config import DataConfig, MetricsConfig, ModelConfig, SampleConfig, TrainConfig
from model.data.datasets import load_dataset
from model.data.reading import decode_image
from sweep.config import LineageConfig, PoolConfig
from sweep.lineage.datasets import load_prepared, prepare_dataset
from sweep.lineage.run import LineageRun
from sweep.store.store import open_store

DATA = DataConfig(train_limit=64)
MODEL = ModelConfig(widths=(4, 8), block_depth=1, stem_width=4, embedding_dim=4)
TRAIN = TrainConfig(epochs=None, steps=60, batch_size=8)
TRAIN_FLAGS = [
    *("--data.train-limit", "64"),
    *("--model.widths", "4", "8", "--model.block-depth", "1"),
    *("--model.stem-width", "4", "--model.embedding-dim", "4"),
    *("--train.epochs", "None", "--train.steps", "60", "--train.batch-size", "8"),
]
GAUSSIAN_FLAGS = ["--data.train-limit", "64", "--model.family", "gaussian"]


def run(name: str, *args: object) -> int:
    return PROGRAM.run([name, *map(str, args)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def state_of(path: Path) -> Path:
    return path.with_name(path.name + ".training")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A network of 60 steps."""
    path = tmp_path_factory.mktemp("trained") / "ddim.safetensors"
    assert run("train", "--out", path, *TRAIN_FLAGS) == 0
    return path


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "gaussian.safetensors"
    assert run("train", "--out", path, *GAUSSIAN_FLAGS) == 0
    return path


def interrupt(path: Path, **changes: object) -> None:
    """Leave the state of a training to `path` that was stopped at step 40."""

    def stop(progress) -> None:
        if progress.step == 40:
            raise KeyboardInterrupt

    train, data = replace(TRAIN, **changes), load_dataset(DATA)
    command = Train(out=path, checkpoint_seconds=0, data=DATA, model=MODEL, train=train)
    job = command.job(60, command.state_file(data))
    with pytest.raises(KeyboardInterrupt):
        fit_dataset(data, replace(job, progress=stop))


# One generation by hand is the first one of a lineage


def test_train_sample_and_evaluate_give_what_the_lineage_has(tmp_path, weights, capsys):
    """Weights, images and numbers of V_1 are those of a sweep with the same settings and seed."""
    config = LineageConfig(
        generations=1,
        data=DATA,
        model=MODEL,
        train=TRAIN,
        sample=SampleConfig(steps=3),
        pool=PoolConfig(alpha=1.0),
        metrics=MetricsConfig(extractor="pixels"),
    )
    store = open_store(tmp_path / "store")
    card = prepare_dataset(DATA, store)
    data = load_prepared(card, store)
    (first,) = LineageRun(config=config, card=card, data=data, store=store).generations()
    assert weights.read_bytes() == store.nodes.read_file(first.node.key, "model.safetensors")

    count = len(data.reference)
    flags = ["--num-images", count, "--sample.steps", 3]
    assert run("sample", weights, "--out", tmp_path / "images", *flags) == 0
    capsys.readouterr()
    flags = ["--metrics.extractor", "pixels", "--format", "json", "--data.train-limit", 64]
    assert run("evaluate", "--images", tmp_path / "images", *flags) == 0
    found = json.loads(capsys.readouterr().out)
    (record,) = first.metrics
    assert found["values"] == record.values
    assert (found["num_images"], found["num_reference"]) == (count, count)


# train


def test_train_prints_how_long_it_is_and_its_final_loss(tmp_path, capsys):
    """60 steps of 8 images on 64: 480 seen, 7.5 views; decays (1 + s) / (10 + s) leave none."""
    assert run("train", "--out", tmp_path / "new" / "x.safetensors", *TRAIN_FLAGS) == 0
    streams = capsys.readouterr()
    lines = dict(line.split("  ", 1) for line in streams.out.splitlines())
    assert lines["steps"].strip() == "60"
    assert lines["images seen"].strip() == "480"
    assert lines["views"].strip() == "7.5 per image"
    assert lines["EMA start left"].strip() == "0.0%"
    assert 0 < float(lines["final loss"].split()[0]) < 2
    assert streams.err.splitlines()[-1].startswith("step 60 of 60, loss ")


def test_a_family_without_steps_prints_none(tmp_path, capsys):
    assert run("train", "--out", tmp_path / "x.safetensors", *GAUSSIAN_FLAGS) == 0
    streams = capsys.readouterr()
    said = [line.split("  ")[0] for line in streams.out.splitlines()]
    assert said == ["data", "images seen", "views", "written"]
    assert streams.err == ""


def test_the_same_command_resumes_to_the_same_bits(tmp_path, weights, capsys):
    out = tmp_path / "x.safetensors"
    interrupt(out)
    assert run("train", "--out", out, *TRAIN_FLAGS) == 0
    assert f"resuming from {state_of(out)}" in capsys.readouterr().err
    assert out.read_bytes() == weights.read_bytes()
    assert names(tmp_path) == ["x.safetensors"]


def test_a_training_with_other_settings_is_not_resumed(tmp_path, capsys):
    out = tmp_path / "x.safetensors"
    interrupt(out, lr=2e-3)
    assert run("train", "--out", out, *TRAIN_FLAGS) == 2
    error = capsys.readouterr().err
    assert "train.lr must be 0.002, as in the training to be resumed, got 0.001; delete" in error
    assert not out.exists()


def test_a_damaged_state_is_not_resumed(tmp_path, capsys):
    out = tmp_path / "x.safetensors"
    interrupt(out)
    state_of(out).write_bytes(state_of(out).read_bytes()[:-1])
    assert run("train", "--out", out, *TRAIN_FLAGS) == 2
    assert "must be an intact saved training, got a damaged one" in capsys.readouterr().err


def test_a_training_that_diverges_is_status_1_and_leaves_nothing(tmp_path, capsys):
    assert run("train", "--out", tmp_path / "x.safetensors", *TRAIN_FLAGS, "--train.lr", 1e30) == 1
    assert capsys.readouterr().err.startswith("diverged: the loss is ")
    assert names(tmp_path) == []


def test_the_best_epoch_can_be_kept(tmp_path):
    """Its KID is taken of as many images as the validation split has."""
    flags = ["--data.validation-fraction", 0.02, "--train.select", "best_kid", "--train.steps", 8]
    assert run("train", "--out", tmp_path / "x.safetensors", *TRAIN_FLAGS, *flags) == 0


@pytest.mark.slow
def test_ctrl_c_says_that_the_same_command_resumes(tmp_path):
    """Status 130, and no traceback."""
    out = tmp_path / "x.safetensors"
    flags = [*TRAIN_FLAGS, "--train.steps", "1000000", "--checkpoint-seconds", "0"]
    command = [sys.executable, "-m", "model", "train", "--out", str(out), *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not state_of(out).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert process.returncode == 130
    assert error.splitlines()[-1] == "stopped; run the same command again to resume"
    assert "Traceback" not in error
    assert names(tmp_path) == [state_of(out).name]


# sample


def sampled(weights: Path, out: Path, count: int) -> Path:
    assert run("sample", weights, "--out", out, "--num-images", count, "--sample.steps", 2) == 0
    return out


def read_folder(folder: Path) -> np.ndarray:
    """(N, C, H, W) uint8."""
    files = sorted(folder.iterdir())
    return np.stack([decode_image(file).transpose(2, 0, 1) for file in files])


def test_a_folder_holds_one_png_for_each_image(tmp_path, weights):
    folder = sampled(weights, tmp_path / "images", 3)
    assert names(folder) == ["000000.png", "000001.png", "000002.png"]
    assert names(tmp_path) == ["images"]


def test_more_images_begin_with_the_same_ones(tmp_path, weights):
    """130 are one of the network's blocks of 128 and two of the next."""
    many = read_folder(sampled(weights, tmp_path / "many", 130))
    few = read_folder(sampled(weights, tmp_path / "few", 5))
    assert len(many) == 130
    assert (many[:5] == few).all()


def test_folder_sheet_and_npz_hold_the_same_images(tmp_path, weights):
    """A sheet of five has three columns, and so two rows, the last cell black."""
    images = read_folder(sampled(weights, tmp_path / "images", 5))
    sheet = decode_image(sampled(weights, tmp_path / "sheet.png", 5))
    with np.load(sampled(weights, tmp_path / "images.npz", 5)) as file:
        assert (file["images"] == images).all()
    assert sheet.shape == (2 * 8, 3 * 8, 1)
    assert (untile(sheet, 8)[:5] == images).all()


def test_another_seed_draws_other_images(tmp_path, weights):
    first = read_folder(sampled(weights, tmp_path / "first", 2))
    flags = ["--seed", 1, "--num-images", 2, "--sample.steps", 2]
    assert run("sample", weights, "--out", tmp_path / "second", *flags) == 0
    assert (first != read_folder(tmp_path / "second")).any()


def test_an_empty_folder_is_filled(tmp_path, gaussian):
    (tmp_path / "images").mkdir()
    assert run("sample", gaussian, "--out", tmp_path / "images", "--num-images", 2) == 0
    assert len(read_folder(tmp_path / "images")) == 2


def test_images_without_a_range_go_into_an_npz_file_only(tmp_path, capsys):
    """A PNG of them would be clipped, and every number of it wrong."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", images=rng.normal(size=(40, 1, 4, 4)).astype(np.float32))
    data = ["--data.name", "npz", "--data.path", tmp_path / "data.npz", "--data.image-size", 4]
    data += ["--data.dtype", "float32"]
    path = tmp_path / "x.safetensors"
    assert run("train", "--out", path, "--model.family", "gaussian", *data) == 0
    assert run("sample", path, "--out", tmp_path / "images") == 2
    assert "--out must end in .npz" in capsys.readouterr().err
    assert not (tmp_path / "images").exists()
    assert run("sample", path, "--out", tmp_path / "images.npz", "--num-images", 8) == 0
    flags = ["--images", tmp_path / "images.npz", *data, "--metrics.extractor", "pixels"]
    assert run("evaluate", *flags) == 0


def test_samples_that_are_not_finite_are_status_1(tmp_path, gaussian, capsys):
    found = Checkpoint.from_bytes(gaussian.read_bytes())
    tensors = {name: tensor * float("nan") for name, tensor in found.tensors.items()}
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(replace(found, tensors=tensors).to_bytes())
    assert run("sample", broken, "--out", tmp_path / "images") == 1
    assert capsys.readouterr().err == "diverged: samples are not finite\n"
    assert names(tmp_path) == ["broken.safetensors"]


# evaluate


@pytest.fixture(scope="module")
def images(tmp_path_factory, gaussian) -> Path:
    """A folder of 100 digits of the null model."""
    folder = tmp_path_factory.mktemp("drawn") / "images"
    assert run("sample", gaussian, "--out", folder, "--num-images", 100) == 0
    return folder


def test_every_number_stands_beside_how_many_images_it_is_of(images, capsys):
    """A fifth of the 1797 digits, class by class, is the reference: 359."""
    capsys.readouterr()
    assert run("evaluate", "--images", images, "--metrics.extractor", "pixels") == 0
    head, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head == ["metric", "value", "se", "images", "reference"]
    assert {row[0] for row in rows} >= {"kid/pixels", "fid/pixels", "pixel_std"}
    assert {tuple(row[3:]) for row in rows} == {("100", "359")}


@pytest.mark.filterwarnings("always")
def test_only_as_many_images_as_asked_for_are_measured(images, capsys):
    capsys.readouterr()
    flags = ["--metrics.extractor", "pixels", "--metrics.num-images", 50]
    assert run("evaluate", "--images", images, *flags) == 0
    streams = capsys.readouterr()
    assert "  50  " in streams.out
    assert streams.err.splitlines()[0] == "warning: only the first 50 of 100 images are measured"
    assert streams.err.splitlines()[1].startswith("warning: fid/pixels should have more images")


def test_pngs_are_measured_against_float_images_too(images, capsys):
    """The same numbers but for the rounding of float32."""
    values = []
    for dtype in ("uint8", "float32"):
        flags = ["--metrics.extractor", "pixels", "--format", "json", "--data.dtype", dtype]
        capsys.readouterr()
        assert run("evaluate", "--images", images, *flags) == 0
        values.append(json.loads(capsys.readouterr().out)["values"])
    assert values[0] == pytest.approx(values[1], rel=1e-3)


# Mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --out x.pt", "--out must end in .safetensors, got 'x.pt'"),
        ("train --out {weights}", "--out must be a new file"),
        ("train --out {weights}/x.safetensors", "--out must be in a folder that can be written"),
        ("train --out {new}.safetensors --train.epochs 0", "train.epochs must be at least 1"),
        ("train --out {new}.safetensors --data.image-size 9", "data.image_size must be divisible"),
        ("train --out {new}.safetensors --data.name digts", "did you mean 'digits'?"),
        ("train --out {new}.safetensors --model.family gausian", "did you mean 'gaussian'?"),
        ("train --out {new}.safetensors --seed -1", "--seed must be at least 0, got -1"),
        ("train --out {new}.safetensors --threads 0", "--threads must be at least 1, got 0"),
        ("sample {new}.safetensors --out {new}", "CHECKPOINT must be an existing file"),
        ("sample {images} --out {new}", "CHECKPOINT must be an existing file"),
        ("sample {cut} --out {new}", "cut.safetensors must be a complete checkpoint of ours"),
        (
            "sample {foreign} --out {new}",
            "foreign.safetensors must be a model trained by this package",
        ),
        (
            "sample {flipped} --out {new}",
            "flipped.safetensors must have the contents it was written",
        ),
        ("sample {weights} --out {images}", "--out must be new or an empty folder"),
        ("sample {weights} --out {images}/000000.png", "--out must be a new file"),
        ("sample {weights} --out {new}.jpg", "--out must be a folder, a .png or an .npz file"),
        ("sample {weights} --out {new} --num-images 0", "--num-images must be at least 1, got 0"),
        ("evaluate --images {new}", "--images must be an existing folder or .npz file"),
        ("evaluate --images {empty}", "--images must hold images, got none in"),
        ("evaluate --images {damaged}", "000000.png must be a readable image"),
        (
            "evaluate --images {images} --data.image-size 16",
            "must be 16x16x1 (height, width, channels) like the reference, got 8x8x1",
        ),
        (
            "evaluate --images {images} --data.name flower-crops --data.num-images 90",
            "must be 8x8x3 (height, width, channels) like the reference, got 8x8x1",
        ),
        ("evaluate --images {images} --data.split all", "data.split must leave a reference"),
        ("evaluate --images {images} --metrics.names kidd", "did you mean 'kid'?"),
        (
            "evaluate --images {images} --metrics.num-images 101",
            "metrics.num_images must be at most the number of images (100), got 101",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, weights, images, capsys, words, message):
    """And nothing is written."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "empty").mkdir()
    (made / "damaged").mkdir()
    (made / "damaged" / "000000.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (made / "cut.safetensors").write_bytes(weights.read_bytes()[:3000])
    flipped = bytearray(weights.read_bytes())
    flipped[-100] ^= 1
    (made / "flipped.safetensors").write_bytes(flipped)
    (made / "foreign.safetensors").write_bytes(Checkpoint(tensors={}).to_bytes())
    places = {name: made / name for name in ("empty", "damaged")}
    places |= {name: made / f"{name}.safetensors" for name in ("cut", "flipped", "foreign")}
    places |= {"weights": weights, "images": images, "new": tmp_path / "new"}
    capsys.readouterr()
    name, *args = [word.format(**places) for word in words.split()]
    assert run(name, *args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert names(tmp_path) == ["made"]
