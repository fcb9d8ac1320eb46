"""One side of a comparison of speeds: does a unit of work whenever its parent asks for one.

    python benchmarks/peer_worker.py SIDE CASE     (started by peers.py)

CASE is JSON: task (train or sample), size, channels, batch, and the settings of the network. The
program writes "ready" after the first unit, which compiles what is compiled; then, for each number
of calls read from stdin, it makes them and writes the seconds that they took.

All sides do the same work in float32 with the same network. A training call takes a batch of uint8
images that are in memory, normalises them, draws noise and times, and updates the weights with
AdamW and the average of all weights. A sampling call draws noise and makes SAMPLER_STEPS steps of
the sampler for a whole batch.
"""

import importlib
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

POOL = 1024
LR, DECAY, EMA = 1e-3, 1e-4, 0.999
START, END = math.acos(0.95), math.acos(0.02)
"""Angles of the diffusion schedule: signal rates from .95 to .02."""
SAMPLER_STEPS = 5
ANGLES = np.linspace(END, START, SAMPLER_STEPS + 1, dtype=np.float32)


def images_of(case: dict[str, Any]) -> np.ndarray:
    """(N, H, W, C) uint8 images of noise."""
    shape = (POOL, case["size"], case["size"], case["channels"])
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def batches_of(case: dict[str, Any]) -> list[np.ndarray]:
    """Indices of 16 batches."""
    rng = np.random.default_rng(1)
    return [rng.choice(POOL, case["batch"], replace=False) for _ in range(16)]


def ours(case: dict[str, Any]) -> Callable[[int], object]:
    """A call of this package: its training step, or a sampler of one step."""
    from model.commands.process import prepare_process
    from model.config import ModelConfig, SampleConfig, TrainConfig
    from model.job import TrainingJob
    from model.networks.ddim import DDIM
    from model.networks.sampling import sample_network
    from model.randomness import Purpose, image_noise
    from model.training.trainer import Trainer

    prepare_process("cpu", 1)
    config = ModelConfig(**case["network"] | {"widths": tuple(case["network"]["widths"])})
    train = TrainConfig(epochs=None, steps=10**6, batch_size=case["batch"])
    job = TrainingJob(model=config, train=train, num_steps=10**6, seed=(0, 1, 0))
    images = np.ascontiguousarray(images_of(case).transpose(0, 3, 1, 2))
    trainer, order = Trainer(DDIM, images, None, job), batches_of(case)
    if case["task"] == "train":
        return lambda call: trainer.train_step(order[call % 16])
    checkpoint, shape = trainer.checkpoint(), images.shape[1:]

    def sample(call: int) -> object:
        start = call * case["batch"]
        noise = image_noise((0, 1, 0), Purpose.SAMPLE, range(start, start + case["batch"]), shape)
        return sample_network(
            DDIM, checkpoint, noise, SampleConfig(steps=SAMPLER_STEPS), device="cpu"
        )

    return sample


def network(case: dict[str, Any]) -> Any:
    """The Keras network."""
    from keras_unet import build_keras

    shape = (case["size"], case["size"], case["channels"])
    return build_keras(shape, **case["network"])


def with_tensorflow(case: dict[str, Any], *, xla: bool) -> Callable[[int], object]:
    """A call in Keras on TensorFlow: one graph for the whole step."""
    tf = importlib.import_module("tensorflow")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    net, average = network(case), network(case)
    keras = importlib.import_module("keras")
    optimizer = keras.optimizers.AdamW(LR, weight_decay=DECAY)
    optimizer.build(net.trainable_variables)
    images = tf.constant(images_of(case))
    mean, std = 127.5, 74.0
    shape = (case["batch"], case["size"], case["size"], case["channels"])

    @tf.function(jit_compile=xla)
    def train(indices: Any) -> Any:
        batch = (tf.cast(tf.gather(images, indices), tf.float32) - mean) / std
        noise, times = tf.random.normal(shape), tf.random.uniform((shape[0], 1, 1, 1))
        angles = START + times * (END - START)
        noisy = tf.cos(angles) * batch + tf.sin(angles) * noise
        with tf.GradientTape() as tape:
            predicted = net([noisy, tf.sin(angles) ** 2], training=True)
            loss = tf.reduce_mean(tf.abs(noise - predicted))
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply(gradients, net.trainable_variables)
        for weight, averaged in zip(net.weights, average.weights, strict=True):
            averaged.assign(EMA * averaged + (1 - EMA) * weight)
        return loss

    @tf.function(jit_compile=xla)
    def step(noisy: Any, angle: Any, following: Any) -> Any:
        rates = tf.fill((shape[0], 1, 1, 1), tf.sin(angle))
        predicted = net([noisy, rates**2], training=False)
        estimate = (noisy - tf.sin(angle) * predicted) / tf.cos(angle)
        return tf.cos(following) * estimate + tf.sin(following) * predicted, estimate

    def sample() -> Any:
        estimate = noisy = tf.random.normal(shape)
        for pair in itertools.pairwise(angles):
            noisy, estimate = step(noisy, *pair)
        return tf.cast(tf.clip_by_value(estimate * std + mean, 0, 255), tf.uint8)

    angles = [tf.constant(angle) for angle in ANGLES]
    order = [tf.constant(batch) for batch in batches_of(case)]
    if case["task"] == "train":
        return lambda call: train(order[call % 16]).numpy()
    return lambda call: sample().numpy()


def with_jax(case: dict[str, Any]) -> Callable[[int], object]:
    """A call in Keras on JAX: one compiled function for the whole step."""
    jax = importlib.import_module("jax")
    jnp = jax.numpy
    net = network(case)
    keras = importlib.import_module("keras")
    optimizer = keras.optimizers.AdamW(LR, weight_decay=DECAY)
    optimizer.build(net.trainable_variables)
    images, mean, std = jnp.asarray(images_of(case)), 127.5, 74.0
    shape = (case["batch"], case["size"], case["size"], case["channels"])

    def loss_of(trained: Any, fixed: Any, indices: Any, key: Any) -> Any:
        one, two = jax.random.split(key)
        batch = (images[indices].astype(jnp.float32) - mean) / std
        noise, times = jax.random.normal(one, shape), jax.random.uniform(two, (shape[0], 1, 1, 1))
        angles = START + times * (END - START)
        noisy = jnp.cos(angles) * batch + jnp.sin(angles) * noise
        inputs = [noisy, jnp.sin(angles) ** 2]
        predicted, fixed = net.stateless_call(trained, fixed, inputs, training=True)
        return jnp.abs(noise - predicted).mean(), fixed

    @jax.jit
    def train(state: Any, indices: Any) -> Any:
        trained, fixed, averages, slots, key = state
        key, used = jax.random.split(key)
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, fixed), gradients = gradient(trained, fixed, indices, used)
        trained, slots = optimizer.stateless_apply(slots, gradients, trained)
        weights = [*trained, *fixed]
        averages = [EMA * a + (1 - EMA) * w for a, w in zip(averages, weights, strict=True)]
        return (trained, fixed, averages, slots, key), loss

    @jax.jit
    def step(noisy: Any, angle: Any, following: Any) -> Any:
        inputs = [noisy, jnp.full((shape[0], 1, 1, 1), jnp.sin(angle) ** 2)]
        predicted, _ = net.stateless_call(trained, fixed, inputs, training=False)
        estimate = (noisy - jnp.sin(angle) * predicted) / jnp.cos(angle)
        return jnp.cos(following) * estimate + jnp.sin(following) * predicted, estimate

    trained = [variable.value for variable in net.trainable_variables]
    fixed = [variable.value for variable in net.non_trainable_variables]
    slots = [variable.value for variable in optimizer.variables]
    state: list[Any] = [(trained, fixed, [*trained, *fixed], slots, jax.random.key(0))]
    keys = [jax.random.key(1)]
    order = batches_of(case)

    def train_once(call: int) -> object:
        state[0], loss = train(state[0], order[call % 16])
        return float(loss)

    def sample_once(call: int) -> object:
        keys[0], used = jax.random.split(keys[0])
        estimate = noisy = jax.random.normal(used, shape)
        for pair in itertools.pairwise(ANGLES):
            noisy, estimate = step(noisy, *pair)
        return np.asarray(jnp.clip(estimate * std + mean, 0, 255).astype(jnp.uint8))

    return train_once if case["task"] == "train" else sample_once


SIDES: dict[str, Callable[[dict[str, Any]], Callable[[int], object]]] = {
    "ours": ours,
    "keras-tensorflow": lambda case: with_tensorflow(case, xla=False),
    "keras-tensorflow-xla": lambda case: with_tensorflow(case, xla=True),
    "keras-jax": with_jax,
}


def main() -> None:
    """Serve units of work until stdin ends."""
    side, case = sys.argv[1], json.loads(sys.argv[2])
    call, number = SIDES[side](case), 0
    for _ in range(3):
        call(number)
        number += 1
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            call(number)
            number += 1
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
