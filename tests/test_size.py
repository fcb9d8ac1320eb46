"""Facts of a model's size: the plan's arithmetic is what the real models come to."""

from pathlib import Path

import numpy as np
import pytest
import torch
from every_family import OBJECTIVES, SLOW_IMPORT
from tiny_sweep import compute, make_lineage, write_noise
from tiny_training import make_job, make_train
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model.config import ModelConfig
from model.families import FAMILIES
from model.family_facts import model_size
from sweep.lineage.run import WEIGHTS
from sweep.lineage.saved_states import STATE
from sweep.store.store import Store, open_store

OTHERS = {
    "flow": (ModelConfig(family="flow", widths=(4, 8), stem_width=4), (1, 8, 8)),
    "edm": (ModelConfig(family="edm", widths=(4, 8), stem_width=4), (1, 8, 8)),
    "vae": (ModelConfig(family="vae", widths=(4, 6, 8), stem_width=4, latent_dim=5), (3, 16, 16)),
    "vae of known scale": (ModelConfig(family="vae", likelihood_scale=0.5), (1, 8, 8)),
    "unet2d": (ModelConfig(family="unet2d", widths=(4, 8, 8), block_depth=1), (3, 32, 32)),
    "unet2d of one level": (ModelConfig(family="unet2d", widths=(64,)), (1, 8, 8)),
    "conditional vae": (
        ModelConfig(family="vae", widths=(4, 8), conditional=True, embedding_dim=6),
        (3, 8, 8),
    ),
    "conditional unet2d": (
        ModelConfig(family="unet2d", widths=(8, 8), conditional=True),
        (1, 8, 8),
    ),
}
SETTINGS = {
    "default": (ModelConfig(), (3, 32, 32)),
    "tiny": (ModelConfig(widths=(4, 8), block_depth=1, stem_width=4), (1, 8, 8)),
    "one level": (ModelConfig(widths=(6,), block_depth=2), (3, 8, 8)),
    "deep": (ModelConfig(widths=(4, 4, 8), block_depth=3, embedding_dim=8), (1, 16, 16)),
    "skip": (ModelConfig(widths=(4, 8), stem_width=6, stem_skip=True), (3, 8, 8)),
    "equal widths": (ModelConfig(widths=(8, 8), stem_width=4, embedding_dim=4), (2, 8, 8)),
    **OTHERS,
    "conditional": (ModelConfig(widths=(4, 8), conditional=True, embedding_dim=6), (3, 8, 8)),
}
NAMES = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=SLOW_IMPORT if config.family == "unet2d" else ())
        for name, (config, _) in SETTINGS.items()
    ],
)
HEADER_BYTES = 30_000
"""Names and shapes of a safetensors file."""


NUM_CLASSES = 7


def network(config: ModelConfig, shape: tuple[int, int, int]) -> nn.Module:
    num_classes = NUM_CLASSES if config.conditional else 0
    generator = torch.Generator().manual_seed(0)
    return OBJECTIVES[config.family].new_network(shape, config, generator, num_classes)


def inputs(config: ModelConfig, shape: tuple[int, int, int]) -> tuple[torch.Tensor, ...]:
    latent = torch.zeros(1, config.latent_dim, 1, 1)
    labels = (torch.tensor([2]),) if config.conditional else ()
    return torch.zeros(1, *shape), latent if config.family == "vae" else latent[:, :1], *labels


@pytest.fixture
def interrupted(tmp_path: Path) -> Store:
    """A store with a finished model and the last state that its training saved."""
    store = open_store(tmp_path)
    states: list[Path] = []

    def keep(position: dict) -> None:
        for path in Path(store.location).glob(f"work/*/*/{STATE}.*"):
            states.append(path)
            (tmp_path / STATE).write_bytes(path.read_bytes())

    config = make_lineage({"train.steps": 60, "model.widths": [16, 32], "generations": 1})
    compute(config, store, on_progress=keep, checkpoint_seconds=1e-9)
    assert states
    return store


@NAMES
def test_parameters_are_those_of_the_network(name: str) -> None:
    """Number for number."""
    config, shape = SETTINGS[name]
    expected = sum(p.numel() for p in network(config, shape).parameters())
    assert model_size(config, shape, 100, NUM_CLASSES).num_parameters == expected


@NAMES
def test_buffers_are_the_networks_running_statistics(name: str) -> None:
    """Of BatchNorm, without its count of batches."""
    config, shape = SETTINGS[name]
    buffers = network(config, shape).named_buffers()
    expected = sum(b.numel() for buffer, b in buffers if "running" in buffer)
    assert model_size(config, shape, 100, NUM_CLASSES).num_buffers == expected


@NAMES
def test_operations_are_those_that_torch_counts(name: str) -> None:
    """Of one image through the network, convolutions and matrix products."""
    config, shape = SETTINGS[name]
    net = network(config, shape).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*inputs(config, shape))
    assert model_size(config, shape, 100, NUM_CLASSES).flops == counter.get_total_flops()


def test_size_of_a_conditional_model_needs_its_classes() -> None:
    """Rather than be that of another."""
    with pytest.raises(ValueError, match=r"^num_classes must be at least 1, got 0; use data with"):
        model_size(ModelConfig(conditional=True), (1, 8, 8), 100)


def test_a_conditional_gaussian_file_is_as_large_as_planned() -> None:
    """Of classes that have fewer images than the 64 pixels."""
    model = ModelConfig(family="gaussian", conditional=True)
    labels = np.arange(100) % NUM_CLASSES
    images = np.random.default_rng(0).integers(0, 256, (100, 1, 8, 8), dtype=np.uint8)
    job = make_job(make_train(), model=model, num_classes=NUM_CLASSES)
    size = len(FAMILIES["gaussian"].fit(images, labels, job).checkpoint.to_bytes())
    planned = model_size(model, (1, 8, 8), 100, NUM_CLASSES).checkpoint_bytes
    assert 0 < size - planned < HEADER_BYTES


@pytest.mark.parametrize("family", ["exact-mixture", "exact-empirical"])
def test_a_file_with_an_exact_score_is_as_large_as_planned(family: str) -> None:
    """Of classes that have fewer images than the 192 pixels."""
    model = ModelConfig(family=family, conditional=True)
    labels = np.arange(100) % NUM_CLASSES
    images = np.random.default_rng(0).integers(0, 256, (100, 3, 8, 8), dtype=np.uint8)
    job = make_job(make_train(), model=model, num_classes=NUM_CLASSES)
    size = len(FAMILIES[family].fit(images, labels, job).checkpoint.to_bytes())
    planned = model_size(model, (3, 8, 8), 100, NUM_CLASSES).checkpoint_bytes
    assert 0 < size - planned < HEADER_BYTES


def test_a_ddim_file_is_as_large_as_planned(interrupted: Store) -> None:
    """Averaged and raw weights, beside the names."""
    (path,) = Path(interrupted.location).glob(f"generations/*/{WEIGHTS}")
    config = make_lineage({"model.widths": [16, 32]}).model
    planned = model_size(config, (1, 8, 8), 40).checkpoint_bytes
    assert 0 < path.stat().st_size - planned < HEADER_BYTES


def test_a_saved_training_state_is_as_large_as_planned(interrupted: Store) -> None:
    """Weights, their average, and two moments of each parameter."""
    config = make_lineage({"model.widths": [16, 32]}).model
    planned = model_size(config, (1, 8, 8), 40).state_bytes
    assert abs((Path(interrupted.location) / STATE).stat().st_size - planned) < HEADER_BYTES


@pytest.mark.parametrize("num_images", [20, 300])
def test_a_gaussian_file_is_as_large_as_planned(num_images: int, tmp_path: Path) -> None:
    """A factor of as many rows as images or pixels (192), whichever are fewer."""
    path = write_noise(tmp_path / "noise.npz", num_images=num_images, shape=(3, 8, 8))
    data = {"name": "npz", "path": str(path), "dtype": "float32", "train_limit": None}
    changes = {"model.family": "gaussian", "data": data, "data.split": "all", "metrics.names": []}
    config = make_lineage({**changes, "generations": 1})
    store = open_store(tmp_path / "store")
    compute(config, store)
    (weights,) = Path(store.location).glob(f"generations/*/{WEIGHTS}")
    planned = model_size(config.model, (3, 8, 8), num_images).checkpoint_bytes
    assert planned == 8 * 192 * (1 + min(num_images, 192))
    assert 0 < weights.stat().st_size - planned < 1000
