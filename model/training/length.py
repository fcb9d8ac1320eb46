"""How long a training is: steps, images seen, and how much of the average's initial value remains.

This is arithmetic on settings, so a plan does not import torch.
"""

import functools
import math

from model.config import ModelConfig, TrainConfig
from model.errors import UsageError
from model.family_facts import FAMILY_FACTS


def training_length(
    num_images: int, model: ModelConfig, train: TrainConfig, *, first_pool: int, image_size: int
) -> tuple[int, int]:
    """Steps of a training on a pool of `num_images`, and the training images that they see.

    A model that is not trained in steps has 0 and sees each image once.

    Raises:
        UsageError: As in training_steps and check_last_batch.
    """
    if not FAMILY_FACTS[model.family].iterative:
        return 0, num_images
    num_steps = training_steps(num_images, train, first_pool=first_pool)
    check_last_batch(num_images, train, widths=model.widths, image_size=image_size)
    return num_steps, count_images(num_images, train, num_steps)


def steps_per_epoch(num_images: int, train: TrainConfig) -> int:
    """Optimiser steps per epoch on a pool of `num_images`; one if the pool is below one batch."""
    repeated = num_images * train.repetitions
    rounding = 0 if train.drop_last else train.batch_size - 1
    return max(1, (repeated + rounding) // train.batch_size)


def training_steps(num_images: int, train: TrainConfig, *, first_pool: int) -> int:
    """Optimiser steps on a pool of `num_images`, if the lineage's first pool has `first_pool`.

    Raises:
        UsageError: The pool is smaller than one batch.
    """
    if train.steps is not None:
        return train.steps
    if train.images is not None:
        return steps_of_images(train.images, num_images, train)
    counted = num_images if train.scaling == "epochs" else first_pool
    if counted * train.repetitions < (train.batch_size if train.drop_last else 1):
        raise UsageError(
            f"train.batch_size must be at most the pool's {counted} images x train.repetitions, "
            f"got {train.batch_size}; make it smaller or set train.drop_last to False"
        )
    steps = (train.epochs or 0) * steps_per_epoch(counted, train)
    if train.scaling == "images":
        return steps_of_images(count_images(first_pool, train, steps), num_images, train)
    return steps


def steps_of_images(images_seen: int, num_images: int, train: TrainConfig) -> int:
    """Optimiser steps that see `images_seen` images of the pool, or up to one batch more."""
    per_epoch = steps_per_epoch(num_images, train)
    epochs, rest = divmod(images_seen, count_images(num_images, train, per_epoch))
    return epochs * per_epoch + math.ceil(rest / train.batch_size)


def ema_decay_at(step: int, train: TrainConfig) -> float:
    """The average's decay at step s, counted from 0: constant, or at most (1 + s) / (10 + s)."""
    if train.ema_init != "warmup":
        return train.ema_decay
    return min(train.ema_decay, (1 + step) / (10 + step))


@functools.lru_cache(maxsize=10_000)
def ema_init_left(num_steps: int, train: TrainConfig) -> float:
    """Weight of the average's initial value in the average after `num_steps`."""
    if train.ema_init != "warmup":
        return train.ema_decay**num_steps
    return math.prod(ema_decay_at(step, train) for step in range(min(num_steps, 20_000)))


def count_images(num_images: int, train: TrainConfig, num_steps: int) -> int:
    """Training images seen in `num_steps` steps, with the actual size of an epoch's last batch."""
    per_epoch = steps_per_epoch(num_images, train)
    epochs, rest = divmod(num_steps, per_epoch)
    in_epoch = min(num_images * train.repetitions, per_epoch * train.batch_size)
    return epochs * in_epoch + rest * train.batch_size


def check_last_batch(
    num_images: int, train: TrainConfig, *, widths: tuple[int, ...], image_size: int
) -> None:
    """Raise UsageError if BatchNorm would get one image of one pixel, which has no variance."""
    one_pixel = image_size == 2 ** (len(widths) - 1)
    last = 0 if train.drop_last else num_images * train.repetitions % train.batch_size
    if one_pixel and (last or train.batch_size) == 1:
        field = "train.drop_last" if last else "train.batch_size"
        raise UsageError(
            f"{field} must leave no batch of one image with a pool of {num_images}, because "
            "model.widths shrinks images to one pixel, "
            f"got {train.drop_last if last else train.batch_size}; "
            "use another train.batch_size or fewer model.widths"
        )
