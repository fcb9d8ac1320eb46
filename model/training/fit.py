"""The training loop of any Objective, which waits for the device only to report, save and score."""

import time

import numpy as np

from model.job import Fit, Progress, TrainingJob
from model.networks.arithmetic import float32_products
from model.networks.objective import Objective
from model.training.batches import batch_indices
from model.training.captured import CapturedTrainer
from model.training.length import count_images, steps_per_epoch
from model.training.trainer import REPORT_STEPS, Trainer


def fit_network(
    objective: Objective, images: np.ndarray, labels: np.ndarray | None, job: TrainingJob
) -> Fit:
    """Train a network on a pool, from scratch or starting from job.initial.

    Args:
        objective: The family of the network.
        images: (N, C, H, W) uint8 or float32.
        labels: (N,) int64 in [0, job.num_classes) for a conditional model; ignored otherwise.
        job: Settings, seed and device, and where state and progress go.

    Raises:
        UsageError: The labels or classes of a conditional model are invalid, the device does not
            support the precision or captured steps, or the saved state does not fit.
        Diverged: The loss is not finite.
    """
    kind = CapturedTrainer if job.train.captured else Trainer
    trainer = kind(objective, images, labels, job)
    if job.scratch is not None and (data := job.scratch.load()) is not None:
        trainer.restore(data)
    with float32_products(trainer.precision):
        train_to_the_end(trainer, len(images))
    steps = np.arange(1, job.num_steps + 1, dtype=np.int64)
    curves = zip(objective.curves, trainer.curves.cpu().numpy(), strict=True)
    return Fit(
        checkpoint=trainer.best_checkpoint(),
        curves={"step": steps, **dict(curves)},
        seconds=trainer.seconds,
        images_seen=count_images(len(images), job.train, job.num_steps),
    )


def train_to_the_end(trainer: Trainer, num_images: int) -> None:
    """Take the remaining steps.

    Every REPORT_STEPS steps, and after the last, check the loss and report. Save the state if
    checkpoint_seconds have passed since the last save.
    """
    job = trainer.job
    started_at = saved_at = time.perf_counter()
    seconds_before = trainer.seconds
    seen_before = count_images(num_images, job.train, trainer.step)
    per_epoch = steps_per_epoch(num_images, job.train)
    batches = batch_indices(num_images, job.train, job.seed, trainer.step)
    while trainer.step < job.num_steps:
        trainer.train_step(next(batches))
        is_last = trainer.step == job.num_steps
        if job.score is not None and (is_last or trainer.step % per_epoch == 0):
            trainer.keep_best()
        if not is_last and trainer.step % REPORT_STEPS:
            continue
        loss = trainer.recent_loss()
        now = time.perf_counter()
        trainer.seconds = seconds_before + now - started_at
        if job.progress is not None:
            step, total = trainer.step, job.num_steps
            seen = count_images(num_images, job.train, step) - seen_before
            speed = seen / (now - started_at)
            job.progress(Progress(step=step, num_steps=total, loss=loss, images_per_second=speed))
        if job.scratch is not None and not is_last and now - saved_at >= job.checkpoint_seconds:
            job.scratch.save(trainer.state())
            saved_at = time.perf_counter()
