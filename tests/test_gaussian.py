"""Facts of the conditional null model: a mean and a covariance for each class."""

import numpy as np
import pytest
from tiny_training import make_job, make_train, new_stream

from model.checkpoint import Checkpoint
from model.config import DataConfig, ModelConfig, SampleConfig
from model.data.datasets import load_dataset
from model.gaussian import fit_gaussian, sample_gaussian
from model.job import Diverged
from model.randomness import Purpose, image_noise

SAMPLER = SampleConfig()
NUM_CLASSES = 4
LABELS = np.array([0] * 60 + [1] * 5 + [3])
"""Class 1 has fewer images than the 16 pixels, class 2 none, class 3 one."""


def pool() -> np.ndarray:
    """(66, 1, 4, 4) float32, each class about a brightness of its own."""
    rng = np.random.default_rng(0)
    pixels = 0.3 * LABELS[:, None, None, None] + rng.normal(0, 0.1, (len(LABELS), 1, 4, 4))
    return pixels.astype(np.float32)


def fit(labels: np.ndarray) -> Checkpoint:
    names = ("ant", "bee", "cat", "dog")
    model = ModelConfig(family="gaussian", conditional=True)
    job = make_job(
        make_train(), model=model, bounded=False, num_classes=NUM_CLASSES, class_names=names
    )
    return fit_gaussian(pool(), labels, job).checkpoint


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return fit(LABELS)


def draw(checkpoint: Checkpoint, label: int, count: int) -> np.ndarray:
    """(count, 16) float64."""
    noise = image_noise((0, 1, 0), Purpose.SAMPLE, range(count), (1, 4, 4), label=label)
    images = sample_gaussian(checkpoint, noise, SAMPLER, labels=np.full(count, label))
    return images.reshape(count, 16).astype(np.float64)


@pytest.mark.parametrize("label", [0, 1])
def test_fit_is_the_mean_and_covariance_of_each_class(checkpoint: Checkpoint, label: int) -> None:
    """With the class's own divisor."""
    flat = pool()[label == LABELS].reshape(-1, 16).astype(np.float64)
    tensors = checkpoint.tensors
    mean, factor = (tensors[f"ema.{part}.{label}"].numpy() for part in ("mean", "factor"))
    np.testing.assert_allclose(mean, flat.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(factor.T @ factor, np.cov(flat.T, bias=True), atol=1e-12)


def test_images_have_the_mean_and_covariance_of_their_class(checkpoint: Checkpoint) -> None:
    """5,000 images know a pixel of deviation s to s / sqrt(5,000); 4.5 of these are allowed."""
    drawn = draw(checkpoint, 0, 5_000)
    flat = pool()[LABELS == 0].reshape(-1, 16).astype(np.float64)
    deviation = flat.std(axis=0)
    assert (np.abs(drawn.mean(axis=0) - flat.mean(axis=0)) < 4.5 * deviation / 5_000**0.5).all()
    error = np.abs(np.cov(drawn.T) - np.cov(flat.T, bias=True)) / np.outer(deviation, deviation)
    assert error.max() < 4.5 * (2 / 5_000) ** 0.5


def test_images_lie_in_the_span_of_a_small_class(checkpoint: Checkpoint) -> None:
    """Five images span four directions about their mean."""
    centred = draw(checkpoint, 1, 30) - checkpoint.tensors["ema.mean.1"].numpy()
    assert np.linalg.matrix_rank(centred, tol=1e-5) == 4


def test_a_class_of_one_image_is_that_image(checkpoint: Checkpoint) -> None:
    only = pool()[LABELS == 3].reshape(16)
    np.testing.assert_array_equal(draw(checkpoint, 3, 2), np.stack([only, only]))


def test_images_of_a_class_without_any_cannot_be_drawn(checkpoint: Checkpoint) -> None:
    """A class that a pool has lost is a result."""
    with pytest.raises(Diverged, match=r"^the pool had no image of class 2 \('cat'\)$"):
        draw(checkpoint, 2, 1)


def test_a_preview_shows_nothing_of_a_class_without_images() -> None:
    """Rather than end a lineage that asks for no image of the class."""
    fitted = fit(np.arange(len(LABELS)) % 2 * 3)
    preview = new_stream(fitted, SAMPLER, seed=(0, 0), purpose=Purpose.PREVIEW).preview(8)
    assert preview.reshape(8, -1).any(axis=1).tolist() == [True, False, False, True] * 2


def test_a_preview_of_lost_classes_alone_is_empty() -> None:
    """Its first two images are of classes 0 and 1."""
    fitted = fit(np.full(len(LABELS), 3))
    preview = new_stream(fitted, SAMPLER, seed=(0, 0), purpose=Purpose.PREVIEW).preview(2)
    assert (preview.shape, preview.dtype, preview.any()) == ((2, 1, 4, 4), np.float32, False)


def test_image_is_bit_equal_whatever_else_is_drawn(checkpoint: Checkpoint) -> None:
    noise = image_noise((0, 1, 0), Purpose.SAMPLE, range(9), (1, 4, 4))
    mixed = sample_gaussian(checkpoint, noise, SAMPLER, labels=np.arange(9) % 2)
    alone = sample_gaussian(checkpoint, noise[7:8], SAMPLER, labels=np.array([1]))
    np.testing.assert_array_equal(mixed[7], alone[0])


def test_guidance_has_no_meaning_for_it(checkpoint: Checkpoint) -> None:
    noise = image_noise((0, 1, 0), Purpose.SAMPLE, range(1), (1, 4, 4))
    with pytest.raises(
        ValueError, match=r"^sample\.guidance must be 1 with model\.family=gaussian"
    ):
        sample_gaussian(checkpoint, noise, SampleConfig(guidance=2.0), labels=np.array([0]))


def test_cutting_to_the_range_of_pixels_costs_digits_a_sixth_of_their_deviation() -> None:
    """No estimation noise: 300 images of an unbounded fit keep 0.95 and more, of 64 pixels."""
    data = load_dataset(DataConfig(train_limit=300, dtype="float32"))
    digits = data.images[data.train]
    noise = image_noise((0, 1, 0), Purpose.SAMPLE, range(300), (1, 8, 8))
    left = []
    for bounded in (True, False):
        job = make_job(make_train(), model=ModelConfig(family="gaussian"), bounded=bounded)
        drawn = sample_gaussian(fit_gaussian(digits, None, job).checkpoint, noise, SAMPLER)
        left.append(drawn.std(axis=0).mean() / digits.std(axis=0).mean())
    assert left[0] < 5 / 6
    assert left[1] > 0.95
