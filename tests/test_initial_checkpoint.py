"""Trainings that start from a pretrained checkpoint: train.initial_checkpoint."""

import hashlib
import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sweep import compute, finish, make_lineage, make_run, make_sweep, plan, plan_in

import model as python
from model.__main__ import PROGRAM as MODEL
from model.checkpoint import Checkpoint
from model.commands.checkpoint_file import read_checkpoint
from model.config import ModelConfig, SampleConfig, TrainConfig
from model.data.datasets import load_dataset
from model.errors import UsageError
from model.families import family_of
from model.randomness import Purpose
from model.streams import Stream
from model.training.initial import with_digest
from sweep.__main__ import PROGRAM as SWEEP
from sweep.config import LineageConfig
from sweep.planning.lineages import resolved
from sweep.planning.nodes import plan_lineage
from sweep.store.store import Store, open_store

TINY = ("--data.train-limit", "40", "--model.widths", "4", "8", "--model.block-depth", "1")
TINY += ("--model.stem-width", "4", "--model.embedding-dim", "4", "--train.batch-size", "8")
TINY += ("--train.epochs", "None", "--train.ema-decay", "0.5")


def pretrain(out: Path, *words: str) -> Path:
    """The file of a model that was trained for 30 steps on the tiny lineage's data."""
    steps = () if "--train.steps" in words else ("--train.steps", "30")
    assert MODEL.run(["train", "--out", str(out), *TINY, *steps, *words]) == 0
    return out


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(tmp_path_factory.mktemp("base") / "base.safetensors")


def lineage(base: Path, **settings: Any) -> LineageConfig:
    """The tiny lineage, starting from a checkpoint, with its digest."""
    config = make_lineage({"train.initial_checkpoint": str(base), **settings})
    return resolved(config, config)


def images_of(checkpoint: Checkpoint) -> np.ndarray:
    """Images that a model draws from fixed noise."""
    config = SampleConfig(steps=5)
    stream = Stream(checkpoint=checkpoint, config=config, seed=(0, 1, 0), purpose=Purpose.SAMPLE)
    return stream.preview(8).astype(np.float64)


def weights_of(config: LineageConfig, store: Store) -> list[Checkpoint]:
    """The weights of a lineage, which is computed first."""
    compute(config, store)
    data = [
        store.nodes.read_file(n.key, "model.safetensors") for n in make_run(config, store).nodes
    ]
    return [Checkpoint.from_bytes(each) for each in data]


STILL = {"train.steps": 1, "train.lr": 1e-12, "train.weight_decay": 0.0, "model.bn_momentum": 1e-9}
"""A training that changes no weight and no statistics noticeably."""


@pytest.mark.parametrize("start", ["scratch", "continue"])
def test_without_training_every_generation_draws_the_checkpoints_images(start, base, tmp_path):
    """Every model starts from the same weights, or V_1 does and the others continue."""
    config = lineage(base, **STILL, **{"train.start": start, "generations": 3})
    wanted = images_of(read_checkpoint(base))
    assert wanted.std() > 1
    models = weights_of(config, open_store(tmp_path))
    assert len(models) == 3
    for checkpoint in models:
        assert np.abs(images_of(checkpoint) - wanted).max() <= 1
        for name in ("mean", "std"):
            assert torch.equal(checkpoint.tensors[name], read_checkpoint(base).tensors[name])


def test_training_changes_the_weights(base, tmp_path):
    """And the second generation starts from the checkpoint again, not from the first."""
    config = lineage(base, **{"train.steps": 4})
    first, second = weights_of(config, open_store(tmp_path))
    alone = weights_of(make_lineage({"train.steps": 4}), open_store(tmp_path / "scratch"))[0]
    start = read_checkpoint(base).part("ema.")
    moved = {name: (t - start[name]).abs().max() for name, t in first.part("raw.").items()}
    assert 0 < max(moved.values()) < 0.1
    assert any(
        not torch.equal(t, alone.part("raw.")[name]) for name, t in first.part("raw.").items()
    )
    again = {name: (t - start[name]).abs().max() for name, t in second.part("raw.").items()}
    assert 0 < max(again.values()) < 0.1


def test_the_key_depends_on_the_weights_and_not_on_the_path(base, tmp_path):
    """Without a checkpoint it is the key from before there were any."""
    copy, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(base.read_bytes())
    pretrain(other, "--seed", "1")
    keys = {
        name: [node.key for node in plan(make_sweep(base=config))[0].nodes]
        for name, config in {
            "none": make_lineage(),
            "base": lineage(base),
            "copy": lineage(copy),
            "other": lineage(other),
        }.items()
    }
    assert keys["base"] == keys["copy"]
    assert len({key for each in keys.values() for key in each}) == 6
    (node, _) = plan(make_sweep(base=lineage(base)))[0].nodes
    digest = hashlib.sha256(base.read_bytes()).hexdigest()
    assert node.inputs["train"]["initial_sha256"] == digest
    assert "initial_checkpoint" not in node.inputs["train"]


def test_a_key_needs_the_digest(base):
    """So that no key can be made without it."""
    config = make_lineage({"train.initial_checkpoint": str(base)})
    with pytest.raises(UsageError, match=r"^train\.initial_sha256 must be known before keys"):
        plan_lineage(config, plan(make_sweep())[0].card)


AS = "as in train.initial_checkpoint"
REFUSED = [
    (
        {"model.widths": [8, 8]},
        f"model.widths must be [4, 8] {AS}, got [8, 8]",
    ),
    (
        {"model.family": "flow"},
        f"model.family must be 'ddim' {AS}, got 'flow'",
    ),
    (
        {"model.conditional": True},
        f"model.conditional must be False {AS}, got True",
    ),
    (
        {"data.image_size": 16},
        f"the images' (C, H, W) must be (1, 8, 8) {AS}, got (1, 16, 16)",
    ),
    (
        {"model.family": "gaussian"},
        "train.initial_checkpoint must be None with model.family=gaussian, which is no network",
    ),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_another_network_is_refused_in_a_plan(settings, message, base, tmp_path):
    """Before anything is trained."""
    with pytest.raises(UsageError) as error:
        plan_in(make_sweep(base=lineage(base, **settings)), open_store(tmp_path))
    assert str(error.value).startswith(message)


def test_settings_that_only_affect_training_may_differ(base):
    plan(make_sweep(base=lineage(base, **{"model.bn_momentum": 0.1, "model.init": "torch"})))


def test_classes_must_be_those_of_the_checkpoint(tmp_path):
    """Their number here; the tiny card has two."""
    conditional = pretrain(tmp_path / "c.safetensors", "--model.conditional")
    with pytest.raises(UsageError, match=r"the number of classes must be 10 as in train\.initial_"):
        plan(make_sweep(base=lineage(conditional, **{"model.conditional": True})))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "train.initial_checkpoint must be an existing file, or a folder of "),
        (
            lambda path: path.write_bytes(b"no checkpoint"),
            f"{AS[6:]} must be a checkpoint of",
        ),
        (
            lambda path: path.write_bytes(b""),
            f"{AS[6:]} must be a checkpoint of ours",
        ),
        (
            lambda path: path.mkdir(),
            f"{AS[6:]} must be a file, or a folder with config",
        ),
    ],
)
def test_a_wrong_path_is_one_line_of_a_plan(write, message, tmp_path, capfd):
    """With exit code 2."""
    path = tmp_path / "base.safetensors"
    write(path)
    assert SWEEP.run(["plan", "quickstart", "--train.initial-checkpoint", str(path)]) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_a_file_that_changes_is_refused_where_it_is_read(base, tmp_path):
    """Its digest is part of the keys."""
    path = tmp_path / "base.safetensors"
    path.write_bytes(base.read_bytes())
    config = lineage(path)
    pretrain(tmp_path / "other.safetensors", "--seed", "1").replace(path)
    with pytest.raises(UsageError, match=r"^train\.initial_checkpoint must be the file with SHA"):
        compute(config, open_store(tmp_path / "store"))


def test_results_need_no_checkpoint(base, tmp_path):
    """A lineage that is finished is planned from its record, and another file is refused."""
    path, out = tmp_path / "base.safetensors", tmp_path / "out"
    path.write_bytes(base.read_bytes())
    finish(out, make_sweep(base=lineage(path)))
    before = [n.key for n in plan_in(make_sweep(base=lineage(path)), open_store(out))[0].nodes]
    path.unlink()
    assert SWEEP.run(["plan", str(out / "sweep.json"), "--out", str(out)]) == 0
    assert SWEEP.run(["status", str(out)]) == 0
    begun = json.loads((out / "sweep.json").read_bytes())["base"]["train"]
    kept = make_lineage(
        {f"train.{name}": begun[name] for name in ("initial_checkpoint", "initial_sha256")}
    )
    assert [n.key for n in plan_in(make_sweep(base=kept), open_store(out))[0].nodes] == before


def test_an_axis_of_checkpoints(base, tmp_path, capfd):
    """From scratch beside fine-tuning."""
    axis = f"train.initial_checkpoint=none,{base}"
    words = ["--pool.alpha", "1", "--model.widths", "4", "8", "--model.block-depth", "1"]
    words += ["--model.stem-width", "4", "--model.embedding-dim", "4", "--metrics.names"]
    file = tmp_path / "one.json"
    file.write_text(json.dumps({"base": {"data": {"train_limit": 200}}}))
    assert SWEEP.run(["plan", str(file), "--axis", axis, *words, "--format", "json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["num_lineages"] == 2
    assert facts["num_models"] == 2 * LineageConfig().generations


def test_members_share_the_checkpoint(base):
    members = [f"train.initial_checkpoint={base}", "share=1"]
    config = make_lineage({"ensemble.members": ["share=0.5 " + members[0], "share=0.5"]})
    with pytest.raises(UsageError, match=r"must not set train\.initial_checkpoint, which all"):
        plan(make_sweep(base=config))


def test_model_train_starts_from_a_checkpoint(base, tmp_path):
    """As V_1 of a lineage with the same settings does, bit for bit."""
    out = tmp_path / "tuned.safetensors"
    pretrain(out, "--train.initial-checkpoint", str(base), "--train.steps", "4")
    config = lineage(base, **{"train.steps": 4, "generations": 1})
    (first,) = weights_of(config, open_store(tmp_path / "store"))
    assert read_checkpoint(out).digest() == first.digest()


def test_model_train_in_python_starts_from_a_checkpoint(base):
    config = make_lineage()
    data = load_dataset(config.data)
    train = replace(config.train, initial_checkpoint=str(base), lr=1e-12, weight_decay=0.0, steps=1)
    tuned = python.train(data.images[data.train], model=config.model, train=train)
    wanted = images_of(read_checkpoint(base))
    assert np.abs(images_of(tuned) - wanted).max() <= 1


UNET2D = ModelConfig(family="unet2d", widths=(8, 8), block_depth=1, normalization="half")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A UNet2DModel of diffusers, as save_pretrained writes it."""
    pytest.importorskip("diffusers")
    from model.networks.size import unet2d_arguments

    UNet2DModel = importlib.import_module("diffusers.models.unets.unet_2d").UNet2DModel
    torch.manual_seed(0)
    network = UNet2DModel(sample_size=8, **unet2d_arguments((1, 8, 8), UNET2D, 0))
    network.save_pretrained(tmp_path / "unet")
    return tmp_path / "unet"


def tuned_from(folder: Path, model: ModelConfig = UNET2D) -> Checkpoint:
    """A model that starts from a folder and is not trained further."""
    train = TrainConfig(
        epochs=None, steps=1, lr=1e-12, weight_decay=0.0, initial_checkpoint=str(folder)
    )
    images = np.random.default_rng(0).integers(0, 256, (16, 1, 8, 8), np.uint8)
    return python.train(images, model=model, train=train)


@pytest.mark.slow
def test_a_folder_of_diffusers_is_the_network_of_unet2d(folder):
    """Its output is that of diffusers' own class, for images in [-1, 1]."""
    from model.networks.sampling import load_net
    from model.networks.unet2d import TIME_SCALE
    from model.networks.unet2d import UNET2D as OBJECTIVE

    tuned = tuned_from(folder)
    assert tuned.tensors["mean"].tolist() == tuned.tensors["std"].tolist() == [0.5]
    module = importlib.import_module("diffusers.models.unets.unet_2d")
    network = module.UNet2DModel.from_pretrained(folder).eval()
    noisy, variance = torch.randn(3, 1, 8, 8), torch.full((3, 1, 1, 1), 0.3)
    with torch.no_grad():
        wanted = network(noisy, TIME_SCALE * variance.flatten()).sample
        found = load_net(OBJECTIVE, tuned)(noisy, variance)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert family_of("unet2d").check(tuned) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"widths": (8, 16)},
            f"block_out_channels of UNet2DModel must be [8, 8] {AS}",
        ),
        (
            {"family": "ddim"},
            f"model.family must be 'unet2d' {AS}, got 'ddim'",
        ),
        (
            {"normalization": "train_channel"},
            f"model.normalization must be 'half' {AS}",
        ),
    ],
)
def test_another_network_than_the_folders_is_refused(changes, message, folder):
    with pytest.raises(UsageError) as error:
        tuned_from(folder, replace(UNET2D, **changes))
    assert str(error.value).startswith(message)


@pytest.mark.slow
def test_a_setting_that_ours_does_not_have_is_refused(folder):
    """Such as another embedding of time, which changes the output but no shape."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"freq_shift": 1}))
    with pytest.raises(UsageError) as error:
        tuned_from(folder)
    assert str(error.value).startswith(
        "freq_shift of the UNet2DModel in train.initial_checkpoint must be 0, as family unet2d has"
    )


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "shape"])
def test_damaged_weights_of_a_folder_are_refused(damage, folder):
    file = folder / "diffusion_pytorch_model.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:500])
    else:
        from safetensors.torch import load_file, save_file

        save_file({k: v for k, v in load_file(file).items() if k != "conv_in.bias"}, file)
    with pytest.raises(UsageError, match=r"must have whole weights|weights must be those of this"):
        tuned_from(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"initial_sha256": "0" * 64},
            "train.initial_sha256 must be None without train.initial_ch",
        ),
        (
            {"initial_sha256": "x", "initial_checkpoint": "a"},
            "train.initial_sha256 must be 64 hex digits, got 'x'",
        ),
    ],
)
def test_a_digest_without_a_file_is_refused(settings, message):
    """It would change the key of a training from random weights."""
    with pytest.raises(UsageError) as error:
        with_digest(LineageConfig(train=TrainConfig(**settings)).train)
    assert str(error.value).startswith(message)


def test_an_axis_has_the_digests_of_its_own_files(base):
    sweep = make_sweep(({"train.initial_checkpoint": [str(base)]},), lineage(base))
    with pytest.raises(UsageError, match=r"^train\.initial_sha256 must be None if train\.initial"):
        plan(sweep)
