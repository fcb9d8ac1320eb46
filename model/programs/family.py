"""The family `command`: a program trains on a folder of images, and draws images.

The checkpoint of a program that trains contains the files that it has written, and its own files,
so that it can draw images anywhere. If one program trains and draws, the checkpoint is its images.
"""

import hashlib
import shutil
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import Checkpoint, prefixed
from model.config import SampleConfig
from model.errors import UsageError
from model.job import Fit, TrainingJob, checkpoint_settings
from model.programs.files import Program, is_safe, program_of
from model.programs.images import ProgramFailed, read_drawn, write_pool
from model.programs.permission import check_allowed
from model.programs.process import run_folder, run_program
from model.programs.settings import FAMILY, SAMPLE, TRAIN, command_words, filled
from model.randomness import Purpose, Seed, sequence

IMAGES, WRITTEN, OWN, RUNNABLE = "ema.images", "ema.file/", "program.file/", "program.run/"
"""Tensor of drawn images, and prefixes of the names of files as uint8 tensors: those that the
program has written, and the program's own, executable or not."""


def program_seed(seed: Seed, purpose: Purpose) -> int:
    """A seed below 2^31, which every library accepts."""
    return int(sequence(seed, purpose).generate_state(1)[0]) >> 1


def fit_command(images: np.ndarray, labels: np.ndarray | None, job: TrainingJob) -> Fit:
    """Run the program that trains.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64 classes, -1 if unknown; None if the data have none.
        job: The program, its seed, and the number of images that it also draws, if it does.

    Raises:
        UsageError: The user has not allowed programs.
        ProgramFailed: The program did not do what it must.
    """
    started, train = perf_counter(), job.train
    if train.command is None:
        raise UsageError(f"{TRAIN} must be set for a model of a program, got None")
    check_allowed(TRAIN, train.command)
    program = program_of(job.model.program)
    seed = program_seed(job.seed, Purpose.INIT)
    facts = (program.digest, train.command, images.shape, job.seed, job.num_images)
    data = images.tobytes() + (b"" if labels is None else labels.tobytes())
    with run_folder(_name(facts, data, job.initial)) as folder:
        out, pool = folder / "out", folder / "images"
        for path in (pool, folder / "init", *([] if train.command_resumes else [out])):
            shutil.rmtree(path, ignore_errors=True)
        write_pool(pool, images, labels, job.class_names)
        out.mkdir(exist_ok=True)
        if job.initial is not None:
            write_files(folder / "init", job.initial.part(WRITTEN))
        values = {
            "images": pool,
            "out": out,
            "seed": seed,
            "num_images": job.num_images,
            "generation": job.seed[1],
            "init": "" if job.initial is None else folder / "init",
        }
        run_program(
            TRAIN,
            filled(command_words(TRAIN, train.command), values),
            folder=folder,
            inside=_laid_out(program, folder),
            seconds=train.command_seconds,
        )
        if job.num_images is not None:
            drawn = read_drawn(out, images.shape[1:], job.num_images, setting=TRAIN)
            tensors = {IMAGES: torch.from_numpy(drawn)}
        else:
            tensors = prefixed(WRITTEN, read_files(out)) | own_files(program)
    settings = checkpoint_settings(
        job, shape=images.shape[1:], dtype=str(images.dtype), precision=train.precision
    )
    checkpoint = Checkpoint(tensors=tensors, settings=settings)
    return Fit(checkpoint=checkpoint, seconds=perf_counter() - started, images_seen=len(images))


def draw_command(
    checkpoint: Checkpoint, config: SampleConfig, *, seed: Seed, purpose: Purpose, count: int
) -> np.ndarray:
    """Draw images at once: by the program that samples, or from those drawn in training.

    Args:
        checkpoint: What `fit_command` has returned.
        config: The program that samples.
        seed: Seed of the stream.
        purpose: What the images are for.
        count: Their number.

    Returns:
        (count, C, H, W) uint8.

    Raises:
        UsageError: There is no program, or fewer images than `count`, or the user has not allowed
            programs.
        ProgramFailed: The program did not do what it must.
    """
    if (stored := checkpoint.tensors.get(IMAGES)) is not None:
        if count > len(stored):
            raise UsageError(
                f"{checkpoint.source} must have {count} images, got {len(stored)}, which its "
                "program drew in training"
            )
        return stored[:count].numpy()
    if config.command is None:
        raise UsageError(f"{SAMPLE} must be set to draw from a model of a program, got None")
    check_allowed(SAMPLE, config.command)
    facts = (config.command, seed, purpose, count)
    with run_folder(_name(facts, b"", checkpoint)) as folder:
        out, model = folder / "out", folder / "model"
        for path in (out, model):
            shutil.rmtree(path, ignore_errors=True)
        out.mkdir()
        write_files(model, checkpoint.part(WRITTEN))
        values = {
            "model": model,
            "out": out,
            "seed": program_seed(seed, purpose),
            "num_images": count,
        }
        run_program(
            SAMPLE,
            filled(command_words(SAMPLE, config.command), values),
            folder=folder,
            inside=_laid_out(stored_program(checkpoint), folder),
            seconds=config.command_seconds,
        )
        return read_drawn(out, checkpoint.shape, count, setting=SAMPLE)


def check_files(checkpoint: Checkpoint) -> None:
    """Raise UsageError unless there are images, or files with names that stay in their folder."""
    tensors = checkpoint.tensors
    if (images := tensors.get(IMAGES)) is not None:
        shape = (len(images) if images.ndim else 0, *checkpoint.shape)
        checkpoint.check_tensors({IMAGES: shape}, torch.uint8)
        return
    if not checkpoint.part(WRITTEN):
        raise UsageError(f"a model of family {FAMILY} must have images or files, got neither")
    for name, tensor in tensors.items():
        prefix, _, path = name.partition("/")
        if f"{prefix}/" not in (WRITTEN, OWN, RUNNABLE) or not is_safe(path):
            raise UsageError(f"a tensor must have the name of a file in a folder, got {name!r}")
        if tensor.dtype != torch.uint8 or tensor.ndim != 1:
            raise UsageError(f"{name} must be bytes, got {tensor.dtype} {tuple(tensor.shape)}")


def read_files(folder: Path) -> dict[str, Tensor]:
    """The files of a folder as uint8 tensors, by their paths; raises ProgramFailed if none."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if not paths:
        raise ProgramFailed(f"{TRAIN} must write the model's files into {{out}}, got none")
    found = {path.relative_to(folder).as_posix(): path for path in paths}
    for name in found:
        if not name.isprintable():
            raise ProgramFailed(f"{TRAIN} must write files with printable names, got {name!r}")
    return {name: _tensor(path.read_bytes()) for name, path in found.items()}


def write_files(folder: Path, tensors: dict[str, Tensor]) -> None:
    """The inverse of `read_files`."""
    for name, tensor in tensors.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tensor.numpy().tobytes())


def own_files(program: Program) -> dict[str, Tensor]:
    """The files of a program as tensors."""
    return {
        f"{RUNNABLE if name in program.executable else OWN}{name}": _tensor(data)
        for name, data in program.files.items()
    }


def stored_program(checkpoint: Checkpoint) -> Program:
    """The inverse of `own_files`."""
    plain, runnable = checkpoint.part(OWN), checkpoint.part(RUNNABLE)
    files = {name: tensor.numpy().tobytes() for name, tensor in (plain | runnable).items()}
    return Program(named=(), files=files, executable=frozenset(runnable))


def _tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8))


def _laid_out(program: Program, folder: Path) -> Path:
    """Write a program's files into its working directory."""
    inside = folder / "program"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    program.lay_out(inside)
    return inside


def _name(facts: tuple[object, ...], data: bytes, checkpoint: Checkpoint | None) -> str:
    """Name of the folder of a run, which is the same for the same inputs."""
    digest = hashlib.sha256(repr(facts).encode() + b"\0" + data)
    digest.update(b"" if checkpoint is None else checkpoint.digest().encode())
    return digest.hexdigest()[:32]
