"""Memorisation where crops cannot overlap: training and held-out halves of the photographs."""

from functools import cache

import numpy as np
import pytest

from model.config import DataConfig, MetricsConfig
from model.data.public import FLOWER_CROPS_SHA256, crop_flower, read_flower_photograph
from model.images import resize_image
from model.metrics.comparison import RealFeatures
from model.metrics.table import RealImages, compare_images, extract_real, measure

DATA = DataConfig(name="flower-crops", image_size=32)
CONFIG = MetricsConfig(names=("memorization",))
NUM_TRAIN, NUM_REFERENCE, NUM_IMAGES = 270, 180, 180


@cache
def read_photographs() -> list[np.ndarray]:
    return [read_flower_photograph(name, DATA) for name in FLOWER_CROPS_SHA256]


def halves(side: int) -> list[np.ndarray]:
    """The left (0) or right (1) half of every photograph."""
    return [np.array_split(photograph, 2, axis=1)[side] for photograph in read_photographs()]


def draw_crops(regions: list[np.ndarray], count: int, *, seed: int) -> np.ndarray:
    """(N, 3, 32, 32) uint8 crops as flower-crops has them, of each region in turn."""
    words = np.random.Philox(key=seed).random_raw((count, 4))
    return np.stack(
        [
            resize_image(
                crop_flower(regions[i % 9], *map(int, row)), 32, mode=DATA.resize, dtype="uint8"
            )
            for i, row in enumerate(words)
        ]
    )


def add_noise(images: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, images.shape)
    return np.rint(images + noise).clip(0, 255).astype(np.uint8)


def extract(train: np.ndarray, held_out: list[np.ndarray]) -> RealFeatures:
    reference = draw_crops(held_out, NUM_REFERENCE, seed=2)
    return extract_real(RealImages(reference=reference, train=train), CONFIG)


def numbers(images: np.ndarray, real: RealFeatures) -> dict[str, float]:
    values = measure(compare_images(images, real, CONFIG), CONFIG).values
    return {key.split("/")[0]: value for key, value in values.items()}


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    """Crops of the left halves."""
    return draw_crops(halves(0), NUM_TRAIN, seed=1)


@pytest.fixture(scope="module")
def apart(train) -> RealFeatures:
    """The left halves trained on, the right halves held out."""
    return extract(train, halves(1))


@pytest.mark.slow
def test_fresh_crops_of_the_held_out_halves_are_not_flagged(apart):
    """A z-score within three deviations, and no more memorised than the reference is."""
    found = numbers(draw_crops(halves(1), NUM_IMAGES, seed=3), apart)
    assert abs(found["copying_z"]) < 3
    assert abs(found["memorized"] - found["memorized_held_out"]) <= 0.02
    assert found["exact_copies"] == 0


def test_noisy_copies_of_training_crops_are_flagged(train, apart):
    """Two grey levels of noise, which no eye sees."""
    found = numbers(add_noise(train[:NUM_IMAGES], 2), apart)
    assert found["copying_z"] < -3
    assert found["memorized"] > found["memorized_held_out"] + 0.2
    assert found["exact_copies"] == 0


@pytest.mark.slow
def test_overlap_hides_noisier_copies(train, apart):
    """With ten grey levels: flagged against the right halves, not against crops of anywhere.

    Held-out crops that overlap training crops are as near to them as these copies are.
    """
    anywhere = draw_crops(read_photographs(), NUM_TRAIN, seed=1)
    overlapping = extract(anywhere, read_photographs())
    hidden = numbers(add_noise(anywhere[:NUM_IMAGES], 10), overlapping)
    seen = numbers(add_noise(train[:NUM_IMAGES], 10), apart)
    assert seen["copying_z"] < -3 < hidden["copying_z"]
    assert (
        overlapping.train_distances(None)[:, 0].mean()
        < 0.95 * apart.train_distances(None)[:, 0].mean()
    )
