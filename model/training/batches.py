"""Which images a training step sees: the order of an epoch, cut into batches.

All follow from (seed, epoch), so that a resumed training goes on with the rest of an uninterrupted
one's batches. Must not know networks or losses.
"""

from collections.abc import Iterator

import numpy as np

from model.config import TrainConfig
from model.randomness import Purpose, Seed, generator
from model.training.length import steps_per_epoch


def batch_indices(
    num_images: int, train: TrainConfig, seed: Seed, start_step: int
) -> Iterator[np.ndarray]:
    """Index arrays of the batches from `start_step` on, without end."""
    per_epoch = max(1, steps_per_epoch(num_images, train))
    epoch, first = divmod(start_step, per_epoch)
    while True:
        order = epoch_order(num_images, train, generator(seed, Purpose.SHUFFLE, epoch))
        for step in range(first, per_epoch):
            yield order[step * train.batch_size : (step + 1) * train.batch_size]
        epoch, first = epoch + 1, 0


def epoch_order(num_images: int, train: TrainConfig, rng: np.random.Generator) -> np.ndarray:
    """The order of an epoch: the repeated pool, permuted whole or in a sliding window."""
    order = np.tile(np.arange(num_images), train.repetitions)
    if train.shuffle_window is None:
        return rng.permutation(order)
    window = list(order[: train.shuffle_window])
    shuffled = np.empty_like(order)
    picks = rng.random(len(order))
    for position, pick in enumerate(picks):
        slot = int(pick * len(window))
        shuffled[position] = window[slot]
        incoming = position + train.shuffle_window
        if incoming < len(order):
            window[slot] = order[incoming]
        else:
            window[slot] = window[-1]
            window.pop()
    return shuffled
