"""The command `model`: one generation by hand.

model train --out digits.safetensors
model sample digits.safetensors --out images --num-images 360
model evaluate --images images

Results go to stdout, progress and warnings to stderr; each command imports torch for itself.
"""

import sys
import time
import warnings
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from model.commands.command_line import parse, run_program
from model.compatibility import check_guidance, check_together
from model.config import (
    DataConfig,
    ImagesOn,
    MetricsConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
    check,
    restored_model,
)
from model.errors import check_finite

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint
    from model.commands.evaluate import Reference
    from model.commands.train import Length
    from model.data.datasets import Dataset
    from model.training import Progress

PROGRESS_SECONDS = 5.0
"""Time between lines of progress."""


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """What computes."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where the network runs."""
    threads: int = 1
    """Threads of torch; numbers repeat bit for bit only with the same."""

    def __post_init__(self) -> None:
        check(self.threads >= 1, "--threads", "be at least 1", self.threads)


@dataclass(frozen=True, kw_only=True)
class _Train:
    """Train one model on the real images of a data set: V_1 of a lineage of the same settings.

    Stopped or killed, the same command resumes: the running training is kept beside the file, in
    FILE.safetensors.training, which is deleted at the end.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="FILE.safetensors")]
    """File of the trained weights; must not exist."""
    seed: int = 0
    """Seed of initial weights, batches and noise, as a lineage's."""
    checkpoint_seconds: float = 60.0
    """Time between saved training states: what a killed run loses at most."""
    images_on: ImagesOn = "auto"
    """Where the images lie; auto is the device if they take less than half of its free memory."""
    machine: Annotated[_Machine, tyro.conf.arg(name="")] = field(default_factory=_Machine)
    """What computes."""
    data: DataConfig = field(default_factory=DataConfig)
    """The real images."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The model family and its network."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How the model is trained."""

    def __post_init__(self) -> None:
        check(self.out.suffix == ".safetensors", "--out", "end in .safetensors", str(self.out))
        check(self.seed >= 0, "--seed", "be at least 0", self.seed)
        check_finite("--checkpoint-seconds", self.checkpoint_seconds, 0)
        check_together(self.data, self.model, self.train)


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """Draw images from a trained model: with the same seed, those a lineage adds to its pool.

    Image i does not depend on how many are drawn, so that more of them begin with the same ones.
    Of a conditional model they are of its classes in turn: class folders of a folder, rows of a
    sheet, arrays `labels` and `class_names` of a file.
    """

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """Trained weights: --out of model train, or model.safetensors of a results folder."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR|FILE.png|FILE.npz")]
    """New folder of 000000.png, 000001.png, ...; or one sheet of all images; or exact pixels."""
    num_images: int = 64
    """How many images."""
    classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|NUMBER ...")] = ()
    """Classes asked of a conditional model, in equal shares; none takes all."""
    seed: int = 0
    """Seed of the noise, as a lineage's."""
    machine: Annotated[_Machine, tyro.conf.arg(name="")] = field(default_factory=_Machine)
    """What computes."""
    sample: SampleConfig = field(default_factory=SampleConfig)
    """The sampler."""

    def __post_init__(self) -> None:
        picture = self.out.suffix.lower() in (".jpg", ".jpeg", ".webp", ".bmp", ".gif")
        check(not picture, "--out", "be a folder, a .png or an .npz file", str(self.out))
        check(self.num_images >= 1, "--num-images", "be at least 1", self.num_images)
        check(self.seed >= 0, "--seed", "be at least 0", self.seed)


@dataclass(frozen=True, kw_only=True)
class _Evaluate:
    """Measure images against real ones: the held-out ones of a data set, or your own.

    Images are compared as they are: all must have the reference's size and channels. Sub-folders,
    or arrays `labels` and `class_names` of a file, are classes: of --images, those asked for.
      model evaluate --images mine --reference digits
      model evaluate --images mine --reference held_out --train trained_on
    """

    images: Annotated[Path, tyro.conf.arg(metavar="DIR|FILE.npz")]
    """Folder of PNG or JPEG files, flat or in class folders, or file with an array `images`."""
    reference: Annotated[str | None, tyro.conf.arg(metavar="NAME|DIR|FILE.npz")] = None
    """Real images: a data set by name, or all of a folder or file; none is --data.name."""
    train: Annotated[Path | None, tyro.conf.arg(metavar="DIR|FILE.npz")] = None
    """Real images trained on, beside a folder or file as reference; a data set has its own."""
    format: Literal["table", "json"] = "table"
    """How the numbers are printed; json holds them all."""
    machine: Annotated[_Machine, tyro.conf.arg(name="")] = field(default_factory=_Machine)
    """What computes."""
    data: DataConfig = field(default_factory=DataConfig)
    """The real images, if a data set; the settings with which the model was trained."""
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    """What is measured."""


def train(args: list[str]) -> int:
    """Train a model into a file; 1 where it diverged."""
    options = parse(_Train, args, prog="model train")
    from model.commands.files import check_new, write_file
    from model.commands.train import Training, check_labelled, plan_length, use_device
    from model.data.datasets import load_dataset
    from model.training import Diverged

    use_device(options.machine.device, options.machine.threads)
    check_new(options.out)
    data = load_dataset(options.data)
    check(len(data.train) >= 2, "data", "leave at least 2 images to train on", len(data.train))
    check_labelled(options.model, data)
    length = plan_length(
        len(data.train), options.model, options.train, image_size=options.data.image_size
    )
    training = Training(
        data=options.data,
        model=options.model,
        train=options.train,
        seed=options.seed,
        device=options.machine.device,
        threads=options.machine.threads,
        checkpoint_seconds=options.checkpoint_seconds,
        images_on=options.images_on,
    )
    state = training.state_file(options.out.with_name(options.out.name + ".training"), data)
    if state.load() is not None:
        print(f"resuming from {state.path}", file=sys.stderr)
    print_length(data, length)
    try:
        fit = training.fit(data, state, ProgressLines())
    except KeyboardInterrupt:
        kept = "resumes" if state.path.exists() else "begins again (nothing was saved yet)"
        print(f"\nstopped; the same command {kept}", file=sys.stderr)
        raise
    except Diverged as error:
        state.remove()
        print(f"diverged: {error}", file=sys.stderr)
        return 1
    weights = fit.checkpoint.to_bytes()
    write_file(options.out, weights)
    state.remove()
    if fit.final_loss is not None:
        print(f"final loss      {fit.final_loss:.4f} (mean of the last tenth of the steps)")
    print(f"written         {options.out} ({len(weights) / 1e6:.3g} MB)")
    return 0


def print_length(data: "Dataset", length: "Length") -> None:
    """Print what a training is on, and how long it is."""
    C, H, W = data.shape
    print(
        f"data            {data.name}, {H}x{W}x{C} {data.images.dtype}: {len(data.train):,} train, "
        f"{len(data.reference):,} reference, {len(data.validation):,} validation images"
    )
    if length.num_steps is not None:
        print(f"steps           {length.num_steps:,}")
    print(f"images seen     {length.images_seen:,}")
    print(f"views           {length.views_per_image:.1f} per image")
    if length.ema_init_left is not None:
        print(f"EMA start left  {length.ema_init_left:.1%}")
    sys.stdout.flush()


class ProgressLines:
    """Prints where a training stands, every few seconds and at its end."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: "Progress") -> None:
        """Print a line on stderr, if it is time for one."""
        now = time.monotonic()
        if progress.step < progress.num_steps and now - self._last < PROGRESS_SECONDS:
            return
        self._last = now
        print(
            f"step {progress.step:,} of {progress.num_steps:,}, loss {progress.loss:.4f}, "
            f"{progress.images_per_second:,.0f} images/s",
            file=sys.stderr,
        )


def sample(args: list[str]) -> int:
    """Draw images into a folder, a sheet or an .npz file; 1 where they are not finite."""
    options = parse(_Sample, args, prog="model sample")
    from model.commands.files import check_new
    from model.commands.sample import write_images
    from model.commands.train import chosen_classes, first_seed, read_checkpoint, use_device
    from model.families import draw_images
    from model.randomness import Purpose
    from model.training import Diverged

    checkpoint = read_checkpoint(options.checkpoint)
    use_device(options.machine.device, options.machine.threads)
    check_guidance(restored_model(checkpoint.settings["model"]), options.sample)
    classes = chosen_classes(options.classes, checkpoint)
    check_new(options.out, folder=options.out.suffix not in (".png", ".npz"))
    try:
        if classes:
            sample_classes(options, checkpoint, classes)
        else:
            parts = draw_images(
                checkpoint,
                options.num_images,
                options.sample,
                seed=first_seed(options.seed),
                purpose=Purpose.SAMPLE,
                device=options.machine.device,
            )
            write_images(options.out, parts, bounded=checkpoint.settings["bounded"])
    except Diverged as error:
        print(f"diverged: {error}", file=sys.stderr)
        return 1
    print(f"{options.num_images:,} images written to {options.out}")
    return 0


def sample_classes(options: _Sample, checkpoint: "Checkpoint", classes: list[int]) -> None:
    """Draw images of a conditional model, of the classes in turn, and write them; may diverge."""
    from model.commands.sample import check_class_folders, check_range, write_class_images
    from model.commands.train import class_names_of, first_seed
    from model.randomness import Purpose
    from model.streams import draw_labelled, labels_in_turn

    names = class_names_of(checkpoint)
    check_range(options.out, bounded=checkpoint.settings["bounded"])
    check_class_folders(options.out, [names[label] for label in classes])
    labels = labels_in_turn(classes, options.num_images)
    images = draw_labelled(
        checkpoint,
        labels,
        options.sample,
        seed=first_seed(options.seed),
        purpose=Purpose.SAMPLE,
        device=options.machine.device,
    )
    write_class_images(options.out, images, labels, names)


def evaluate(args: list[str]) -> int:
    """Measure images and print the numbers."""
    options = parse(_Evaluate, args, prog="model evaluate")
    from model.commands.evaluate import read_generated, table_lines
    from model.commands.train import use_device
    from model.metrics import check_needs, evaluate_images, present, validate_metrics

    metrics = options.metrics
    validate_metrics(metrics)
    use_device(options.machine.device, options.machine.threads)
    reference = find_reference(options, args)
    real = reference.real
    check_needs(metrics, present(real) | {"generated_labels"})  # before any image is read
    images, labels = read_generated(options.images, reference, num_images=metrics.num_images)
    if metrics.sample_steps is not None:
        warnings.warn("metrics.sample_steps has no effect on given images", stacklevel=1)
    found = evaluate_images(
        images, real, metrics, generated_labels=labels, device=options.machine.device
    )
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if options.format == "json":
        import json

        print(json.dumps(asdict(found), indent=1, sort_keys=True))
    else:
        print("\n".join(table_lines(found, real.class_names)))
    return 0


def find_reference(options: _Evaluate, args: list[str]) -> "Reference":
    """The real images that --reference, --train and --data.* name; `args` tell what was given.

    Raises:
        ValueError, FileNotFoundError: They contradict each other, or the images are not to be had.
    """
    from model.commands.evaluate import load_reference, read_reference
    from model.data.datasets import DATASETS
    from model.metrics import needed

    with_train = not needed(options.metrics).isdisjoint({"train", "train_labels"})
    given = [word for word in args if word.startswith("--data.")]
    name = options.reference
    if name is not None and any(word.split("=")[0] == "--data.name" for word in given):
        rule = f"be the data set of --data.name ({options.data.name})"
        check(name == options.data.name, "--reference", rule, name, "leave one of them out")
    if name is None or name in DATASETS:
        rule = "be left out where the reference is a data set, which has its own training images"
        check(options.train is None, "--train", rule, str(options.train))
        data = options.data if name is None else replace(options.data, name=name)
        return load_reference(data, with_train=with_train)
    if not Path(name).exists():
        own = [kind for kind, loader in DATASETS.items() if loader.files is None]
        close = get_close_matches(name, own, 1, 0.5)
        rule = f"be an existing folder or .npz file, or a data set ({', '.join(own)})"
        check(False, "--reference", rule, name, f"did you mean {close[0]!r}?" if close else "")
    if given:
        warnings.warn(f"--data.* has no effect beside --reference {name}", stacklevel=1)
    if options.train is not None and not with_train:
        warnings.warn("--train has no effect on metrics.names as they are", stacklevel=1)
    return read_reference(Path(name), options.train if with_train else None)


COMMANDS = {"train": train, "sample": sample, "evaluate": evaluate}

USAGE = """usage: model {train,sample,evaluate} ...

One generation by hand: train a model on real images, draw from it, measure what it draws.

  model train --out FILE.safetensors           train, or resume a training that was stopped
  model sample CHECKPOINT --out DIR|FILE.png   draw images into a folder or a sheet
  model evaluate --images DIR                  measure images against real ones

model COMMAND --help lists a command's options. Whole lineages: sweep --help."""


def main() -> None:
    """Entry point of the console command."""
    sys.exit(run_program("model", USAGE, COMMANDS))


if __name__ == "__main__":
    main()
