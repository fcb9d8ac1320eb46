"""Facts of the model families: the Gaussian null model, images that depend on their noise alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from every_family import EVERY_FAMILY, NETWORKS, OBJECTIVES, new_trainer, sample_family
from tiny_training import new_stream

from model.blocks import SAMPLE_BATCH
from model.checkpoint import Checkpoint
from model.config import ModelConfig, SampleConfig, TrainConfig
from model.families import FAMILIES, family_of
from model.family_facts import FAMILY_FACTS, families_with
from model.gaussian import fit_gaussian, sample_gaussian
from model.images import to_unit
from model.job import Diverged, TrainingJob
from model.networks.sampling import load_net
from model.randomness import Purpose, image_noise

SAMPLER = SampleConfig(steps=3)
CLIPPED = ["ddim", "flow", "edm"]
"""Families whose sampler goes through image estimates."""


def make_job(family: str = "ddim", *, bounded: bool = True) -> TrainingJob:
    model = ModelConfig(family=family, widths=(4, 8), stem_width=4, embedding_dim=4)
    train = TrainConfig(epochs=None, steps=3, batch_size=8, lr=1e-2)
    return TrainingJob(model=model, train=train, num_steps=3, seed=(0, 1, 0), bounded=bounded)


def draw_pool(num_images: int = 16, *, dtype: str = "uint8", size: int = 8) -> np.ndarray:
    """(N, 1, size, size) images that share an undulating background."""
    rng = np.random.default_rng(0)
    background = 128 + 60 * np.sin(np.arange(size) / 2)
    pixels = np.clip(background + rng.normal(0, 30, (num_images, 1, size, size)), 0, 255)
    return pixels.astype(np.uint8) if dtype == "uint8" else (pixels / 255).astype(np.float32)


def draw_noise(indices: range, size: int = 8) -> np.ndarray:
    return image_noise((0, 1, 0), Purpose.SAMPLE, indices, (1, size, size))


def train_network(
    family: str = "ddim", dtype: str = "uint8", *, bounded: bool = True
) -> Checkpoint:
    """A network after three steps, so that it predicts more than zero."""
    trainer = new_trainer(draw_pool(dtype=dtype), make_job(family, bounded=bounded))
    for _ in range(3):
        trainer.train_step(np.arange(8))
    return trainer.checkpoint()


def with_nan(checkpoint: Checkpoint, name: str) -> Checkpoint:
    tensors = {k: v.clone() for k, v in checkpoint.tensors.items()}
    tensors[name].view(-1)[0] = float("nan")
    return Checkpoint(tensors=tensors, settings=checkpoint.settings)


def fit_null(images: np.ndarray, *, bounded: bool = False) -> Checkpoint:
    return fit_gaussian(images, None, make_job("gaussian", bounded=bounded)).checkpoint


# Images that depend on their noise alone


@pytest.mark.parametrize("family", NETWORKS)
def test_image_is_bit_equal_however_many_are_asked_for(family):
    """The first images of 300 are those of 1, 100 and 128: the batch is always padded to 128."""
    checkpoint = train_network(family, "float32", bounded=False)
    every = sample_family(checkpoint, draw_noise(range(300)), SAMPLER)
    for count in (1, 100, SAMPLE_BATCH, 300):
        images = sample_family(checkpoint, draw_noise(range(count)), SAMPLER)
        np.testing.assert_array_equal(images, every[:count])


@pytest.mark.parametrize("family", NETWORKS)
def test_block_is_bit_equal_alone_and_among_others(family):
    checkpoint = train_network(family, "float32", bounded=False)
    every = sample_family(checkpoint, draw_noise(range(2 * SAMPLE_BATCH)), SAMPLER)
    block = sample_family(checkpoint, draw_noise(range(SAMPLE_BATCH, 2 * SAMPLE_BATCH)), SAMPLER)
    np.testing.assert_array_equal(block, every[SAMPLE_BATCH:])


def test_gaussian_image_is_bit_equal_however_many_are_asked_for():
    checkpoint = fit_null(draw_pool(dtype="float32"))
    every = sample_gaussian(checkpoint, draw_noise(range(50)), SAMPLER)
    alone = sample_gaussian(checkpoint, draw_noise(range(17, 18)), SAMPLER)
    np.testing.assert_array_equal(alone[0], every[17])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_images_have_the_training_images_type_and_shape(family, dtype):
    fitted = FAMILIES[family].fit(draw_pool(dtype=dtype), None, make_job(family)).checkpoint
    images = sample_family(fitted, draw_noise(range(5)), SAMPLER)
    assert (images.dtype, images.shape) == (np.dtype(dtype), (5, 1, 8, 8))


@pytest.mark.parametrize("family", NETWORKS)
def test_sampler_uses_the_averaged_weights(family):
    """Raw weights set to nan do no harm."""
    checkpoint = train_network(family)
    images = sample_family(checkpoint, draw_noise(range(2)), SAMPLER)
    raw = {name: x * np.nan for name, x in checkpoint.tensors.items() if name.startswith("raw.")}
    harmed = replace(checkpoint, tensors=checkpoint.tensors | raw)
    np.testing.assert_array_equal(sample_family(harmed, draw_noise(range(2)), SAMPLER), images)


@pytest.mark.parametrize("family", NETWORKS)
def test_sampler_uses_the_running_statistics(family):
    """An image does not depend on the others of its batch, as it would in training mode."""
    checkpoint = train_network(family, "float32", bounded=False)
    noise = draw_noise(range(2))
    other = np.stack([noise[0], 5 * noise[1]])
    first, second = (sample_family(checkpoint, n, SAMPLER)[0] for n in (noise, other))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("family", NETWORKS)
def test_loaded_network_is_in_evaluation_mode(family):
    net = load_net(OBJECTIVES[family], train_network(family))
    assert not any(module.training for module in net.modules())


def test_clipping_changes_images_of_unit_range():
    """Estimates of the first steps leave it by far."""
    noise = draw_noise(range(4))
    free = sample_family(train_network(), noise, SampleConfig(steps=3))
    clipped = sample_family(train_network(), noise, SampleConfig(steps=3, clip=True))
    assert (free != clipped).any()


@pytest.mark.parametrize("family", CLIPPED)
def test_unbounded_images_are_never_clipped(family):
    checkpoint, noise = train_network(family, "float32", bounded=False), 5 * draw_noise(range(4))
    free = sample_family(checkpoint, noise, SampleConfig(steps=3))
    np.testing.assert_array_equal(
        sample_family(checkpoint, noise, SampleConfig(steps=3, clip=True)), free
    )
    assert free.min() < 0 or free.max() > 1


@pytest.mark.parametrize("family", NETWORKS)
def test_sampling_leaves_global_random_numbers_alone(family):
    checkpoint = train_network(family)
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # is tested
    sample_family(checkpoint, draw_noise(range(2)), SAMPLER)
    after = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # is tested
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]


# Divergence


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_ddim_images_that_are_not_finite_have_diverged(dtype):
    """Also those that 8 bits would turn into black."""
    checkpoint = with_nan(train_network(dtype=dtype), "ema.head.bias")
    with pytest.raises(Diverged, match="samples are not finite"):
        sample_family(checkpoint, draw_noise(range(2)), SAMPLER)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_gaussian_images_that_are_not_finite_have_diverged(dtype):
    checkpoint = with_nan(fit_null(draw_pool(dtype=dtype)), "ema.mean")
    with pytest.raises(Diverged, match="samples are not finite"):
        sample_gaussian(checkpoint, draw_noise(range(2)), SAMPLER)


def test_gaussian_fit_of_images_that_are_not_finite_has_diverged():
    images = draw_pool(dtype="float32")
    images[3, 0, 0, 0] = np.inf
    with pytest.raises(Diverged, match="images are not finite"):
        fit_null(images)


def test_images_that_are_all_the_same_have_diverged():
    checkpoint = fit_null(np.full((9, 1, 8, 8), 7, np.uint8))
    with pytest.raises(Diverged, match="all samples are the same image"):
        new_stream(checkpoint, SAMPLER).block(0)


# The Gaussian null model


@pytest.mark.parametrize("num_images", [200, 5])
def test_gaussian_fit_is_the_mean_and_covariance_of_the_pool(num_images):
    """With divisor N; with fewer images than 16 pixels its rank is what they span."""
    images = draw_pool(num_images, dtype="float32", size=4)
    fitted = fit_null(images).tensors
    flat = images.reshape(num_images, -1).astype(np.float64)
    np.testing.assert_allclose(fitted["ema.mean"].numpy(), flat.mean(axis=0), atol=1e-12)
    covariance = (fitted["ema.factor"].T @ fitted["ema.factor"]).numpy()
    np.testing.assert_allclose(covariance, np.cov(flat.T, bias=True), atol=1e-12)
    assert len(fitted["ema.factor"]) == min(num_images, 16)


def test_gaussian_fit_of_8_bits_is_of_unit_scale():
    images = draw_pool()
    mean = fit_null(images).tensors["ema.mean"]
    expected = to_unit(torch.from_numpy(images)).double().mean(dim=0).flatten()
    torch.testing.assert_close(mean, expected)


def test_gaussian_images_have_the_fitted_mean_and_covariance():
    """20,000 images know a pixel of deviation s to s / sqrt(20,000); 4.5 of these are allowed."""
    images = draw_pool(200, dtype="float32", size=4)
    checkpoint = fit_null(images)
    drawn = sample_gaussian(checkpoint, draw_noise(range(20_000), 4), SAMPLER).reshape(20_000, 16)
    flat = images.reshape(200, 16)
    deviation = flat.std(axis=0)
    assert (np.abs(drawn.mean(axis=0) - flat.mean(axis=0)) < 4.5 * deviation / 20_000**0.5).all()
    error = np.abs(np.cov(drawn.T) - np.cov(flat.T, bias=True)) / np.outer(deviation, deviation)
    assert error.max() < 4.5 * (2 / 20_000) ** 0.5


def test_gaussian_images_lie_in_the_span_of_a_small_pool():
    """Five images span four directions about their mean."""
    checkpoint = fit_null(draw_pool(5, dtype="float32", size=4))
    drawn = sample_gaussian(checkpoint, draw_noise(range(30), 4), SAMPLER).reshape(30, 16)
    centred = drawn.astype(np.float64) - checkpoint.tensors["ema.mean"].numpy()
    assert np.linalg.matrix_rank(centred, tol=1e-5) == 4


# The table


def test_unknown_family_is_an_error_with_a_suggestion():
    with pytest.raises(ValueError, match=r"^model\.family must .* got 'gausian'; did you mean"):
        family_of("gausian")


def test_a_name_like_no_family_may_be_that_of_a_plug_in():
    with pytest.raises(ValueError, match=r"got 'transport'; for one of your own, add --import"):
        family_of("transport")


def test_every_family_has_a_record_of_facts():
    """What a plan knows of a family without torch, in the order of the table."""
    assert list(FAMILY_FACTS) == list(FAMILIES)


def test_families_that_train_in_steps_are_those_of_networks():
    assert families_with("iterative") == list(OBJECTIVES)


def test_families_that_can_be_conditional_draw_the_class_asked_for():
    """All but programs and one Gaussian.

    tests/test_conditioning.py, test_gaussian.py and test_exact.py hold them to it.
    """
    others = ("command", "exact-gaussian")
    assert families_with("conditional") == [name for name in FAMILIES if name not in others]


def test_only_conditional_families_are_guided():
    assert set(families_with("guided")) < set(families_with("conditional"))
