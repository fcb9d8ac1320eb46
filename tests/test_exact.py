"""Facts of the families with an exact score: the score, the samplers' gains, limits and rules."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from every_family import fit_family, sample_family
from tiny_sweep import compute, make_lineage, make_sweep, numbers_of, plan_in, write_noise
from tiny_training import make_job, make_train
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from model.checkpoint import Checkpoint
from model.config import ModelConfig, SampleConfig
from model.errors import UsageError
from model.exact.family import fitted_mixture
from model.exact.mixture import Mixture
from model.images import channel_statistics
from model.job import Diverged
from model.networks.sampler_gain import sampler_gain
from model.networks.sampling import noise_shape
from model.randomness import Purpose, image_noise
from sweep.estimate.forecast import forecast_all
from sweep.lineage.datasets import prepare_dataset
from sweep.planning.nodes import plan_lineage
from sweep.store.store import open_store

SHAPE = (2, 3, 3)
DIM = 18
PROCESSES = ["ddim", "flow", "edm"]


def gaussian(**settings: Any) -> ModelConfig:
    return ModelConfig(family="exact-gaussian", **settings)


def empirical(**settings: Any) -> ModelConfig:
    return ModelConfig(family="exact-empirical", **settings)


def mixture(**settings: Any) -> ModelConfig:
    return ModelConfig(family="exact-mixture", conditional=True, **settings)


def draw_pool(num_images: int = 60, *, seed: int = 0) -> np.ndarray:
    """(N, 2, 3, 3) float32 of correlated pixels; the channels differ in mean and deviation."""
    rng = np.random.default_rng(seed)
    flat = rng.normal(size=(num_images, DIM)) @ rng.normal(size=(DIM, DIM)) / DIM**0.5
    scale, mean = np.array([[0.2], [3.0]]), np.array([[0.5], [-4.0]])
    images = flat.reshape(num_images, 2, 9) * scale + mean
    return images.reshape(num_images, *SHAPE).astype(np.float32)


def fit(
    model: ModelConfig, images: np.ndarray, labels: np.ndarray | None = None, **settings: Any
) -> Checkpoint:
    job = make_job(make_train(), model=model, num_steps=0, bounded=False, **settings)
    return fit_family(images, labels, job).checkpoint


def draw_noise(
    checkpoint: Checkpoint, count: int, config: SampleConfig, **label: int
) -> np.ndarray:
    shape = noise_shape(checkpoint, config)
    return image_noise((0, 1, 0), Purpose.SAMPLE, range(count), shape, **label)


def normalised(checkpoint: Checkpoint, images: np.ndarray) -> np.ndarray:
    """(N, D) float64 in the network's units."""
    mean, std = (checkpoint.tensors[name].numpy().reshape(-1, 1, 1) for name in ("mean", "std"))
    return ((images.astype(np.float64) - mean) / std).reshape(len(images), -1)


def principal(checkpoint: Checkpoint) -> tuple[np.ndarray, np.ndarray]:
    """(P,) variances of a Gaussian, and its (P, D) principal directions."""
    factor = checkpoint.tensors["ema.factor"].numpy()
    variances = (factor**2).sum(axis=1)
    kept = variances > 1e-9
    return variances[kept], factor[kept] / np.sqrt(variances[kept, None])


# The score


def random_mixture(bandwidth: float) -> Mixture:
    """Three Gaussians over four numbers, with factors of ranks 4, 2 and 0."""
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    factors = [torch.linalg.qr(draw(4, 4))[0][:rank] * 1.5 for rank in (4, 2, 0)]
    return Mixture(
        means=2 * draw(3, 4),
        log_weights=torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log(),
        factors=torch.cat(factors),
        owners=torch.tensor([0, 0, 0, 0, 1, 1]),
        labels=torch.tensor([0, 1, 1]),
        bandwidth=bandwidth,
    )


@pytest.mark.parametrize("label", [None, 0, 1])
@pytest.mark.parametrize("bandwidth", [0.0, 0.7])
@pytest.mark.parametrize("rates", [(0.95, 0.31), (0.3, 0.95), (1.0, 5.0)])
def test_the_score_is_the_gradient_of_the_log_density(rates, bandwidth, label) -> None:
    """Differentiated by torch, of the density of torch.distributions; of a class or of all."""
    mix, (signal, noise) = random_mixture(bandwidth), rates
    chosen = [k for k, own in enumerate(mix.labels.tolist()) if label in (None, own)]
    covariances = torch.stack([f.T @ f for k in chosen for f in [mix.factors[mix.owners == k]]])
    identity = torch.eye(4, dtype=torch.float64)
    density = MixtureSameFamily(
        Categorical(logits=mix.log_weights[chosen]),
        MultivariateNormal(
            signal * mix.means[chosen],
            signal**2 * (covariances + bandwidth**2 * identity) + noise**2 * identity,
        ),
    )
    noisy = 3 * torch.randn(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noisy.requires_grad_()
    (score,) = torch.autograd.grad(density.log_prob(noisy).sum(), noisy)
    s, n = (torch.full((7, 1), rate, dtype=torch.float64) for rate in rates)
    images = (mix if label is None else mix.of_class(label)).posterior_mean(noisy.detach(), s, n)
    torch.testing.assert_close((s * images - noisy.detach()) / n**2, score, rtol=1e-9, atol=1e-9)


# One Gaussian


@pytest.mark.parametrize("normalization", ["train_channel", "half"])
@pytest.mark.parametrize("steps", [1, 2, 20])
@pytest.mark.parametrize(
    ("process", "sampler"),
    [
        ("ddim", {}),
        ("ddim", {"multistep": 2}),
        ("ddim", {"stochasticity": 1.0}),
        ("ddim", {"stochasticity": 0.4, "multistep": 2}),
        ("ddim", {"denoise_last": False}),
        ("flow", {}),
        ("edm", {}),
    ],
)
def test_the_gains_of_a_gaussian_are_those_of_the_closed_form(
    process, sampler, steps, normalization
) -> None:
    """Each direction is fed alone to each noise of a sampler; the sum of squares is the variance.

    Images are stored in float32, which rounds the second channel's numbers of about 4.
    """
    model = gaussian(process=process, normalization=normalization)
    checkpoint, sample = fit(model, draw_pool()), SampleConfig(steps=steps, **sampler)
    variances, directions = principal(checkpoint)
    P, num_noises = len(variances), steps if "stochasticity" in sampler else 1
    noise = np.zeros((1 + num_noises * P, num_noises, DIM), np.float32)
    for k in range(num_noises):
        noise[1 + k * P : 1 + (k + 1) * P, k] = 8 * directions
    noise = noise.reshape(len(noise), *noise_shape(checkpoint, sample))
    images = normalised(checkpoint, sample_family(checkpoint, noise, sample))
    moved = ((images[1:] - images[0]) / 8).reshape(num_noises, P, DIM) @ directions.T
    expected = sampler_gain(variances, model, sample) * variances
    np.testing.assert_allclose(
        (np.einsum("kpp->kp", moved) ** 2).sum(axis=0), expected, rtol=1e-4, atol=1e-6
    )
    crossed = moved - np.einsum("kpp->kp", moved)[:, :, None] * np.eye(P)
    assert np.abs(crossed).max() < 1e-5


@pytest.mark.parametrize("process", PROCESSES)
def test_images_of_a_gaussian_have_the_closed_forms_variances(process: str) -> None:
    """3,000 images know a variance to sqrt(2 / 3,000) of it; 4.5 of these are allowed."""
    model, sample = gaussian(process=process), SampleConfig(steps=5)
    checkpoint = fit(model, draw_pool())
    variances, directions = principal(checkpoint)
    drawn = sample_family(checkpoint, draw_noise(checkpoint, 3_000, sample), sample)
    along = normalised(checkpoint, drawn) @ directions.T
    expected = sampler_gain(variances, model, sample) * variances
    z = (along.var(axis=0, ddof=1) / expected - 1) / (2 / 2_999) ** 0.5
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("num_images", [200, 5])
def test_a_gaussian_has_the_mean_and_covariance_of_the_normalised_pool(num_images: int) -> None:
    pool = draw_pool(num_images)
    fitted = fitted_mixture(fit(gaussian(), pool))
    mean, std = (each.reshape(-1, 1, 1) for each in channel_statistics(pool))
    rows = ((pool - mean) / std).reshape(num_images, DIM)
    np.testing.assert_allclose(fitted.means[0].numpy(), rows.mean(axis=0), atol=1e-10)
    covariance = (fitted.factors.T @ fitted.factors).numpy()
    np.testing.assert_allclose(covariance, np.cov(rows.T, bias=True), atol=1e-10)


def test_a_model_in_fixed_units_can_be_stored() -> None:
    checkpoint = fit(gaussian(normalization="half"), draw_pool(5))
    stored = Checkpoint.from_bytes(checkpoint.to_bytes()).tensors
    assert stored["std"].tolist() == checkpoint.tensors["std"].tolist() == [0.5, 0.5]


# A Gaussian for each class


def test_a_mixture_of_one_class_is_a_gaussian() -> None:
    pool, sample = draw_pool(), SampleConfig(steps=4)
    one = fit(gaussian(), pool)
    same = fit(mixture(), pool, np.zeros(len(pool), np.int64), num_classes=1)
    noise = draw_noise(one, 20, sample)
    drawn = sample_family(same, noise, sample, labels=np.zeros(20, np.int64))
    np.testing.assert_array_equal(drawn, sample_family(one, noise, sample))


def test_images_of_a_class_are_those_of_its_own_gaussian() -> None:
    """In units of the whole pool, which model.normalization=half does not change."""
    pool, sample = draw_pool(), SampleConfig(steps=4)
    labels = np.arange(len(pool)) % 3
    model = mixture(normalization="half")
    checkpoint = fit(
        model, pool + labels.reshape(-1, 1, 1, 1).astype(np.float32), labels, num_classes=3
    )
    alone = fit(gaussian(normalization="half"), pool[labels == 2] + np.float32(2))
    noise = draw_noise(alone, 20, sample)
    drawn = sample_family(checkpoint, noise, sample, labels=np.full(20, 2))
    np.testing.assert_allclose(drawn, sample_family(alone, noise, sample), atol=1e-5)


@pytest.mark.parametrize("process", PROCESSES)
def test_without_a_class_the_mixture_is_sampled(process: str) -> None:
    """Guidance 0: of classes far apart, each gets its share of the pool, 3 of 4 to 4.5 errors."""
    pool = draw_pool(80)
    labels = np.array([0] * 20 + [1] * 60)
    pool[labels == 1] += 9
    checkpoint = fit(mixture(process=process), pool, labels, num_classes=2)
    sample = SampleConfig(steps=50, guidance=0.0)
    noise = draw_noise(checkpoint, 1_000, sample)
    drawn = sample_family(checkpoint, noise, sample, labels=np.zeros(1_000, np.int64))
    share = (drawn[:, 0].mean(axis=(1, 2)) > 5).mean()
    assert abs(share - 0.75) < 4.5 * (0.75 * 0.25 / 1_000) ** 0.5


def test_a_class_without_images_cannot_be_drawn() -> None:
    pool = draw_pool()
    checkpoint = fit(mixture(), pool, np.zeros(len(pool), np.int64), num_classes=2)
    noise = draw_noise(checkpoint, 1, SampleConfig())
    with pytest.raises(Diverged, match=r"^the pool had no image of class 1$"):
        sample_family(checkpoint, noise, SampleConfig(), labels=np.array([1]))


# Kernels


@pytest.mark.parametrize("process", PROCESSES)
def test_without_bandwidth_many_steps_return_training_images(process: str) -> None:
    """Bit for bit, as 8-bit images are."""
    pool = np.random.default_rng(0).integers(0, 256, (30, *SHAPE), np.uint8)
    model, sample = empirical(process=process, max_signal_rate=0.999), SampleConfig(steps=60)
    checkpoint = fit(model, pool)
    drawn = sample_family(checkpoint, draw_noise(checkpoint, 40, sample), sample)
    known = {image.tobytes() for image in pool}
    assert {image.tobytes() for image in drawn} <= known
    assert len({image.tobytes() for image in drawn}) > 10


def test_a_bandwidth_adds_its_square_to_every_variance() -> None:
    """In the limit of many steps. The tolerance is 4.5 standard errors of one pixel's variance."""
    pool, sample = draw_pool(), SampleConfig(steps=100)
    checkpoint = fit(empirical(process="flow", bandwidth=0.8), pool)
    drawn = sample_family(checkpoint, draw_noise(checkpoint, 4_000, sample), sample)
    of_pool = normalised(checkpoint, pool).var(axis=0).mean()
    assert normalised(checkpoint, drawn).var(axis=0).mean() == pytest.approx(
        of_pool + 0.8**2, rel=4.5 * (2 / 4_000) ** 0.5
    )


def test_kernels_of_a_class_are_its_own_images() -> None:
    pool, labels = draw_pool(), np.arange(60) % 2
    sample = SampleConfig(steps=60)
    model = empirical(conditional=True, max_signal_rate=0.999)
    checkpoint = fit(model, pool, labels, num_classes=2)
    drawn = sample_family(
        checkpoint, draw_noise(checkpoint, 20, sample), sample, labels=np.ones(20, np.int64)
    )
    distances = np.abs(drawn[:, None] - pool[None]).max(axis=(2, 3, 4))
    assert set(labels[distances.argmin(axis=1)]) == {1}
    assert distances.min(axis=1).max() < 1e-5


# Streams, keys and rules


@pytest.mark.parametrize("model", [gaussian(), empirical(bandwidth=0.1)])
def test_an_image_is_bit_equal_however_many_are_asked_for(model: ModelConfig) -> None:
    checkpoint, sample = fit(model, draw_pool()), SampleConfig(steps=3)
    noise = draw_noise(checkpoint, 140, sample)
    every = sample_family(checkpoint, noise, sample)
    for count in (1, 128):
        np.testing.assert_array_equal(
            sample_family(checkpoint, noise[:count], sample), every[:count]
        )


def test_a_conditional_lineage_has_the_same_numbers_in_another_store(tmp_path) -> None:
    config = make_lineage({"model.family": "exact-mixture", "model.conditional": True})
    first, second = (
        [numbers_of(g) for g in compute(config, open_store(tmp_path / name))] for name in "ab"
    )
    assert first == second


def first_key(settings: dict[str, Any], tmp_path: Path) -> str:
    config = make_lineage({"model.family": "exact-empirical", **settings})
    return plan_lineage(config, prepare_dataset(config.data, open_store(tmp_path)))[0].key


def test_settings_without_effect_are_in_no_key(tmp_path) -> None:
    plain = first_key({}, tmp_path)
    for settings in ({"model.widths": [8]}, {"train.lr": 0.1}, {"train.steps": 9}):
        assert first_key(settings, tmp_path) == plain
    held_out = {"data.validation_fraction": 0.2}
    selected = {**held_out, "train.select": "best_kid"}
    assert first_key(selected, tmp_path) == first_key(held_out, tmp_path)
    keys = {
        first_key(settings, tmp_path)
        for settings in (
            {},
            {"model.bandwidth": 0.1},
            {"model.normalization": "half"},
            {"model.max_signal_rate": 0.9},
            {"model.process": "edm"},
        )
    }
    assert len(keys) == 5
    flows = ({"model.process": "flow"}, {"model.process": "flow", "model.max_signal_rate": 0.9})
    assert len({first_key(settings, tmp_path) for settings in flows}) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.process": "flow"},
            "model.process must be ddim with model.family=ddim, got 'flow'",
        ),
        (
            {"model.family": "exact-gaussian", "model.bandwidth": 0.5},
            "model.bandwidth must be 0.0 with model.family=exact-gaussian, got 0.5; only "
            "exact-empirical use",
        ),
        (
            {"model.family": "exact-mixture"},
            "model.conditional must be True with model.family=exact-mixture",
        ),
        (
            {"model.family": "exact-gaussian", "model.conditional": True},
            "model.family must be one of .* with model.conditional, got 'exact-gaussian'",
        ),
    ],
)
def test_settings_of_other_families_are_refused(changes, message) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        make_lineage(changes)


@pytest.mark.slow
def test_a_lineage_loses_the_variance_of_its_forecast(tmp_path) -> None:
    """Growing pools of many images, whose estimation noise is small beside the sampler's loss."""
    path = write_noise(tmp_path / "noise.npz", num_images=12_000, shape=(1, 4, 4))
    data = {
        "name": "npz",
        "path": str(path),
        "dtype": "float32",
        "train_limit": None,
        "image_size": 4,
    }
    changes = {
        "model.family": "exact-gaussian",
        "data": data,
        "pool.alpha": 1.0,
        "sample.steps": 5,
        "metrics.num_images": None,
    }
    config, store = make_lineage(changes, generations=3), open_store(tmp_path / "store")
    (lineage,) = plan_in(make_sweep(({},), config), store)
    (expected,) = forecast_all([lineage]).values()
    for made, said in zip(compute(config, store), expected, strict=True):
        (metrics,) = made.metrics
        assert metrics.values["pixel_std"] == pytest.approx(said.pixel_std, rel=0.02)
