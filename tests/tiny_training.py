"""Trainings of a 2-level network on 8x8 noise, which take milliseconds a step."""

from dataclasses import dataclass, field, replace

import numpy as np

from model.checkpoint import Checkpoint
from model.config import ModelConfig, SampleConfig, TrainConfig
from model.job import TrainingJob
from model.randomness import Purpose
from model.streams import Stream

SEED = (0, 1, 0)
MODEL = ModelConfig(widths=(4, 8), stem_width=4, embedding_dim=4)


def make_train(**settings) -> TrainConfig:
    return replace(TrainConfig(epochs=None, steps=60, batch_size=8), **settings)


def make_job(train: TrainConfig, *, num_steps: int = 60, **settings) -> TrainingJob:
    job = TrainingJob(model=MODEL, seed=SEED, train=train, num_steps=num_steps)
    return replace(job, **settings)


def draw_pool(num_images: int = 32, *, channels: int = 1, size: int = 8) -> np.ndarray:
    """(N, C, size, size) uint8."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (num_images, channels, size, size), dtype=np.uint8)


def new_stream(
    checkpoint: Checkpoint,
    config: SampleConfig,
    *,
    seed: tuple[int, ...] = SEED,
    purpose: Purpose = Purpose.SAMPLE,
) -> Stream:
    return Stream(checkpoint=checkpoint, config=config, seed=seed, purpose=purpose)


@dataclass
class Memory:
    """A scratch that keeps its states in a list."""

    states: list[bytes] = field(default_factory=list)

    def load(self) -> bytes | None:
        return self.states[-1] if self.states else None

    def save(self, data: bytes) -> None:
        self.states.append(data)
