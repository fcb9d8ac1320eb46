"""Compare our network and training step with an implementation in Keras 3, in float64.

    uv run --extra all --group keras python benchmarks/parity_keras.py

The Keras side follows the specification of the Keras DDIM example (its layers, schedule, summed
loss, AdamW and average over `.weights`), runs on Keras' torch backend and shares no code with ours.
Both sides get the same random weights everywhere (including the head and the moving statistics) and
the same images, noise and times. Prints a table, writes benchmarks/results/parity_keras.json, and
exits with status 1 if a number exceeds its limit. Takes at most two minutes on one core.

One difference is known: BatchNorm's running variance uses the batch's unbiased variance in torch
and in TensorFlow's fused kernel, on which the Keras 2 example ran. Keras 3 uses the biased one,
which is (n - 1) / n as large for n = batch x height x width. The difference is measured, and both
sides must agree once it is corrected. Weights and gradients do not depend on it; images drawn from
a checkpoint do.

With torch's form of Adam's epsilon (train.adam_eps_form) instead of Keras', the weights differ by
more than the limit at this small size; the result contains those numbers without a limit.
"""

import argparse
import importlib
import json
import math
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.config import ModelConfig, TrainConfig
from model.job import TrainingJob
from model.networks.ddim import DDIM, diffusion_rates
from model.networks.objective import error_loss
from model.networks.unet import UNet
from model.randomness import Purpose, integer_seed
from model.training.trainer import Trainer

os.environ["KERAS_BACKEND"] = "torch"
from keras_unet import build_keras, keras

RESULT = Path(__file__).parent / "results" / "parity_keras.json"
SIZE, BATCH, CHANNELS, STEPS = 16, 4, 3, 5
SEED = (0, 1, 0)
EPSILON = 1e-7
"""Adam's epsilon, Keras' default."""

ROUNDING, TRAINED = 1e-8, 1e-6
"""Limits of relative L2 differences: after one pass, and after STEPS optimiser steps."""

Weights = dict[str, np.ndarray]
"""Tensors by their name in our state_dict, in torch's axis order."""


def keras_variables(net: Any) -> Iterator[tuple[str, Any]]:
    """Yield a Keras network's variables with the names of our tensors."""
    names = {"kernel": "weight", "moving_mean": "running_mean", "moving_variance": "running_var"}
    for layer in net.layers:
        for variable in layer.weights:
            name = layer.name.replace("-", ".")
            yield f"{name}.{names.get(variable.name, variable.name)}", variable


def turn(array: np.ndarray, *, to_keras: bool) -> np.ndarray:
    """Transpose kernels between torch's (out, in, H, W) and Keras' (H, W, in, out)."""
    axes = (2, 3, 1, 0) if to_keras else (3, 2, 0, 1)
    return array.transpose(axes) if array.ndim == 4 else array


def set_keras(net: Any, weights: Weights) -> None:
    """Copy all of our tensors into a Keras network; the names on both sides must match."""
    variables = dict(keras_variables(net))
    assert variables.keys() == weights.keys()
    for name, variable in variables.items():
        variable.assign(turn(weights[name], to_keras=True))


def get_keras(net: Any) -> Weights:
    """All of a Keras network's tensors."""
    return {
        name: turn(variable.value.detach().numpy(), to_keras=False).copy()
        for name, variable in keras_variables(net)
    }


def get_torch(net: torch.nn.Module) -> Weights:
    """All of our network's tensors."""
    return {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}


def randomize(net: torch.nn.Module, rng: np.random.Generator) -> None:
    """Add random numbers to every tensor, so that none keeps its initial value."""
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            values = rng.normal(0, 0.05, tensor.shape)
            if name.endswith("running_var"):
                values = rng.uniform(0, 1, tensor.shape)
            tensor.add_(torch.from_numpy(values))


def keras_loss(net: Any, images: np.ndarray, noise: np.ndarray, times: np.ndarray) -> Any:
    """The example's loss: the mean error over channels, which its tape sums over all else."""
    start, end = math.acos(0.95), math.acos(0.02)
    angles = start + times * (end - start)
    noisy = np.cos(angles) * images + np.sin(angles) * noise
    predicted = net([to_keras(noisy), to_keras(np.sin(angles) ** 2)], training=True)
    return keras.ops.sum(keras.losses.mean_absolute_error(to_keras(noise), predicted))


def to_keras(images: np.ndarray) -> Any:
    """Convert (B, C, H, W) float64 to the (B, H, W, C) tensor of Keras."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))


def difference(ours: Weights, theirs: Weights) -> float:
    """The largest relative L2 difference of any tensor."""
    assert ours.keys() == theirs.keys()
    return max(float(np.linalg.norm(ours[k] - v) / np.linalg.norm(v)) for k, v in theirs.items())


def split(weights: Weights) -> tuple[Weights, Weights, Weights]:
    """Split tensors into trained ones, running means and running variances."""
    means = {k: v for k, v in weights.items() if k.endswith("running_mean")}
    variances = {k: v for k, v in weights.items() if k.endswith("running_var")}
    trained = {k: v for k, v in weights.items() if k not in means and k not in variances}
    return trained, means, variances


def compare_pass(rng: np.random.Generator) -> dict[str, tuple[float, float | None]]:
    """Compare one forward and backward pass of the same network: differences and their limits."""
    config = ModelConfig()
    ours = UNet((CHANNELS, SIZE, SIZE), config, torch.Generator().manual_seed(0))
    theirs = build_keras((SIZE, SIZE, CHANNELS), config.widths)
    randomize(ours, rng)
    set_keras(theirs, get_torch(ours))
    images, noise = rng.normal(size=(2, BATCH, CHANNELS, SIZE, SIZE))
    times = rng.uniform(size=(BATCH, 1, 1, 1))
    signal_rates, noise_rates = diffusion_rates(torch.from_numpy(times))
    noisy = signal_rates * torch.from_numpy(images) + noise_rates * torch.from_numpy(noise)
    inputs = [to_keras(noisy.numpy()), to_keras((noise_rates**2).numpy())]
    rows: dict[str, tuple[float, float | None]] = {}
    for mode in ("eval", "train"):
        training = mode == "train"
        with torch.no_grad():
            predicted = ours.train(training)(noisy, noise_rates**2).numpy()
            expected = theirs(inputs, training=training).numpy().transpose(0, 3, 1, 2)
        rows[f"output, {mode} mode"] = difference({"": predicted}, {"": expected}), ROUNDING
    error = ours(noisy, noise_rates**2) - torch.from_numpy(noise)
    error_loss(error, TrainConfig(loss_reduction="spatial_sum")).backward()
    keras_loss(theirs, images, noise, times).backward()
    of_ours = {name: p.grad.numpy() for name, p in ours.named_parameters() if p.grad is not None}
    gradients = {
        name: turn(variable.value.grad.numpy(), to_keras=False)
        for name, variable in keras_variables(theirs)
        if variable.trainable
    }
    rows["gradients, worst of 80"] = difference(of_ours, gradients), ROUNDING
    assert len(gradients) == 80
    return rows


def train_keras(
    net: Any, average: Any, train: TrainConfig, batches: list[tuple[np.ndarray, ...]]
) -> list[Weights]:
    """Train with the example's AdamW and average over `.weights`; return tensors of every step."""
    scaled = train.decay_mode == "lr_scaled"
    betas = {"beta_1": train.adam_beta1, "beta_2": train.adam_beta2}
    make = keras.optimizers.AdamW if scaled else keras.optimizers.Adam
    decay = {"weight_decay": train.weight_decay} if scaled else {}
    optimizer = make(train.lr, epsilon=train.adam_eps, **betas, **decay)
    history = []
    for images, noise, times in batches:
        for variable in net.trainable_weights:
            variable.value.grad = None
        keras_loss(net, images, noise, times).backward()
        gradients = [variable.value.grad for variable in net.trainable_weights]
        with torch.no_grad():
            if not scaled:  # TF Addons' AdamW: unscaled decay, before Adam's step
                for variable in net.trainable_weights:
                    variable.assign(variable - train.weight_decay * variable)
            optimizer.apply(gradients, net.trainable_weights)
            for weight, averaged in zip(net.weights, average.weights, strict=True):
                averaged.assign(train.ema_decay * averaged + (1 - train.ema_decay) * weight)
        history.append(get_keras(net))
    return history


def correct_variances(start: Weights, average: Weights, history: list[Weights]) -> list[Weights]:
    """Keras' running variances and their average, as if each batch's variance were unbiased.

    Args:
        start: The network's tensors before the first step.
        average: The average's tensors before the first step.
        history: The network's tensors after each step.

    Returns:
        The running variances after the last step, and their average.
    """
    momentum, ema_decay = 0.99, 0.999
    side = {"down": (1, 2, 4), "middle": (8,), "up": (4, 2, 1)}
    corrected, averaged = {}, {}
    for name, previous in start.items():
        if not name.endswith("running_var"):
            continue
        part, level = name.split(".")[:2]
        pixels = (SIZE // side[part][int(level) if part != "middle" else 0]) ** 2
        bessel = BATCH * pixels / (BATCH * pixels - 1)
        biased, unbiased, mean = previous, previous, average[name]
        for after in history:
            batch = (after[name] - momentum * biased) / (1 - momentum)
            biased = after[name]
            unbiased = momentum * unbiased + (1 - momentum) * bessel * batch
            mean = ema_decay * mean + (1 - ema_decay) * unbiased
        corrected[name], averaged[name] = unbiased, mean
    return [corrected, averaged]


def draw_batches(trainer: Trainer, indices: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the normalised images, noise and times of a trainer's steps, drawn as it does."""
    images = (trainer.images.gather(indices).float() / 255 - trainer.mean) / trainer.std
    for step in range(STEPS):
        rng = torch.Generator().manual_seed(integer_seed(SEED, Purpose.STEP, step))
        noise = torch.randn(images.shape, generator=rng)
        times = torch.rand((len(images), 1, 1, 1), generator=rng)
        yield images.double().numpy(), noise.numpy(), times.numpy()


def compare_training(
    mode: Any, form: Any, rng: np.random.Generator
) -> dict[str, tuple[float, float | None]]:
    """Compare STEPS steps of our trainer and of Keras' loop: differences and their limits."""
    train = TrainConfig(
        epochs=None,
        steps=STEPS,
        batch_size=BATCH,
        loss_reduction="spatial_sum",
        adam_eps=EPSILON,
        adam_eps_form=form,
        decay_mode=mode,
        ema_init="independent",
    )
    job = TrainingJob(model=ModelConfig(), train=train, num_steps=STEPS, seed=SEED)
    trainer = Trainer(
        DDIM, rng.integers(0, 256, (8, CHANNELS, SIZE, SIZE), dtype=np.uint8), None, job
    )
    randomize(trainer.net, rng)
    randomize(trainer.ema, rng)
    start, start_average = get_torch(trainer.net), get_torch(trainer.ema)
    batches = list(draw_batches(trainer, np.arange(BATCH)))
    for _ in batches:
        trainer.train_step(np.arange(BATCH))
    shape, widths = (SIZE, SIZE, CHANNELS), job.model.widths
    theirs, average = build_keras(shape, widths), build_keras(shape, widths)
    set_keras(theirs, start)
    set_keras(average, start_average)
    history = train_keras(theirs, average, train, batches)
    corrected = correct_variances(start, start_average, history)
    label = f"{STEPS} steps, {mode}"
    if form == "torch":  # recorded without a limit
        ours, other = get_torch(trainer.net), history[-1]
        return {
            f"{label}: weights, torch's epsilon": (
                difference(split(ours)[0], split(other)[0]),
                None,
            )
        }
    rows: dict[str, tuple[float, float | None]] = {}
    for name, ours, other, unbiased in (
        ("", get_torch(trainer.net), history[-1], corrected[0]),
        ("averaged ", get_torch(trainer.ema), get_keras(average), corrected[1]),
    ):
        (weights, means, variances), keras_parts = split(ours), split(other)
        rows[f"{label}: {name}weights"] = difference(weights, keras_parts[0]), TRAINED
        rows[f"{label}: {name}running means"] = difference(means, keras_parts[1]), TRAINED
        rows[f"{label}: {name}running variances x n/(n-1)"] = (
            difference(variances, unbiased),
            TRAINED,
        )
        rows[f"{label}: {name}running variances"] = difference(variances, keras_parts[2]), None
    moved = difference(split(get_torch(trainer.net))[0], split(start)[0])
    rows[f"(how far they moved a weight, {mode})"] = moved, None
    return rows


def use_float64() -> None:
    """Make float64 the default of torch and Keras, and keep Keras from leaving it.

    Like JAX's default, Keras' promotion rules turn float64 into float32 on every backend except
    TensorFlow, even inside BatchNormalization and the loss and regardless of floatx. One entry of a
    private table controls this; unchanged, it makes both sides differ by 2e-7, Keras' rounding.
    """
    torch.set_default_dtype(torch.float64)
    keras.config.set_floatx("float64")
    rules = importlib.import_module("keras.src.backend.common.dtypes")
    rules.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    assert keras.backend.result_type("float64", "float32") == "float64"


def main() -> int:
    """Compare, print and write; return 1 if a number exceeds its limit."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    use_float64()
    rng = np.random.default_rng(0)
    rows = compare_pass(rng)
    for mode in ("lr_scaled", "unscaled"):
        for form in ("hat", "torch"):
            rows |= compare_training(mode, form, rng)
    passed = {name: limit is None or value <= limit for name, (value, limit) in rows.items()}
    print(f"{'largest relative L2 difference of a tensor':66} {'value':>9} {'limit':>7}")
    for name, (value, limit) in rows.items():
        bound = "-" if limit is None else f"{limit:.0e}"
        print(f"{name:66} {value:9.1e} {bound:>7} {'' if passed[name] else 'FAILED'}")
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
        "setting": {
            "image_size": SIZE,
            "batch_size": BATCH,
            "steps": STEPS,
            "dtype": "float64",
            "adam_eps": EPSILON,
        },
        "differences": {
            name: {"value": value, "limit": limit, "passed": passed[name]}
            for name, (value, limit) in rows.items()
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {RESULT}")
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
