"""Facts of DINOv2 and CLIP as extractors: on tiny random models where transformers is installed."""

import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.config import MetricsConfig
from model.features.extractors import (
    FEATURE_BATCH,
    build_network,
    extract_features,
    extractor_label,
    prepare_clip,
    prepare_dinov2,
    resize_colour,
    weights_digest,
)
from model.features.vision_transformers import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    standardise,
)

NAMES = pytest.mark.parametrize("name", ["dinov2", "clip"])
IMAGE = np.zeros((1, 3, 8, 8), np.uint8)


@pytest.fixture(scope="module")
def transformers() -> Any:
    """The package, or a skip: it is in the extra `vit` alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its own imports deprecate is not ours to mend
        return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folders(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each tiny model, as save_pretrained writes it."""
    tiny = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    dinov2 = transformers.Dinov2Config(image_size=518, patch_size=14, mlp_ratio=2, **tiny)
    clip = transformers.CLIPVisionConfig(
        image_size=224, patch_size=32, intermediate_size=32, projection_dim=8, **tiny
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = {
            "dinov2": transformers.Dinov2Model(dinov2),
            "clip": transformers.CLIPVisionModelWithProjection(clip),
        }
    folders = {name: tmp_path_factory.mktemp(name) for name in models}
    for name, model in models.items():
        model.save_pretrained(folders[name])
    return folders


def settings(name: str, folder: Path) -> MetricsConfig:
    return MetricsConfig(extractor=name, weights=str(folder))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (FEATURE_BATCH + 4, 3, 8, 8), dtype=np.uint8)


def test_channels_are_standardised_one_by_one():
    image = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1)
    found = standardise(image, (0.1, 0.4, 0.5), std=(1.0, 0.5, 0.2))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 0.2, 2.0]))


@pytest.mark.parametrize(
    ("prepare", "mean", "std"),
    [(prepare_dinov2, IMAGENET_MEAN, IMAGENET_STD), (prepare_clip, CLIP_MEAN, CLIP_STD)],
)
def test_inputs_are_224_pixels_wide_and_standardised(prepare, mean, std):
    """Undoing the model's own mean and deviation gives the resized image back."""
    unit = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    inputs = prepare(unit, 64)
    back = inputs * torch.tensor(std).view(3, 1, 1) + torch.tensor(mean).view(3, 1, 1)
    torch.testing.assert_close(back, resize_colour(unit, 224), atol=1e-6, rtol=0)


@NAMES
def test_an_absent_transformers_is_named_with_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    build_network.cache_clear()
    message = rf"^metrics.extractor {name} needs the package transformers; .*collapse-sweep\[vit\]$"
    with pytest.raises(ValueError, match=message):
        extract_features(IMAGE, MetricsConfig(extractor=name))


@NAMES
def test_a_label_needs_no_transformers(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert extractor_label(MetricsConfig(extractor=name, precision="bf16")) == f"{name}-bf16"


@NAMES
def test_a_folder_of_weights_is_known_by_its_safetensors(name, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    config = MetricsConfig(extractor=name, weights=str(tmp_path))
    assert weights_digest(config) == hashlib.sha256(b"weights").hexdigest()
    assert extractor_label(config) == f"{name}-{hashlib.sha256(b'weights').hexdigest()[:8]}"


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_of_the_model_is_refused(missing, tmp_path):
    for name in {"config.json", "model.safetensors"} - {missing}:
        (tmp_path / name).write_bytes(b"{}")
    config = MetricsConfig(extractor="dinov2", weights=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"metrics.weights must be .* without {missing}"):
        extractor_label(config)


def test_dinov2_features_are_its_class_token(transformers, folders, images):
    network = transformers.Dinov2Model.from_pretrained(folders["dinov2"]).eval()
    unit = torch.from_numpy(images[:2].astype(np.float32) / 255)
    with torch.inference_mode():
        states = network(pixel_values=prepare_dinov2(unit, 0)).last_hidden_state
    found = extract_features(images[:2], settings("dinov2", folders["dinov2"]))
    np.testing.assert_allclose(found, states[:, 0].numpy(), rtol=1e-4, atol=1e-5)


def test_clip_features_are_its_image_embedding(transformers, folders, images):
    network = transformers.CLIPVisionModelWithProjection.from_pretrained(folders["clip"]).eval()
    unit = torch.from_numpy(images[:2].astype(np.float32) / 255)
    with torch.inference_mode():
        embeds = network(pixel_values=prepare_clip(unit, 0)).image_embeds
    found = extract_features(images[:2], settings("clip", folders["clip"]))
    np.testing.assert_allclose(found, embeds.numpy(), rtol=1e-4, atol=1e-5)


@NAMES
def test_a_row_does_not_depend_on_the_other_images(folders, images, name):
    config = settings(name, folders[name])
    many, few = extract_features(images, config), extract_features(images[30:34], config)
    np.testing.assert_array_equal(many[30:34], few)


@NAMES
def test_loading_leaves_the_global_random_state_alone(folders, name):
    build_network.cache_clear()
    before = torch.get_rng_state()
    extract_features(IMAGE, settings(name, folders[name]))
    assert torch.equal(before, torch.get_rng_state())


@NAMES
def test_a_model_without_some_of_its_weights_is_refused(folders, name, tmp_path):
    """The package would draw the missing ones at random, and only log it."""
    state = load_file(folders[name] / "model.safetensors")
    state.pop(min(key for key in state if "layernorm" in key))
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((folders[name] / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"^metrics.weights must hold all weights .* without 1 of"):
        extract_features(IMAGE, settings(name, tmp_path))


@NAMES
def test_a_damaged_model_is_a_one_line_error(folders, name, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"garbage")
    (tmp_path / "config.json").write_bytes((folders[name] / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"^metrics.weights must be a folder of a ") as error:
        extract_features(IMAGE, settings(name, tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.slow
@NAMES
@pytest.mark.usefixtures("transformers")
def test_an_empty_cache_is_a_one_line_error_that_names_both_ways_out(name, tmp_path):
    """In a process of its own: where the cache lies is read when the package is imported."""
    code = (
        "import sys, numpy\n"
        "from model.config import MetricsConfig\n"
        "from model.features.extractors import extract_features\n"
        "images = numpy.zeros((1, 3, 8, 8), numpy.uint8)\n"
        "try:\n"
        "    extract_features(images, MetricsConfig(extractor=sys.argv[1]))\n"
        "except FileNotFoundError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "HF_HOME": str(tmp_path)},
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith("metrics.weights must be a folder of ")
    assert "hf download" in line
    assert "--metrics.weights DIR" in line
