"""What benchmarks/gpu.py trains: networks, sizes, and how much of each is measured."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.throughput import Precision, make_pool
from model.config import ModelConfig, TrainConfig
from model.job import TrainingJob
from model.networks.arithmetic import float32_products
from model.networks.ddim import DDIM
from model.training.captured import WARM_STEPS, CapturedTrainer
from model.training.trainer import Trainer

Row = dict[str, Any]

MODES = ("eager", "captured")
COMPILED = ("compiled", "compiled+captured")


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A network, its images and its batch."""

    name: str
    size: int
    channels: int = 3
    batch: int = 64
    widths: tuple[int, ...] = (32, 64, 96, 128)

    @property
    def model(self) -> ModelConfig:
        """Settings of the network."""
        return ModelConfig(widths=self.widths)

    def pool(self) -> np.ndarray:
        """(1024, C, size, size) uint8 training images."""
        return make_pool(1024, self.size)[:, : self.channels]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How much is measured."""

    tasks: tuple[Task, ...]
    shared: tuple[Task, ...]
    """Tasks of which several are trained at once."""
    counts: tuple[int, ...]
    """Numbers of trainings at once."""
    seconds: float
    """Time for one case."""
    loss_steps: int
    """Steps of the trainings whose losses are compared."""
    check: Row
    """Size of the comparison with the CPU."""


PRESETS = Task(name="presets", size=8, channels=1, batch=32, widths=(16, 48, 96))
SMALL = Task(name="8x8", size=8, channels=1)
MEDIUM, LARGE = Task(name="32x32", size=32), Task(name="64x64", size=64)
FULL = Scale(
    tasks=(PRESETS, SMALL, MEDIUM, LARGE),
    shared=(PRESETS, MEDIUM),
    counts=(1, 2, 4, 8),
    seconds=3.0,
    loss_steps=200,
    check={},
)
TOY_TASK = Task(name="toy", size=8, channels=1, batch=8, widths=(4, 8))
TOY = Scale(
    tasks=(TOY_TASK,),
    shared=(TOY_TASK,),
    counts=(1, 2),
    seconds=0.05,
    loss_steps=2 * WARM_STEPS,
    check={"model": TOY_TASK.model, "size": 8, "steps": 4},
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What all parts need."""

    device: torch.device
    scale: Scale
    precisions: list[Precision]
    ends: float
    """time.perf_counter() at which no further case starts."""

    def cases(self, rows: list[Callable[[], Row]]) -> Iterator[Row]:
        """Run each case as long as there is time; an error becomes a row."""
        for number, case in enumerate(rows):
            if time.perf_counter() > self.ends:
                yield {"skipped": len(rows) - number, "reason": "no time was left"}
                return
            try:
                yield case()
            except Exception as error:
                arguments = getattr(case, "args", ())
                yield {"case": repr(arguments[1:]), "error": f"{type(error).__name__}: {error}"}


def new_job(
    bench: Bench, task: Task, precision: Precision, mode: str, **settings: Any
) -> TrainingJob:
    """Make the job of a training; `settings` are of TrainConfig."""
    train = TrainConfig(
        epochs=None,
        steps=100_000,
        batch_size=task.batch,
        precision=precision,
        compile="compiled" in mode,
        **settings,
    )
    return TrainingJob(
        model=task.model,
        train=train,
        num_steps=100_000,
        seed=(0, 1, 0),
        device=str(bench.device),
        images_on="device",
    )


def new_trainer(bench: Bench, task: Task, precision: Precision, mode: str) -> Trainer:
    """Make a trainer for one of the modes."""
    kind = CapturedTrainer if "captured" in mode else Trainer
    return kind(DDIM, task.pool(), None, new_job(bench, task, precision, mode))


def stepper(trainer: Trainer) -> Callable[[], None]:
    """A call that takes the next step of a training."""
    rng = np.random.default_rng(0)
    order = [rng.choice(1024, trainer.train.batch_size, replace=False) for _ in range(16)]
    return lambda: trainer.train_step(order[trainer.step % 16])


def take_steps(trainer: Trainer, steps: int, precision: Precision) -> np.ndarray:
    """Take steps and return their losses."""
    step = stepper(trainer)
    with float32_products(precision):
        for _ in range(steps):
            step()
    return trainer.curves[0, trainer.step - steps : trainer.step].cpu().numpy()
