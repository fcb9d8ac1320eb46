"""Facts of the packages as a Python program uses them: they do what the commands do."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from running_sweep import SWEEP, write_sweep

import analysis
import model
import sweep
from model.__main__ import PROGRAM as MODEL
from model.checkpoint import Checkpoint
from model.config import DataConfig, MetricsConfig, ModelConfig, SampleConfig, TrainConfig
from model.data.datasets import load_dataset
from model.errors import UsageError
from sweep.__main__ import PROGRAM as SWEEPS

DIGITS = DataConfig(name="digits", train_limit=200)
NETWORK = ModelConfig(widths=(4, 8), block_depth=1, stem_width=4, embedding_dim=4)
STEPS = TrainConfig(epochs=None, steps=3, batch_size=8)
WORDS = [
    *("--data.train-limit", "200", "--model.widths", "4", "8", "--model.block-depth", "1"),
    *("--model.stem-width", "4", "--model.embedding-dim", "4"),
    *("--train.epochs", "None", "--train.steps", "3", "--train.batch-size", "8"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that `model train` writes, with an image file of `model sample` beside it."""
    file = tmp_path_factory.mktemp("model") / "digits.safetensors"
    assert MODEL.run(["train", "--out", str(file), "--seed", "3", *WORDS]) == 0
    sampled = ["sample", str(file), "--out", str(file.with_name("drawn.npz"))]
    assert MODEL.run([*sampled, "--num-images", "9", "--seed", "3", "--sample.steps", "2"]) == 0
    return file


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The (N, 1, 8, 8) training images that the command used, and the reference."""
    data = load_dataset(DIGITS)
    return data.images[data.train], data.images[data.reference]


def test_a_model_trained_on_an_array_is_that_of_the_command(trained) -> None:
    images, _ = digits()
    checkpoint = model.train(images, model=NETWORK, train=STEPS, seed=3)
    assert checkpoint.to_bytes() == trained.read_bytes()


def test_images_drawn_from_it_are_those_of_the_command(trained) -> None:
    checkpoint = Checkpoint.from_bytes(trained.read_bytes())
    drawn = model.sample(checkpoint, 9, sample=SampleConfig(steps=2), seed=3)
    with np.load(trained.with_name("drawn.npz")) as stored:
        np.testing.assert_array_equal(drawn, stored["images"])


def test_real_images_are_near_the_reference_and_their_negatives_are_not() -> None:
    images, reference = digits()
    metrics = MetricsConfig(names=("kid",), extractor="pixels")
    near = model.evaluate(images, reference, metrics=metrics).values["kid/pixels"]
    far = model.evaluate(255 - images, reference, metrics=metrics).values["kid/pixels"]
    assert abs(near) < 0.01 < 0.1 < far


def test_a_conditional_model_draws_the_classes_in_turn_or_as_asked() -> None:
    """The Gaussian of each class has a constant colour: class 1 is white."""
    labels = np.arange(40) % 2
    images = np.empty((40, 1, 4, 4), np.uint8)
    images[:] = (250 * labels)[:, None, None, None]
    images[:, 0, 0, 0] ^= np.arange(40).astype(np.uint8) // 2  # not all the same
    family = ModelConfig(family="gaussian", conditional=True)
    checkpoint = model.train(images, labels, model=family, class_names=("black", "white"))
    in_turn = model.sample(checkpoint, 6)[:, 0, 2, 2]
    assert (in_turn > 125).tolist() == [False, True] * 3
    asked = model.sample(checkpoint, 3, labels=np.array([1, 1, 0]))[:, 0, 2, 2]
    assert (asked > 125).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((4, 8, 8), np.uint8)}, r"images must be \(N, C, H, W\)"),
        ({"images": np.zeros((4, 1, 8, 9), np.uint8)}, "at least 2 square images"),
        ({"images": np.zeros((4, 1, 8, 8))}, "images must be uint8 or float32, got float64"),
        ({"train": TrainConfig(select="best_kid")}, "train.select must be last for arrays"),
        ({"model": ModelConfig()}, "image_size must be divisible by 8"),
    ],
)
def test_what_cannot_be_trained_is_refused(change, message) -> None:
    images = np.zeros((4, 1, 12, 12), np.uint8)
    arguments = {"images": images, "model": NETWORK, "train": STEPS} | change
    with pytest.raises(UsageError, match=message):
        model.train(arguments.pop("images"), **arguments)


def test_importing_the_packages_imports_no_library() -> None:
    check = (
        "import sys, model, sweep, analysis; print({'numpy', 'torch', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


RUN = """
import sweep
table = sweep.run("tiny.toml", out="run")
table.to_pickle("table.pkl")
"""


@pytest.mark.ray
def test_a_sweep_run_from_python_is_resumed_by_the_command(tmp_path) -> None:
    write_sweep(tmp_path, (1.0,), base__model__family="gaussian")
    line = [sys.executable, "-c", RUN]
    subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    table = pd.read_pickle(tmp_path / "table.pkl")  # noqa: S301 (written above)
    assert isinstance(table, pd.DataFrame)
    pd.testing.assert_frame_equal(table, analysis.load(tmp_path / "run"))
    assert table["generation"].tolist() == [1, 2]
    again = [SWEEP, "run", "run/sweep.json", "--out", "run"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "nothing to compute" in done.stderr


def test_a_plan_is_that_of_the_command(capsys) -> None:
    found = sweep.plan("quickstart")
    assert SWEEPS.run(["plan", "quickstart", "--format", "json"]) == 0
    assert found == json.loads(capsys.readouterr().out)


def test_settings_are_checked_before_anything_is_written(tmp_path) -> None:
    with pytest.raises(UsageError, match="preset must be one of"):
        sweep.run("quickstrat", out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
