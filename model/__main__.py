"""The `model` command: train, sample and evaluate a single generation.

model train --out digits.safetensors
model sample digits.safetensors --out images --num-images 360
model evaluate --images images

Results go to stdout, progress and warnings to stderr. Each command imports torch when it runs.
"""

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from model.commands.command_line import PluginCommand, Program
from model.config import (
    IMAGES,
    DataConfig,
    ImagesOn,
    MetricsConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
)
from model.errors import (
    MOST,
    UsageError,
    check_at_least,
    check_at_most,
    check_finite,
)
from model.family_facts import check_together
from model.programs.permission import allow_commands, check_allowed
from model.programs.settings import TRAIN, check_commands

if TYPE_CHECKING:
    from model.commands.files import StateFile
    from model.data.datasets import Dataset
    from model.job import Progress, TrainingJob

MOST_THREADS = 4096
PROGRESS_SECONDS = 5.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The device and its number of threads."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Device that the network runs on."""
    threads: int = 1
    """Number of torch threads; only runs with the same number are bit-identical."""

    def __post_init__(self) -> None:
        check_at_least("--threads", self.threads, 1)
        check_at_most("--threads", self.threads, MOST_THREADS)


@dataclass(frozen=True, kw_only=True)
class Train(PluginCommand):
    """Train one model on the real images of a data set: V_1 of a lineage with the same settings.

    Run the same command again to resume after a stop or a kill: the state of the training is saved
    next to the output file, in FILE.safetensors.training, and deleted at the end.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="FILE.safetensors")]
    """File to write the trained weights to; must not exist yet."""
    seed: int = 0
    """Seed of initial weights, batches and noise; the same as a lineage's seed."""
    checkpoint_seconds: float = 60.0
    """Seconds between saved training states; a killed run loses at most this much."""
    images_on: ImagesOn = "auto"
    """Where images are kept; auto: on the device if they need less than half its free memory."""
    allow_command: bool = False
    """Run the program that train.command names (family command)."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)
    """Device and threads."""
    data: DataConfig = field(default_factory=DataConfig)
    """The real images."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The model family and its network."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How the model is trained."""

    def __post_init__(self) -> None:
        if self.out.suffix != ".safetensors":
            raise UsageError(f"--out must end in .safetensors, got {str(self.out)!r}")
        check_at_least("--seed", self.seed, 0)
        check_finite("--checkpoint-seconds", self.checkpoint_seconds, 0)
        check_at_most("--checkpoint-seconds", self.checkpoint_seconds, MOST)
        check_together(self.data, self.model, self.train)
        check_commands(self.data, self.model, self.train, None)

    def run(self, args: Sequence[str]) -> int:
        """Train and write the file; returns 1 if the model diverged."""
        from model.commands.files import check_new, write_file
        from model.commands.train import check_labelled, fit_dataset, use_device
        from model.data.datasets import load_dataset
        from model.job import Diverged
        from model.training.initial import with_digest
        from model.training.length import training_length

        allow_commands(self.allow_command)
        if self.train.command is not None:
            check_allowed(TRAIN, self.train.command)
        use_device(self.machine.device, self.machine.threads)
        check_new(self.out, state_path(self.out))
        data = load_dataset(self.data)
        if len(data.train) < 2:
            raise UsageError(
                f"data must leave at least 2 images to train on, got {len(data.train)}"
            )
        check_labelled(self.model, data)
        size = len(data.train)
        num_steps, images_seen = training_length(
            size, self.model, self.train, first_pool=size, image_size=self.data.image_size
        )
        complete = replace(self, train=with_digest(self.train))
        state = complete.state_file(data)
        if state.load() is not None:
            print(f"resuming from {state.path}", file=sys.stderr)
        print_length(data, self.train, num_steps=num_steps, images_seen=images_seen)
        try:
            fit = fit_dataset(data, complete.job(num_steps, state))
        except KeyboardInterrupt:
            outcome = "resume" if state.path.exists() else "start over (nothing was saved yet)"
            print(f"\nstopped; run the same command again to {outcome}", file=sys.stderr)
            raise
        except Diverged as error:
            state.remove()
            print(f"diverged: {error}", file=sys.stderr)
            return 1
        weights = fit.checkpoint.to_bytes()
        write_file(self.out, weights)
        state.remove()
        if fit.final_loss is not None:
            print(f"final loss      {fit.final_loss:.4f} (mean of the last tenth of the steps)")
        print(f"written         {self.out} ({len(weights) / 1e6:.3g} MB)")
        return 0

    def state_file(self, data: "Dataset") -> "StateFile":
        """The state file of the training; its settings are those that affect the result."""
        from model.commands.files import StateFile

        settings = {
            f"{part}.{name}": value
            for part in ("data", "model", "train")
            for name, value in asdict(getattr(self, part)).items()
        }
        own = {"seed": self.seed, **asdict(self.machine), "data.fingerprint": data.fingerprint}
        return StateFile(state_path(self.out), settings | own)

    def job(self, num_steps: int, state: "StateFile") -> "TrainingJob":
        """The training, which resumes from `state`."""
        from model.commands.train import first_seed
        from model.job import TrainingJob

        return TrainingJob(
            model=self.model,
            train=self.train,
            num_steps=num_steps,
            seed=first_seed(self.seed),
            device=self.machine.device,
            images_on=self.images_on,
            scratch=state,
            checkpoint_seconds=self.checkpoint_seconds,
            progress=ProgressLines(),
        )


@dataclass(frozen=True, kw_only=True)
class Sample(PluginCommand):
    """Draw images from a trained model; with a lineage's seed, the images it adds to its pool.

    Image i does not depend on how many images are drawn: a larger sample begins with the same ones.
    A conditional model draws its classes in turn. They become the class folders of a folder, the
    rows of a sheet, or the arrays `labels` and `class_names` of a file.
    """

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """Trained weights: the --out of model train, or a model.safetensors of a results folder."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR|FILE.png|FILE.npz")]
    """Output: a new folder of 000000.png, ..., one sheet of all images, or exact pixels (.npz)."""
    num_images: int = 64
    """Number of images."""
    classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|NUMBER ...")] = ()
    """Classes to draw from a conditional model, in equal shares; if empty, all classes."""
    seed: int = 0
    """Seed of the noise; the same as a lineage's seed."""
    allow_command: bool = False
    """Run the program that sample.command names (family command)."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)
    """Device and threads."""
    sample: SampleConfig = field(default_factory=SampleConfig)
    """The sampler."""

    def __post_init__(self) -> None:
        if self.out.suffix.lower() in (".jpg", ".jpeg", ".webp", ".bmp", ".gif"):
            raise UsageError(
                f"--out must be a folder, a .png or an .npz file, got {str(self.out)!r}"
            )
        check_at_least("--num-images", self.num_images, 1)
        check_at_most("--num-images", self.num_images, IMAGES["most"])
        check_at_least("--seed", self.seed, 0)

    def run(self, args: Sequence[str]) -> int:
        """Write a folder, a sheet or an .npz file; returns 1 if sampling diverged."""
        from model.commands.checkpoint_file import chosen_classes, read_checkpoint
        from model.commands.files import check_new
        from model.commands.sample import write_classes, write_images
        from model.commands.train import first_seed, use_device
        from model.job import Diverged
        from model.randomness import Purpose
        from model.streams import Stream

        allow_commands(self.allow_command)
        checkpoint = read_checkpoint(self.checkpoint)
        use_device(self.machine.device, self.machine.threads)
        classes = chosen_classes(self.classes, checkpoint)
        check_new(self.out, folder=self.out.suffix not in (".png", ".npz"))
        stream = Stream(
            checkpoint=checkpoint,
            config=self.sample,
            seed=first_seed(self.seed),
            purpose=Purpose.SAMPLE,
            device=self.machine.device,
        )
        try:
            if classes:
                write_classes(self.out, stream, classes, self.num_images)
            else:
                write_images(self.out, stream, self.num_images)
        except Diverged as error:
            print(f"diverged: {error}", file=sys.stderr)
            return 1
        print(f"{self.num_images:,} images written to {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Evaluate(PluginCommand):
    """Compare images with real ones: the held-out images of a data set, or your own.

    Images are not resized to match: all must have the reference's size and channels.
    Sub-folders, or the arrays `labels` and `class_names` of a file, are classes; for --images, they
    are the classes that the generator was conditioned on.

      model evaluate --images mine --reference digits
      model evaluate --images mine --reference held_out --train trained_on
    """

    images: Annotated[Path, tyro.conf.arg(metavar="DIR|FILE.npz")]
    """Folder of PNG or JPEG files, flat or in class folders, or a file with an array `images`."""
    reference: Annotated[str | None, tyro.conf.arg(metavar="NAME|DIR|FILE.npz")] = None
    """Real images: a data set's name, or a whole folder or file; none means --data.name."""
    train: Annotated[Path | None, tyro.conf.arg(metavar="DIR|FILE.npz")] = None
    """Real training images, if the reference is a folder or file; a data set has its own."""
    format: Literal["table", "json"] = "table"
    """Output format; only json contains all numbers."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)
    """Device and threads."""
    data: DataConfig = field(default_factory=DataConfig)
    """The real images, if they are a data set; use the settings that the model was trained with."""
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    """What is measured."""

    def run(self, args: Sequence[str]) -> int:
        """Measure the images and print the numbers."""
        from model.commands.evaluate import find_reference, read_generated, table_lines
        from model.commands.train import use_device
        from model.metrics.table import check_parts, evaluate_images, validate_metrics

        metrics = self.metrics
        validate_metrics(metrics)
        use_device(self.machine.device, self.machine.threads)
        reference = find_reference(self.reference, self.train, self.data, metrics, args)
        real = reference.real
        check_parts(metrics, real, generated_labels=True)  # before any image is read
        images, labels = read_generated(self.images, reference, num_images=metrics.num_images)
        if metrics.sample_steps is not None:
            warnings.warn("metrics.sample_steps has no effect on existing images", stacklevel=1)
        measured = evaluate_images(
            images, real, metrics, generated_labels=labels, device=self.machine.device
        )
        for warning in measured.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        if self.format == "json":
            import json

            print(json.dumps(asdict(measured), indent=1, sort_keys=True))
        else:
            print("\n".join(table_lines(measured, real.class_names)))
        return 0


def state_path(out: Path) -> Path:
    """File of the saved state of a training."""
    return out.with_name(out.name + ".training")


def print_length(data: "Dataset", train: TrainConfig, *, num_steps: int, images_seen: int) -> None:
    """Print the size of the data and the length of the training."""
    from model.training.length import ema_init_left

    C, H, W = data.shape
    print(
        f"data            {data.name}, {H}x{W}x{C} {data.images.dtype}: {len(data.train):,} train, "
        f"{len(data.reference):,} reference, {len(data.validation):,} validation images"
    )
    if num_steps:
        print(f"steps           {num_steps:,}")
    print(f"images seen     {images_seen:,}")
    print(f"views           {images_seen / len(data.train):.1f} per image")
    if num_steps:
        print(f"EMA start left  {ema_init_left(num_steps, train):.1%}")
    sys.stdout.flush()


class ProgressLines:
    """Prints a training's progress every PROGRESS_SECONDS and at its end."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: "Progress") -> None:
        """Print a line to stderr if PROGRESS_SECONDS have passed or the training is at its end."""
        now = time.monotonic()
        if progress.step < progress.num_steps and now - self._last < PROGRESS_SECONDS:
            return
        self._last = now
        print(
            f"step {progress.step:,} of {progress.num_steps:,}, loss {progress.loss:.4f}, "
            f"{progress.images_per_second:,.0f} images/s",
            file=sys.stderr,
        )


PROGRAM = Program(
    name="model",
    description=(
        "A single generation: train a model on real images, draw images from it, evaluate them."
    ),
    commands={"train": Train, "sample": Sample, "evaluate": Evaluate},
)


def main() -> None:
    """Entry point of the console command."""
    sys.exit(PROGRAM.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
