"""Facts of the objectives: what flow, edm and vae draw, and what their losses come to."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from every_family import NETWORKS, OBJECTIVES, new_trainer
from tiny_training import MODEL, draw_pool, make_job, make_train
from torch import Tensor
from torch.distributions import Laplace, Normal, kl_divergence

from benchmarks.counts import count_operations
from model.config import ModelConfig, SampleConfig, TrainConfig
from model.networks.edm import draw_noise_and_levels, edm_loss
from model.networks.flow import flow_loss
from model.networks.objective import Draws, StepLoss, make_call
from model.networks.sampling import load_net
from model.networks.unet import draw_weights
from model.networks.vae import Autoencoder, draw_latent_noise, vae_loss

MSE = make_train(loss="mse")
MAE = make_train(loss="mae")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def first_losses(family: str, train: TrainConfig) -> list[float]:
    """Curves of the first step, on 4096 images of 16 pixels of unit deviation."""
    images = draw_pool(4096, size=4)
    job = make_job(replace(train, batch_size=4096), model=replace(MODEL, family=family))
    trainer = new_trainer(images, job)
    trainer.train_step(np.arange(4096))
    return trainer.curves[:, 0].tolist()


# The networks


def new_network(family: str, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    return OBJECTIVES[family].new_network((1, 8, 8), replace(MODEL, family=family), generator, 0)


@pytest.mark.parametrize("family", NETWORKS)
def test_initial_weights_follow_the_generator_alone(family):
    """The global one is neither read nor moved."""
    before = torch.get_rng_state()
    first, again, other = (new_network(family, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("family", ["ddim", "flow", "edm", "vae"])
def test_a_network_whose_weights_are_loaded_draws_none(family):
    """A network is loaded for each block of samples. One that is trained draws each weight once."""
    trainer = new_trainer(draw_pool(), make_job(make_train(), model=replace(MODEL, family=family)))
    checkpoint = trainer.checkpoint()
    counts = count_operations(lambda: load_net(OBJECTIVES[family], checkpoint))
    assert not counts.keys() & {"aten::uniform_", "aten::normal_", "prims::uniform"}
    drawn = count_operations(lambda: new_network(family))
    layers = (torch.nn.Conv2d, torch.nn.Linear)
    weights = sum(isinstance(module, layers) for module in trainer.net.modules())
    assert drawn["aten::uniform_"] == weights


@pytest.mark.parametrize("family", NETWORKS)
def test_networks_answer_zero_at_first(family):
    """A vae decodes zero; the others predict it."""
    part = new_network(family).eval().get_submodule(OBJECTIVES[family].sampling_part)
    inputs = (draw(2, 16, 1, 1),) if family == "vae" else (draw(2, 1, 8, 8), torch.ones(2, 1, 1, 1))
    answer = part(*inputs)
    assert answer.shape == (2, 1, 8, 8)
    assert (answer == 0).all()


@pytest.mark.parametrize("init", ["keras_glorot", "torch"])
def test_initial_weights_of_a_linear_layer_keep_their_rule(init):
    """Glorot: uniform within sqrt(6 / (8 + 4)); torch: within 1 / sqrt(8), biases too."""
    layer = torch.nn.utils.skip_init(torch.nn.Linear, 8, 4)
    draw_weights(layer, init, torch.Generator().manual_seed(0))
    limit = (6 / 12) ** 0.5 if init == "keras_glorot" else 8**-0.5
    assert 0.8 * limit < layer.weight.abs().max() <= limit
    assert (layer.bias == 0).all() == (init == "keras_glorot")


def test_unet2d_without_its_package_is_an_error_with_a_way_out(monkeypatch):
    """One line, which says what to install."""
    monkeypatch.setattr("model.family_facts.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^model\.family must .*collapse-sweep\[diffusers\]"):
        new_network("unet2d")


# The call


def test_network_sees_its_images_channels_last():
    seen = []
    make_call(lambda images: seen.append(images) or images, bf16=False)(draw(2, 3, 4, 4))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_bf16_networks_answer_in_float32():
    """A convolution under autocast answers in bf16, which differs from fp32 in the third digit."""
    layer, images = torch.nn.Conv2d(1, 1, 1), draw(4, 1, 4, 4)
    (rounded,), (exact,) = (make_call(lambda x: (layer(x),), bf16=b)(images) for b in (True, False))
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.05


# Flow


def test_first_flow_loss_is_that_of_no_prediction():
    """E (noise - image)^2 = 2, and E t E |noise - image| of the images' estimates.

    The images are uniform with deviation 1, of fourth moment 1.8; a squared velocity then varies
    by 3 + 6 + 1.8 - 4 = 6.8, so that 65,536 of them know the loss to 0.0102.
    """
    loss, image = first_losses("flow", MSE)
    assert loss == pytest.approx(2, abs=4 * 6.8**0.5 / 256)
    velocity, _ = first_losses("flow", MAE)
    assert image == pytest.approx(velocity / 2, rel=0.04)


def test_flow_loss_of_the_true_velocity_is_zero():
    """Where the network is told the noise and the image."""
    images, noise, times = draw(8, 1, 4, 4), draw(8, 1, 4, 4, seed=1), torch.rand(8, 1, 1, 1)
    found = flow_loss(
        lambda noisy, t: noise - images, images, draws=(noise, times), model=MODEL, train=MSE
    )
    assert [found.loss.item(), *(curve.item() for curve in found.curves)] == [0, 0, 0]


def test_flow_network_is_given_the_path_and_its_time():
    images, noise, times = draw(8, 1, 4, 4), draw(8, 1, 4, 4, seed=1), torch.rand(8, 1, 1, 1)

    def call(noisy: Tensor, given: Tensor) -> Tensor:
        assert torch.equal(given, times)
        torch.testing.assert_close(noisy, (1 - times) * images + times * noise)
        return noisy

    flow_loss(call, images, draws=(noise, times), model=MODEL, train=MSE)


# EDM


@pytest.mark.parametrize(("normalization", "scale"), [("half", 1.0), ("train_channel", 2.0)])
def test_training_levels_are_log_normal(normalization, scale):
    """P_mean = -1.2, P_std = 1.2 of images of deviation 0.5; 100,000 know both to 0.004.

    Images of twice the deviation take twice the noise.
    """
    model = replace(MODEL, normalization=normalization)
    _, sigma = draw_noise_and_levels((100_000, 1, 1, 1), torch.Generator(), model=model)
    logarithm = (sigma / scale).log()
    assert logarithm.mean().item() == pytest.approx(-1.2, abs=4 * 0.0038)
    assert logarithm.std().item() == pytest.approx(1.2, abs=4 * 0.0027)


def test_first_edm_loss_is_that_of_a_target_of_unit_variance():
    """Normal or uniform, a square varies by at most 2: 65,536 know it to 0.0055."""
    assert first_losses("edm", MSE)[0] == pytest.approx(1, abs=4 * 0.0055)


def edm(train: TrainConfig, model: ModelConfig = MODEL) -> tuple[StepLoss, Tensor, Tensor]:
    """The loss with a network that says 0.3, the error of its image estimate, and lambda."""
    images, noise = draw(8, 1, 4, 4), draw(8, 1, 4, 4, seed=1)
    sigma = draw(8, 1, 1, 1, seed=2).exp()
    found = edm_loss(
        lambda noisy, level: torch.full_like(noisy, 0.3),
        images,
        draws=(noise, sigma),
        model=model,
        train=train,
    )
    noisy, data = images + sigma * noise, 0.5 if model.normalization == "half" else 1.0
    total = sigma**2 + data**2
    estimate = data**2 / total * noisy + 0.3 * sigma * data / total.sqrt()
    return found, estimate - images, total / (sigma * data) ** 2


@pytest.mark.parametrize("normalization", ["train_channel", "half"])
def test_edm_loss_is_the_weighted_error_of_the_image_estimate(normalization):
    """Equation 2: lambda(sigma) |D - y|^2, with D and lambda of table 1."""
    found, error, weight = edm(MSE, replace(MODEL, normalization=normalization))
    torch.testing.assert_close(found.loss, (weight * error**2).mean())
    torch.testing.assert_close(found.curves[0], found.loss)
    torch.testing.assert_close(found.curves[1], error.abs().mean())


def test_absolute_edm_loss_is_weighted_by_the_root():
    """So that the loss is on what the network has to give."""
    found, error, weight = edm(MAE)
    torch.testing.assert_close(found.loss, (weight.sqrt() * error.abs()).mean())


# VAE


def vae(train: TrainConfig, *, log_scale: float = -0.5) -> tuple[StepLoss, Tensor, Tensor]:
    """The loss with a given decoding and posterior, the former's error, the latter's divergence."""
    images, decoded = draw(8, 1, 4, 4), draw(8, 1, 4, 4, seed=1)
    mean, log_variance = draw(8, 3, 1, 1, seed=2), draw(8, 3, 1, 1, seed=3)
    answer = decoded, mean, log_variance, torch.tensor(log_scale)
    found = vae_loss(lambda images, noise: answer, images, draws=(mean,), model=MODEL, train=train)
    posterior = Normal(mean, (log_variance / 2).exp())
    return found, images - decoded, kl_divergence(posterior, Normal(0.0, 1.0)).sum((1, 2, 3))


@pytest.mark.parametrize(("train", "likelihood"), [(MSE, Normal), (MAE, Laplace)])
def test_vae_loss_is_the_negative_evidence_lower_bound(train, likelihood):
    """Nats per pixel, of which an image has 16."""
    found, error, divergence = vae(train)
    surprise = -likelihood(0.0, math.exp(-0.5)).log_prob(error).sum((1, 2, 3))
    torch.testing.assert_close(found.loss, ((surprise + divergence) / 16).mean())
    torch.testing.assert_close(found.curves[0], found.loss)
    torch.testing.assert_close(found.curves[1], error.abs().mean())
    torch.testing.assert_close(found.curves[2], divergence.mean())


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_summed_vae_loss_is_images_times_pixels_times_the_mean(loss):
    """8 x 16, divergence and all."""
    mean, summed = (
        vae(make_train(loss=loss, loss_reduction=reduction))[0].loss
        for reduction in ("mean", "spatial_sum")
    )
    torch.testing.assert_close(summed, 8 * 16 * mean)


@pytest.mark.parametrize("train", [MSE, MAE])
def test_best_scale_is_the_size_of_the_errors(train):
    """Root mean square (Gaussian) or mean absolute (Laplace): any other scale loses."""
    _, error, _ = vae(train)
    best = error.square().mean().sqrt() if train.loss == "mse" else error.abs().mean()
    at_best = vae(train, log_scale=best.log().item())[0].loss
    assert all(vae(train, log_scale=best.log().item() + d)[0].loss > at_best for d in (-0.1, 0.1))


@pytest.mark.parametrize("scale", [None, 0.25])
def test_known_scale_is_not_trained(scale):
    model = replace(MODEL, family="vae", likelihood_scale=scale)
    trainer = new_trainer(draw_pool(), make_job(MSE, model=model))
    net = trainer.net
    assert isinstance(net, Autoencoder)
    before = net.log_scale.item()
    trainer.train_step(np.arange(8))
    assert before == pytest.approx(math.log(scale or 1))
    assert (net.log_scale.item() == before) is (scale is not None)


def test_latent_noise_has_the_latents_shape():
    (noise,) = draw_latent_noise((5, 3, 8, 8), torch.Generator(), model=ModelConfig(latent_dim=7))
    assert noise.shape == (5, 7, 1, 1)


def test_vae_images_follow_the_first_numbers_of_their_noise():
    """The rest has no effect."""
    seen: list[Tensor] = []
    noise = draw(2, 1, 4, 4)
    OBJECTIVES["vae"].sample(
        lambda latents: seen.append(latents) or latents,
        noise,
        model=ModelConfig(latent_dim=5),
        config=SampleConfig(),
        bounds=None,
    )
    assert torch.equal(seen[0], noise.view(2, 16)[:, :5, None, None])


def test_draws_follow_the_generator_alone():
    """The same seed, the same numbers, for every objective."""

    def numbers(name: str) -> Draws:
        generator = torch.Generator().manual_seed(3)
        return OBJECTIVES[name].draw((4, 1, 8, 8), generator, model=MODEL)

    for name in OBJECTIVES:
        for first, second in zip(numbers(name), numbers(name), strict=True):
            assert torch.equal(first, second)
