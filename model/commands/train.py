"""`model train`: trains one model, and reads the files of trained models. Prints nothing.

A model trained in this way equals V_1 of a lineage with the same settings and seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from model.best_checkpoint import validation_score
from model.checkpoint import Checkpoint
from model.commands.files import StateFile
from model.config import (
    DataConfig,
    ImagesOn,
    MetricsConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
)
from model.data.datasets import Dataset
from model.errors import MissingFileError, UsageError, check_choice, reading
from model.families import FAMILIES, family_of
from model.family_facts import facts_of
from model.job import Fit, Progress, TrainingJob
from model.randomness import Seed
from model.training.length import check_last_batch, count_images, ema_init_left, training_steps

CHECKPOINT_SETTINGS = {"family", "model", "shape", "dtype", "bounded", "precision"}


def first_seed(seed: int) -> Seed:
    """The seed of generation 1 and its only member, as in a lineage with this seed."""
    return (seed, 1, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Length:
    """Length of a training."""

    num_steps: int | None
    """None if the family is not trained in steps."""
    images_seen: int
    views_per_image: float
    ema_init_left: float | None
    """Share of the initial weights that remains in the EMA at the end; None like num_steps."""


def plan_length(
    num_images: int, model: ModelConfig, train: TrainConfig, *, image_size: int
) -> Length:
    """The length of a training on `num_images`; raises UsageError if there are too few."""
    if not facts_of(model.family).iterative:
        return Length(
            num_steps=None, images_seen=num_images, views_per_image=1.0, ema_init_left=None
        )
    num_steps = training_steps(num_images, train, first_pool=num_images)
    check_last_batch(num_images, train, widths=model.widths, image_size=image_size)
    images_seen = count_images(num_images, train, num_steps)
    return Length(
        num_steps=num_steps,
        images_seen=images_seen,
        views_per_image=images_seen / num_images,
        ema_init_left=ema_init_left(num_steps, train),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A model to train on the training images of a data set."""

    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    seed: int
    device: str
    threads: int
    checkpoint_seconds: float
    images_on: ImagesOn = "auto"

    def state_file(self, path: Path, data: Dataset) -> StateFile:
        """The state file of the training; its settings are those that affect the result."""
        settings = {
            f"{part}.{name}": value
            for part in ("data", "model", "train")
            for name, value in asdict(getattr(self, part)).items()
        }
        own = {name: getattr(self, name) for name in ("seed", "device", "threads")}
        return StateFile(path, settings | own | {"data.fingerprint": data.fingerprint})

    def fit(self, data: Dataset, state: StateFile, progress: Callable[[Progress], None]) -> Fit:
        """Train, resuming from `state`.

        Raises:
            UsageError: The settings do not fit the data, or the state belongs to other settings.
            Diverged: The loss is not finite.
        """
        state.load()  # raises if the state has other settings, whatever the family
        images = data.images[data.train]
        check_labelled(self.model, data)
        length = plan_length(len(images), self.model, self.train, image_size=self.data.image_size)
        score = None
        if self.train.select == "best_kid":
            # The default sampler and extractor of a lineage.
            score = validation_score(
                data.images[data.validation],
                SampleConfig(),
                MetricsConfig(),
                seed=first_seed(self.seed),
                labels=self.labels(data, data.validation),
                device=self.device,
            )
        job = TrainingJob(
            model=self.model,
            train=self.train,
            num_steps=length.num_steps or 0,
            seed=first_seed(self.seed),
            num_classes=len(data.class_names),
            class_names=data.class_names,
            bounded=data.bounded,
            device=self.device,
            images_on=self.images_on,
            score=score,
            scratch=state,
            checkpoint_seconds=self.checkpoint_seconds,
            progress=progress,
        )
        labels = self.labels(data, data.train)
        return family_of(self.model.family).fit(images, labels, job)

    def labels(self, data: Dataset, indices: np.ndarray) -> np.ndarray | None:
        """(N,) int64 classes of the images at `indices`; None for an unconditional model."""
        return data.labels[indices] if self.model.conditional and data.labels is not None else None


def check_labelled(model: ModelConfig, data: Dataset) -> None:
    """Raise UsageError if a conditional model would be trained on images without classes."""
    if model.conditional and (data.labels is None or not data.class_names):
        raise UsageError(
            f"model.conditional must be False for data without classes ({data.name}), got True"
        )


def use_device(device: str, threads: int) -> None:
    """Set the number of torch's threads; raises UsageError if there is no GPU for cuda."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device must be cpu on a machine without a CUDA GPU, got 'cuda'")
    torch.set_num_threads(threads)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the file of a trained model.

    Raises:
        UsageError: The file is damaged, or was not written by `model train` or a sweep.
        MissingFileError: The file does not exist.
    """
    if not path.is_file():
        raise MissingFileError(
            f"CHECKPOINT must be an existing file, got {str(path)!r}; "
            "model train --out FILE.safetensors writes one"
        )
    with reading(path):
        data = path.read_bytes()
    checkpoint = Checkpoint.from_bytes(data, source=str(path))
    missing = CHECKPOINT_SETTINGS - set(checkpoint.settings)
    if not missing and checkpoint.settings["model"].get("conditional"):
        missing = {"num_classes", "class_names"} - set(checkpoint.settings)
    if missing or checkpoint.family not in FAMILIES:
        lacks = ", ".join(sorted(missing)) or f"a family of {', '.join(FAMILIES)}"
        raise UsageError(
            f"{path} must be a model trained by this package, got one that lacks {lacks}"
        )
    return checkpoint


def class_names_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Names of a conditional model's classes, or their numbers if they have no names."""
    named = checkpoint.settings["class_names"]
    return tuple(named or map(str, range(checkpoint.settings["num_classes"])))


def chosen_classes(words: Sequence[str], checkpoint: Checkpoint) -> list[int]:
    """Indices of the classes that --classes names, or of all classes if it names none.

    A word of digits is a class's number, unless the name of some class is a number.

    Raises:
        UsageError: The model is unconditional, a word is not a class, or a class is named twice.
    """
    if not checkpoint.settings["model"].get("conditional"):
        if words:
            raise UsageError(
                f"--classes must be left out for an unconditional model, got {' '.join(words)!r}"
            )
        return []
    names = class_names_of(checkpoint)
    numbers = [] if any(name.isdecimal() for name in names) else list(map(str, range(len(names))))
    for word in words:
        check_choice("--classes", word, [*names, *(word for word in numbers if word in words)])
    chosen = [numbers.index(w) if w in numbers else names.index(w) for w in words]
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"--classes must name each class once, got {' '.join(words)!r}")
    return chosen or list(range(len(names)))
