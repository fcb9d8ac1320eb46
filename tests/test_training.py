"""Facts of a training's parts: batches, loss, optimiser, average."""

import math
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from every_family import new_trainer
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import MODEL, SEED, draw_pool, make_job, make_train
from torch import nn

from benchmarks.counts import count_operations, summarize
from model.config import ModelConfig, TrainConfig
from model.networks.arithmetic import network_precision
from model.networks.objective import error_loss
from model.randomness import Purpose, generator
from model.training.batches import batch_indices, epoch_order
from model.training.length import ema_init_left
from model.training.optimizer import AdamW, set_rate
from model.training.trainer import Trainer


def make_trainer(*, images: np.ndarray | None = None, model: ModelConfig = MODEL, **settings):
    pool = draw_pool() if images is None else images
    return new_trainer(pool, make_job(make_train(**settings), model=model))


def weights(trainer: Trainer, which: str = "net") -> dict[str, np.ndarray]:
    net = getattr(trainer, which)
    return {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}


# Batches


@given(
    st.integers(1, 30), st.integers(1, 12), st.integers(1, 3), st.sampled_from([None, 1, 4, 100])
)
def test_epoch_sees_each_image_repetitions_times(num_images, batch_size, repetitions, window):
    train = make_train(
        batch_size=batch_size, repetitions=repetitions, drop_last=False, shuffle_window=window
    )
    num_batches = math.ceil(num_images * repetitions / batch_size)
    for epoch in (0, 1):
        batches = islice(batch_indices(num_images, train, SEED, epoch * num_batches), num_batches)
        seen = np.bincount(np.concatenate(list(batches)), minlength=num_images)
        assert (seen == repetitions).all()


@given(st.integers(8, 30), st.integers(0, 40), st.booleans(), st.sampled_from([None, 5]))
def test_resumed_batches_are_the_rest_of_uninterrupted_ones(num_images, start, drop_last, window):
    train = make_train(drop_last=drop_last, shuffle_window=window)
    every = list(islice(batch_indices(num_images, train, SEED, 0), start + 6))
    rest = list(islice(batch_indices(num_images, train, SEED, start), 6))
    assert [batch.tolist() for batch in rest] == [batch.tolist() for batch in every[start:]]


def test_epochs_have_different_orders():
    first, second = islice(batch_indices(8, make_train(), SEED, 0), 2)
    assert sorted(first) == sorted(second)
    assert first.tolist() != second.tolist()


@given(st.integers(1, 60), st.integers(1, 70))
def test_image_leaves_a_shuffle_window_at_most_its_length_early(num_images, window):
    """Position p can hold only what has entered by then: the first p + window images."""
    train = make_train(shuffle_window=window)
    order = epoch_order(num_images, train, generator(SEED, Purpose.SHUFFLE, 0))
    assert (order <= np.arange(num_images) + window - 1).all()


def test_shuffle_window_of_one_shuffles_nothing():
    order = epoch_order(9, make_train(shuffle_window=1), generator(SEED, Purpose.SHUFFLE, 0))
    assert order.tolist() == list(range(9))


def test_first_image_of_a_window_is_uniform_in_it():
    """4000 shuffles in a window of 4: each of the first four comes first 1000 times, +-4 x 27.4."""
    train = make_train(shuffle_window=4)
    firsts = [epoch_order(9, train, generator((i,), Purpose.SHUFFLE))[0] for i in range(4000)]
    assert (np.abs(np.bincount(firsts, minlength=4) - 1000) < 4 * math.sqrt(4000 * 3 / 16)).all()


# Loss


def test_first_losses_are_those_of_no_prediction():
    """sqrt(2/pi) = .7979, and that times E tan(angle) = ln(.95 / .02) / (acos .02 - acos .95).

    4096 images of 16 pixels know the noise loss to .603 / 256, the image loss to .8 x 5.43 / 64.
    """
    trainer = make_trainer(images=draw_pool(4096, size=4), batch_size=4096)
    trainer.train_step(np.arange(4096))
    noise, image = trainer.curves[:, 0].tolist()
    tangent = math.log(0.95 / 0.02) / (math.acos(0.02) - math.acos(0.95))
    assert math.sqrt(2 / math.pi) * tangent == pytest.approx(2.4978, abs=5e-5)
    assert noise == pytest.approx(math.sqrt(2 / math.pi), abs=4 * 0.603 / 256)
    assert image == pytest.approx(2.4978, abs=4 * 0.8 * 5.43 / 64)


def test_squared_loss_of_no_prediction_is_one():
    """Variance of the noise; 65,536 numbers know it to sqrt(2) / 256."""
    trainer = make_trainer(images=draw_pool(4096, size=4), batch_size=4096, loss="mse")
    trainer.train_step(np.arange(4096))
    assert trainer.curves[0, 0].item() == pytest.approx(1, abs=4 * 2**0.5 / 256)


@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_summed_loss_is_images_times_pixels_times_the_mean(loss):
    """Keras differentiates the sum of a (64, 64, 64) tensor: 262,144 times the mean."""
    error = torch.randn(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean = error_loss(error, make_train(loss=loss))
    summed = error_loss(error, make_train(loss=loss, loss_reduction="spatial_sum"))
    assert summed.item() == pytest.approx(64 * 64 * 64 * mean.item(), rel=1e-5)


def test_loss_reduction_scales_the_gradient():
    """By images x pixels, 8 x 64 here, in every weight."""
    gradients = []
    for reduction in ("mean", "spatial_sum"):
        trainer = make_trainer(loss_reduction=reduction)
        trainer.train_step(np.arange(8))
        gradients.append([p.grad for p in trainer.net.parameters()])
    for mean, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(summed, 512 * mean, rtol=1e-5, atol=1e-9)


def test_summed_loss_takes_the_same_steps_as_the_mean():
    """Adam cancels the gradient's scale, if its epsilon has that scale too."""
    trained = []
    for reduction, adam_eps in (("mean", 1e-7 / 512), ("spatial_sum", 1e-7)):
        trainer = make_trainer(loss_reduction=reduction, adam_eps=adam_eps)
        for _ in range(4):
            trainer.train_step(np.arange(8))
        trained.append(weights(trainer))
    for name, expected in trained[0].items():
        np.testing.assert_allclose(trained[1][name], expected, rtol=1e-5, atol=1e-7)


def test_mirrored_images_train_like_their_originals_where_they_are_symmetric():
    """Hflip changes no noise and no time, only which of two mirror images is seen."""
    half = draw_pool()[..., :4]
    losses = {}
    for name, images in (("symmetric", np.concatenate([half, half[..., ::-1]], 3)), ("any", None)):
        for hflip in (False, True):
            trainer = make_trainer(images=images, hflip=hflip)
            for _ in range(3):
                trainer.train_step(np.arange(8))
            losses[name, hflip] = trainer.curves[0, :3].tolist()
    assert losses["symmetric", True] == losses["symmetric", False]
    assert losses["any", True][1:] != losses["any", False][1:]


# Optimiser


def step_without_gradient(train: TrainConfig, *, step: int = 0, num_steps: int = 10) -> float:
    """What is left of the weights after one step, in float64."""
    net = make_trainer().net.double()
    before = net.stem.weight.detach().clone()
    optimizer = AdamW(net.parameters(), train)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    set_rate(optimizer, step, num_steps, train)
    optimizer.step()
    return (net.stem.weight / before).mean().item()


@pytest.mark.parametrize(("mode", "decay"), [("lr_scaled", 1e-7), ("unscaled", 1e-4)])
def test_decay_mode_sets_what_a_step_subtracts(mode, decay):
    """Lr x decay of torch and Keras 3, or the decay alone of TF Addons: 1000 times as much."""
    left = step_without_gradient(make_train(decay_mode=mode))
    assert 1 - left == pytest.approx(decay, rel=1e-7)


@pytest.mark.parametrize(("mode", "decay"), [("lr_scaled", 0.5e-7), ("unscaled", 1e-4)])
def test_only_scaled_decay_falls_with_the_rate(mode, decay):
    """Half of the cosine through, the rate is half."""
    train = make_train(decay_mode=mode, lr_schedule="cosine")
    assert 1 - step_without_gradient(train, step=5) == pytest.approx(decay, rel=1e-7)


def test_decay_acts_on_biases_too():
    """On all parameters, as in the Keras example."""
    optimizer = AdamW(make_trainer().net.parameters(), make_train())
    assert len(optimizer.parameters) == len(list(make_trainer().net.parameters()))


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (30, 0.5), (45, 0.5 - 0.5 * 0.5**0.5)])
def test_cosine_rate_falls_to_zero(step, share):
    train = make_train(lr_schedule="cosine")
    optimizer = AdamW(make_trainer().net.parameters(), train)
    set_rate(optimizer, step, 60, train)
    assert optimizer.lr == pytest.approx(1e-3 * share)


def test_optimiser_has_the_settings_numbers():
    train = make_train(adam_eps=1e-7, adam_beta1=0.8, adam_beta2=0.9, lr=0.01)
    optimizer = AdamW(make_trainer().net.parameters(), train)
    assert (optimizer.eps, optimizer.betas, optimizer.lr) == (1e-7, (0.8, 0.9), 0.01)


def test_optimiser_is_torchs_bit_for_bit():
    """With weights and gradients in channels last, and a parameter that no loss depends on."""
    nets = [make_trainer().net for _ in range(2)]
    unused = [nn.Parameter(torch.ones(3)) for _ in nets]
    ours = AdamW([*nets[0].parameters(), unused[0]], make_train())
    torchs = torch.optim.AdamW(
        [*nets[1].parameters(), unused[1]], lr=1e-3, weight_decay=1e-4, fused=True
    )
    for seed in range(5):
        for net, optimizer in zip(nets, (ours, torchs), strict=True):
            rng = torch.Generator().manual_seed(seed)
            optimizer.zero_grad()
            for parameter in net.parameters():
                # torch documents that backward() gives a gradient its parameter's layout.
                parameter.grad = torch.empty_like(parameter).normal_(generator=rng)
            optimizer.step()
    for first, second in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(first, second)
    for number, state in torchs.state_dict()["state"].items():
        for name, expected in state.items():
            assert torch.equal(ours.state()[f"{number}.{name}"], expected)
    assert len(ours.moments) == len(torchs.state) == len(ours.parameters) - 1


def test_optimiser_copies_no_gradient_and_counts_steps_once():
    """The one copy is that of the number that is added to the counter."""
    trainer = make_trainer()
    trainer.train_step(np.arange(8))
    counts = count_operations(trainer.optimizer.step)
    assert (counts["aten::copy_"], counts["aten::clone"], counts["aten::add_"]) == (1, 0, 1)


def test_step_reads_nothing_but_the_optimisers_counter():
    """A CPU reads the counter for each parameter, and the loss only when it is reported."""
    trainer = make_trainer(hflip=True)
    trainer.train_step(np.arange(8))
    counts = count_operations(lambda: trainer.train_step(np.arange(8)))
    assert summarize(counts)["reads"] == len(trainer.optimizer.parameters)
    assert (counts["aten::_fused_adamw_"], counts["aten::_foreach_lerp_"]) == (1, 1)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="counts are those of oneDNN")
def test_step_has_no_more_operations_than_needed():
    """917 and 39 copies; torch.optim.AdamW made them 1129 and 86."""
    trainer = make_trainer(images=draw_pool(64), model=ModelConfig(widths=(8, 16)), batch_size=32)
    trainer.train_step(np.arange(32))
    counts = summarize(count_operations(lambda: trainer.train_step(np.arange(32))))
    assert counts["operations"] <= 917
    assert counts["copies"] <= 39


@pytest.mark.slow
def test_training_and_sampling_do_not_load_torchs_compiler():
    """Its import takes two seconds of CPU in every process."""
    code = """
import sys
import numpy as np
from every_family import fit_family, sample_family
from model.config import SampleConfig
from tiny_training import draw_pool, make_job, make_train
fit = fit_family(draw_pool(), None, make_job(make_train(), num_steps=2))
sample_family(fit.checkpoint, np.zeros((2, 1, 8, 8), np.float32), SampleConfig(steps=2))
sys.exit("torch._dynamo" in sys.modules)
"""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": paths})


@pytest.mark.parametrize("step", [0, 9, 4999])
def test_keras_epsilon_stands_beside_the_uncorrected_root(step):
    """Update lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), eps corrected in torch."""
    train = make_train(adam_eps=1e-7, adam_eps_form="hat", adam_beta2=0.99)
    optimizer = AdamW(make_trainer().net.parameters(), train)
    set_rate(optimizer, step, 5000, train)
    corrected = 1e-7 / (1 - 0.99 ** (step + 1)) ** 0.5
    assert optimizer.eps == pytest.approx(corrected, rel=1e-12)


def test_automatic_precision_is_fp32_without_a_gpu():
    assert network_precision(make_train(precision="auto"), "cpu") == "fp32"
    assert network_precision(make_train(precision="bf16"), "cpu") == "bf16"


# Average


@pytest.mark.parametrize("ema_init", ["copy", "independent", "warmup"])
def test_average_is_the_recursion_over_weights_and_statistics(ema_init):
    """A <- d a + (1 - d) w in float64, where BatchNorm's w are themselves running means."""
    trainer = make_trainer(ema_init=ema_init, ema_decay=0.9)
    expected = {name: w.astype(np.float64) for name, w in weights(trainer, "ema").items()}
    for step in range(12):
        trainer.train_step(np.arange(8))
        decay = min(0.9, (1 + step) / (10 + step)) if ema_init == "warmup" else 0.9
        for name, w in weights(trainer).items():
            expected[name] = decay * expected[name] + (1 - decay) * w
    for name, average in weights(trainer, "ema").items():
        np.testing.assert_allclose(average, expected[name], rtol=2e-5, atol=1e-6, err_msg=name)


def test_averaged_statistics_are_an_average_of_averages():
    """EMA(.999) of EMA(.99) of the batches' means, the first starting at 0."""
    trainer = make_trainer(ema_init="copy")
    norm, means = trainer.net.middle[0].norm, []
    norm.register_forward_hook(lambda module, args, output: means.append(args[0].mean((0, 2, 3))))
    running = average = torch.zeros(4, dtype=torch.float64)
    for step in range(5):
        trainer.train_step(np.arange(8))
        running = 0.99 * running + 0.01 * means[step].detach().double()
        average = 0.999 * average + 0.001 * running
    kept = trainer.checkpoint().tensors["ema.middle.0.norm.running_mean"]
    torch.testing.assert_close(kept.double(), average, rtol=1e-4, atol=1e-9)


def test_statistics_can_be_the_last_ones():
    """With ema_average_buffers=False the average's weights sample with the network's statistics."""
    trainer = make_trainer(ema_average_buffers=False)
    trainer.train_step(np.arange(8))
    tensors = trainer.checkpoint().tensors
    name = "down.0.0.norm.running_var"
    assert torch.equal(tensors[f"ema.{name}"], tensors[f"raw.{name}"])
    assert not torch.equal(tensors["ema.head.weight"], tensors["raw.head.weight"])


@pytest.mark.parametrize(
    ("ema_init", "same"), [("copy", True), ("warmup", True), ("independent", False)]
)
def test_independent_average_starts_from_other_weights(ema_init, same):
    trainer = make_trainer(ema_init=ema_init)
    assert torch.equal(trainer.ema.stem.weight, trainer.net.stem.weight) is same


def test_average_of_still_weights_keeps_the_known_share_of_its_start():
    """With a rate near 0, a - w shrinks to the share that ema_init_left states."""
    trainer = make_trainer(ema_init="independent", ema_decay=0.9, lr=1e-12)
    start = trainer.ema.stem.weight - trainer.net.stem.weight.detach()
    for _ in range(10):
        trainer.train_step(np.arange(8))
    left = (trainer.ema.stem.weight - trainer.net.stem.weight.detach()) / start
    assert left.mean().item() == pytest.approx(ema_init_left(10, trainer.train), rel=1e-3)
