"""A row of features is a function of its image alone, to the bit."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.config import MetricsConfig
from model.features.extractors import FEATURE_BATCH, build_network, extract_features

LITE0 = MetricsConfig(extractor="efficientnet-lite0", resolution=32)
RANDOM_CONV = MetricsConfig(extractor="random-conv", resolution=32)
NETWORKS = pytest.mark.parametrize("config", [LITE0, RANDOM_CONV], ids=lambda c: c.extractor)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """8-bit noise: a whole batch and a quarter of one."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (FEATURE_BATCH + 8, 3, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def all_features(images: np.ndarray) -> dict[str, np.ndarray]:
    """Features of `images`, all at once."""
    return {config.extractor: extract_features(images, config) for config in (LITE0, RANDOM_CONV)}


def start_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A new process that runs in the repository."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


@NETWORKS
def test_a_row_does_not_depend_on_how_many_images_there_are(images, all_features, config):
    features = all_features[config.extractor]
    np.testing.assert_array_equal(extract_features(images[:3], config), features[:3])


@NETWORKS
def test_a_row_does_not_depend_on_the_order_of_the_images(images, all_features, config):
    order = np.random.default_rng(1).permutation(len(images))
    permuted = extract_features(images[order], config)
    np.testing.assert_array_equal(permuted, all_features[config.extractor][order])


@NETWORKS
def test_a_row_does_not_depend_on_how_the_images_are_split(images, all_features, config):
    parts = [extract_features(part, config) for part in (images[:7], images[7:])]
    np.testing.assert_array_equal(np.concatenate(parts), all_features[config.extractor])


@NETWORKS
def test_a_row_does_not_depend_on_the_other_images(images, all_features, config):
    """Neither the padding nor a neighbour shows: BatchNorm uses its running statistics."""
    others = np.full_like(images, 255)
    others[5] = images[5]
    features = all_features[config.extractor]
    np.testing.assert_array_equal(extract_features(others, config)[5], features[5])


@pytest.mark.slow
def test_a_row_does_not_depend_on_the_number_of_workers(images, all_features, tmp_path):
    """Two processes at once, which have drawn other random numbers, extract the same bits."""
    code = (
        "import sys, numpy, torch; torch.rand(3); numpy.random.rand(3)\n"
        "from model.config import MetricsConfig\n"
        "from model.features.extractors import extract_features\n"
        "images = numpy.load(sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    config = MetricsConfig(extractor=name, resolution=32)\n"
        "    numpy.save(f'{sys.argv[1]}.{name}.npy', extract_features(images, config))\n"
    )
    files = [tmp_path / "first", tmp_path / "second"]
    for file, part in zip(files, np.split(images, [13]), strict=True):
        with file.open("wb") as opened:
            np.save(opened, part)
    workers = [start_python(code, str(file), *all_features) for file in files]
    assert [worker.communicate()[1] for worker in workers] == ["", ""]
    for name, features in all_features.items():
        parts = [np.load(f"{file}.{name}.npy") for file in files]
        np.testing.assert_array_equal(np.concatenate(parts), features)


@NETWORKS
def test_a_second_run_has_the_same_bits(images, all_features, config):
    """With the network built anew."""
    build_network.cache_clear()
    np.testing.assert_array_equal(extract_features(images, config), all_features[config.extractor])


@pytest.mark.parametrize("count", [1, FEATURE_BATCH - 1, FEATURE_BATCH, FEATURE_BATCH + 1])
@NETWORKS
def test_a_row_does_not_depend_on_how_full_its_batch_is(images, all_features, config, count):
    """A worker's batches are of any size; the network's never is another."""
    features = all_features[config.extractor]
    np.testing.assert_array_equal(extract_features(images[-count:], config), features[-count:])


def test_bf16_rows_do_not_depend_on_the_other_images(images):
    config = replace(LITE0, precision="bf16")
    many, few = extract_features(images, config), extract_features(images[30:35], config)
    np.testing.assert_array_equal(many[30:35], few)
