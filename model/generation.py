"""One generation by hand: train a model into a file, read one, read images to be measured.

The work of the command `model`, without its words: nothing is printed here. Must not know pools or
lineages; a model trained so is the V_1 of a lineage of the same settings and seed.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from model.checkpoint import Checkpoint
from model.config import DataConfig, MetricsConfig, ModelConfig, SampleConfig, TrainConfig, check
from model.contents import reading
from model.datasets import Dataset
from model.families import FAMILIES, family_of
from model.images import decode_png
from model.outputs import StateFile
from model.randomness import Seed
from model.selection import validation_score
from model.training import Fit, Progress, TrainingJob
from model.training_length import check_last_batch, count_images, ema_init_left, training_steps
from model.user_data import load_npz

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

CHECKPOINT_SETTINGS = {"family", "model", "shape", "dtype", "bounded", "precision"}


def first_seed(seed: int) -> Seed:
    """The seed of generation 1 and its only member, as in a lineage of that seed."""
    return (seed, 1, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Length:
    """How long a training will be."""

    num_steps: int | None
    """None where the family is not trained in steps."""
    images_seen: int
    views_per_image: float
    ema_init_left: float | None
    """Share of the averaged weights' initial value left at the end; None as num_steps."""


def plan_length(
    num_images: int, model: ModelConfig, train: TrainConfig, *, image_size: int
) -> Length:
    """The length of a training on `num_images`; raises ValueError where they are too few."""
    if not family_of(model.family).iterative:
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
    """A model to be trained on a data set's train pool."""

    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    seed: int
    device: str
    threads: int
    checkpoint_seconds: float

    def state_file(self, path: Path, data: Dataset) -> StateFile:
        """Where the running training is kept: its settings are those that change its numbers."""
        settings = {
            f"{part}.{name}": value
            for part in ("data", "model", "train")
            for name, value in asdict(getattr(self, part)).items()
        }
        own = {name: getattr(self, name) for name in ("seed", "device", "threads")}
        return StateFile(path, settings | own | {"data.fingerprint": data.fingerprint})

    def fit(self, data: Dataset, state: StateFile, progress: Callable[[Progress], None]) -> Fit:
        """Train, from where `state` left off.

        Raises:
            ValueError: The settings do not fit the data, or the saved state is another's.
            Diverged: The loss is not finite.
        """
        state.load()  # a state of other settings is an error for every family
        images = data.images[data.train]
        length = plan_length(len(images), self.model, self.train, image_size=self.data.image_size)
        score = None
        if self.train.select == "best_kid":
            # The same sampler and extractor as a lineage has by default.
            score = validation_score(
                data.images[data.validation],
                SampleConfig(),
                MetricsConfig(),
                seed=first_seed(self.seed),
                device=self.device,
            )
        job = TrainingJob(
            model=self.model,
            train=self.train,
            num_steps=length.num_steps or 0,
            seed=first_seed(self.seed),
            bounded=data.bounded,
            device=self.device,
            score=score,
            scratch=state,
            checkpoint_seconds=self.checkpoint_seconds,
            progress=progress,
        )
        return family_of(self.model.family).fit(images, None, job)


def use_device(device: str, threads: int) -> None:
    """Set torch's threads; raises ValueError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device must be cpu on a machine without a CUDA GPU, got 'cuda'")
    torch.set_num_threads(threads)


def read_checkpoint(path: Path) -> Checkpoint:
    """A trained model's file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or not a model of ours.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"CHECKPOINT must be an existing file, got {str(path)!r}; "
            "model train --out FILE.safetensors writes one"
        )
    checkpoint = Checkpoint.from_bytes(path.read_bytes(), source=str(path))
    missing = CHECKPOINT_SETTINGS - set(checkpoint.settings)
    if missing or checkpoint.family not in FAMILIES:
        lacks = ", ".join(sorted(missing)) or f"no family of {', '.join(FAMILIES)}"
        raise ValueError(f"{path} must be a trained model of ours, got one that lacks {lacks}")
    return checkpoint


def read_images(path: Path, data: Dataset) -> np.ndarray:
    """Images to be measured against a data set's reference, of its size, channels and type.

    Args:
        path: A folder of PNG files, taken in the order of their names, or an .npz file with an
            array `images`.
        data: The data set.

    Returns:
        (N, C, H, W) uint8 or float32, as the data set's images are.

    Raises:
        FileNotFoundError: There is no such folder or file.
        ValueError: There are no images, a file is damaged, or they differ from the reference.
    """
    if path.suffix == ".npz" and path.is_file():
        dtype = "float32" if data.images.dtype == np.float32 else "uint8"
        size = data.images.shape[-1]
        images, _ = load_npz(DataConfig(name="npz", path=str(path), image_size=size, dtype=dtype))
        check_shape(path, images.shape[1:], data.shape)
        return images
    if not path.is_dir():
        raise FileNotFoundError(
            f"--images must be an existing folder or .npz file, got {str(path)!r}"
        )
    check(data.bounded, "--images", "be an .npz file for data of any range", str(path))
    files = sorted(f for f in path.glob("*.png") if not f.name.startswith("."))
    way_out = "model sample --out DIR writes some"
    check(bool(files), "--images", "hold PNG files", str(path), way_out)
    images = np.empty((len(files), *data.shape), np.uint8)
    for number, file in enumerate(files):
        with reading(file, "a readable PNG image"):
            content = file.read_bytes()
            check(content.startswith(PNG_SIGNATURE), "its signature", "be a PNG's", content[:8])
            pixels = decode_png(content).transpose(2, 0, 1)
        check_shape(file, pixels.shape, data.shape)
        images[number] = pixels
    if data.images.dtype == np.float32:
        return images.astype(np.float32) / np.float32(255)
    return images


def check_shape(path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise ValueError, which tells both, unless a file's images have the reference's shape."""
    if tuple(shape) != tuple(expected):
        wanted, got = ("x".join(map(str, (H, W, C))) for C, H, W in (expected, shape))
        raise ValueError(
            f"{path} must be {wanted} (height, width, channels) as the reference is, got {got}; "
            "set --data.name and --data.image-size to what its model was trained on"
        )


def num_measured(num_images: int, num_reference: int, asked: int | None) -> int:
    """How many of the images are measured: as many as asked for, or as the reference has.

    Raises:
        ValueError: More are asked for than there are.
    """
    if asked is not None:
        rule = f"be at most the number of images ({num_images})"
        check(asked <= num_images, "metrics.num_images", rule, asked)
        return asked
    return min(num_images, num_reference)
