"""The extractor `classifier`: a network that is trained on the classes of a data set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from running_sweep import run_sweep, write_sweep
from safetensors.torch import save_file

from model.config import DataConfig, MetricsConfig
from model.data.datasets import Dataset, load_dataset
from model.errors import MissingFileError, UsageError
from model.features.classifier import NUM_FEATURES, measure_accuracy, train_classifier
from model.features.extractors import extract_features, extractor_label
from sweep.config import EnsembleConfig, LineageConfig
from sweep.tune.absolute_paths import with_absolute_paths


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(DataConfig())


@pytest.fixture(scope="module")
def trained(digits: Dataset) -> dict[str, torch.Tensor]:
    return train(digits, epochs=3)


@pytest.fixture(scope="module")
def config(trained: dict[str, torch.Tensor], tmp_path_factory) -> MetricsConfig:
    return saved(trained, tmp_path_factory.mktemp("weights") / "digits.safetensors")


def train(data: Dataset, *, epochs: int, seed: int = 0) -> dict[str, torch.Tensor]:
    assert data.labels is not None
    images, labels = data.images[data.train], data.labels[data.train]
    return train_classifier(images, labels, num_classes=10, epochs=epochs, seed=seed)


def saved(tensors: dict[str, torch.Tensor], path: Path) -> MetricsConfig:
    save_file(tensors, path)
    return MetricsConfig(extractor="classifier", weights=str(path))


def test_it_learns_the_classes_of_digits(digits, trained):
    """Three passes; one class in ten would be right by chance."""
    own = digits.images[digits.reference], digits.labels[digits.reference]
    assert measure_accuracy(trained, *own) > 0.85


def test_its_features_separate_the_classes(digits, config):
    """A linear map of the features, fitted to the training images, finds most classes."""
    features = {
        name: extract_features(digits.images[rows], config)
        for name, rows in (("train", digits.train), ("reference", digits.reference))
    }
    assert features["train"].shape == (len(digits.train), NUM_FEATURES)
    one_hot = np.eye(10)[digits.labels[digits.train]]
    linear, *_ = np.linalg.lstsq(features["train"], one_hot, rcond=None)
    found = (features["reference"] @ linear).argmax(axis=1)
    assert np.mean(found == digits.labels[digits.reference]) > 0.85


def test_the_same_seed_trains_the_same_network(digits):
    first, again, other = (train(digits, epochs=1, seed=seed) for seed in (0, 0, 1))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, again[name], rtol=0, atol=0)
    assert not torch.equal(first["conv0.weight"], other["conv0.weight"])


def test_a_row_depends_only_on_its_image(digits, config):
    images = digits.images[:40]
    np.testing.assert_array_equal(
        extract_features(images, config)[33:34], extract_features(images[33:34], config)
    )


def test_the_label_names_the_weights(digits, config, tmp_path):
    other = saved(train(digits, epochs=1, seed=1), tmp_path / "other.safetensors")
    labels = {extractor_label(config), extractor_label(other)}
    assert len(labels) == 2
    assert all(label.startswith("classifier-") for label in labels)


def test_it_needs_weights_and_says_what_writes_them(tmp_path):
    config = MetricsConfig(extractor="classifier")
    with pytest.raises(UsageError, match=r"metrics.weights .*got None; benchmarks/classifier.py"):
        extractor_label(config)
    absent = replace(config, weights=str(tmp_path / "none"))
    with pytest.raises(MissingFileError, match=r"got '.*none'; benchmarks/classifier.py"):
        extractor_label(absent)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda tensors: tensors | {"head.bias": torch.zeros(3)}, "head.weight"),
        (lambda tensors: tensors | {"conv1.bias": torch.zeros(5)}, "conv1.bias"),
        (lambda tensors: tensors | {"extra": torch.zeros(1)}, "extra"),
        (lambda tensors: {"head.bias": torch.zeros(3)}, "conv0.weight"),
    ],
)
def test_a_file_of_another_network_is_refused(damage, named, trained, digits, tmp_path):
    config = saved(damage(trained), tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=rf"must be a classifier of .*{named}"):
        extract_features(digits.images[:1], config)


def test_a_file_that_is_no_safetensors_is_refused(digits, tmp_path):
    path = tmp_path / "text"
    path.write_text("weights")
    with pytest.raises(UsageError, match="must be a classifier"):
        extract_features(
            digits.images[:1], MetricsConfig(extractor="classifier", weights=str(path))
        )


def test_processes_of_a_run_find_the_weights_of_any_path():
    """They work in another folder than the command."""
    words = ("filter.weights=a.pt data=shard", "filter.weights=/b.pt")
    config = LineageConfig(
        metrics=MetricsConfig(extractor="classifier", weights="m.safetensors"),
        ensemble=EnsembleConfig(members=words),
    )
    found = with_absolute_paths(config, Path("/home/me"))
    assert found.metrics.weights == "/home/me/m.safetensors"
    assert found.filter.weights is None
    assert found.ensemble.members == (
        "filter.weights=/home/me/a.pt data=shard",
        "filter.weights=/b.pt",
    )


@pytest.mark.ray
@pytest.mark.slow
def test_weights_may_have_a_relative_path(trained, tmp_path):
    save_file(trained, tmp_path / "own.safetensors")
    write_sweep(tmp_path, (0.5,))
    own = ("--metrics.extractor", "classifier", "--metrics.weights", "own.safetensors")
    ran = run_sweep("run", "tiny.toml", *own, "--out", "out", cwd=tmp_path)
    assert (ran.returncode, "kid/classifier-" in ran.stdout) == (0, True), ran.stderr


def test_images_with_other_channels_are_refused(config):
    colour = np.zeros((1, 3, 8, 8), np.uint8)
    with pytest.raises(UsageError, match="images with 3 channels, got one for 1"):
        extract_features(colour, config)
