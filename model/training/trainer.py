"""Fitting a network: steps, average, divergence, resumption; an Objective says what is fitted.

Batches are gathered by model.training_images; the loop waits for the device only when it reports.
All random numbers of a step follow from (seed, step), so that a resumed training repeats an
uninterrupted one. Must not know pools, lineages or files.
"""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from model.checkpoint import Checkpoint
from model.config import ImagesOn, ModelConfig, TrainConfig, stored_model
from model.errors import UsageError
from model.images import channel_statistics, to_unit
from model.networks.conditioning import class_settings, drop_labels, training_labels
from model.networks.objective import OBJECTIVES, make_call
from model.networks.unet import load_weights, place
from model.randomness import Purpose, Seed, integer_seed
from model.training.batches import batch_indices
from model.training.images import Images
from model.training.length import count_images, ema_decay_at, steps_per_epoch
from model.training.optimizer import make_optimizer, set_rate

REPORT_STEPS = 20
"""Steps between looks at the loss (progress, divergence, the clock)."""


class Diverged(Exception):
    """Training or sampling left the finite numbers; a result, not a failure."""


class Scratch(Protocol):
    """Where a training keeps its state; what is saved last is what is loaded."""

    def load(self) -> bytes | None:
        """The newest saved state, or None."""

    def save(self, data: bytes) -> None:
        """Keep a state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a training stands; `images_per_second` leaves out earlier attempts."""

    step: int
    num_steps: int
    loss: float
    images_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """What a family needs beside the images to fit a model."""

    model: ModelConfig
    train: TrainConfig
    num_steps: int
    seed: Seed
    """(lineage seed, generation, member)."""
    num_classes: int = 0
    """Classes of the labels; counts for a conditional model only."""
    class_names: tuple[str, ...] = ()
    """Their names, or none; a conditional model's checkpoint keeps them."""
    bounded: bool = True
    """Whether pixels are confined to [0, 1] (in unit scale)."""
    device: str = "cpu"
    initial: Checkpoint | None = None
    """Model to go on from, of the same settings; None trains from scratch."""
    first_images: np.ndarray | None = None
    """Images of the lineage's first pool, for model.normalization=first_pool; None where the pool
    is the first itself."""
    images_on: ImagesOn = "auto"
    """Where the images lie; changes no number."""
    score: Callable[[Checkpoint], float] | None = None
    """For train.select=best_kid: a checkpoint's KID on the validation images."""
    scratch: Scratch | None = None
    checkpoint_seconds: float = 60.0
    """Time between saved states."""
    progress: Callable[[Progress], None] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A trained model and how it came about."""

    checkpoint: Checkpoint
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    """`step` and the objective's curves, the loss first: one value per step, float32."""
    seconds: float = 0.0
    images_seen: int = 0

    @property
    def final_loss(self) -> float | None:
        """Mean loss over the last tenth of the steps; None where there is none."""
        losses = next((curve for name, curve in self.curves.items() if name != "step"), ())
        return float(losses[-max(1, len(losses) // 10) :].mean()) if len(losses) else None


def checkpoint_settings(
    job: TrainingJob, *, shape: tuple[int, ...], dtype: str, precision: str
) -> dict[str, Any]:
    """What a family's sampler must know of a trained model, as its checkpoint keeps it.

    Args:
        job: Of the training.
        shape: (C, H, W) of the images.
        dtype: Theirs, uint8 or float32.
        precision: Arithmetic of the fit.
    """
    return {
        "family": job.model.family,
        "model": stored_model(job.model),
        "shape": list(shape),
        "dtype": dtype,
        "bounded": job.bounded,
        "precision": precision,
    } | class_settings(job)


def use_bf16(train: TrainConfig, device: str) -> bool:
    """Whether the network runs under bf16 autocast.

    Raises:
        UsageError: bf16 is asked for on a device that has it not.
    """
    if train.precision == "fp32":
        return False
    on_gpu = torch.device(device).type == "cuda"
    supported = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else True
    if train.precision == "auto":
        return on_gpu and supported
    if not supported:
        raise UsageError("train.precision must be fp32 on a GPU without bf16, got 'bf16'")
    return True


class Trainer:
    """The state of one training and its step; `fit_network` drives it."""

    def __init__(
        self, images: np.ndarray, job: TrainingJob, labels: np.ndarray | None = None
    ) -> None:
        self.job, self.train = job, job.train
        self.objective = OBJECTIVES[job.model.family]
        self.num_classes = job.num_classes if job.model.conditional else 0
        self.device = torch.device(job.device)
        self.shape = images.shape[1:]
        if job.model.normalization == "half":
            mean, std = np.full(self.shape[0], 0.5), np.full(self.shape[0], 0.5)
        elif job.model.normalization == "first_pool" and job.first_images is not None:
            mean, std = channel_statistics(job.first_images)
        else:
            mean, std = channel_statistics(images)
        self.mean = torch.tensor(mean, dtype=torch.float32, device=self.device).view(1, -1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float32, device=self.device).view(1, -1, 1, 1)
        self.images = Images(images, self.device, images_on=job.images_on)
        labels = training_labels(labels, len(images), job)
        self.labels = None if labels is None else torch.from_numpy(labels).to(self.device)
        self.dtype = str(images.dtype)
        self.net = self._new_net(Purpose.INIT)
        second = Purpose.EMA_INIT if self.train.ema_init == "independent" else Purpose.INIT
        self.ema = self._new_net(second).requires_grad_(False)
        if job.initial is not None:
            self._continue(job.initial)
        self.optimizer = make_optimizer(self.net, self.train)
        self.bf16 = use_bf16(self.train, job.device)
        network = torch.compile(self.net) if self.train.compile else self.net
        self.call = make_call(network, bf16=self.bf16)
        self.rng = torch.Generator(self.device)
        self.step = 0
        self.seconds = 0.0
        self.curves = torch.zeros(len(self.objective.curves), job.num_steps, device=self.device)
        self.best: tuple[float, dict[str, Tensor]] | None = None
        averaged: list[Tensor] = list(self.ema.parameters())
        current: list[Tensor] = list(self.net.parameters())
        if self.train.ema_average_buffers:
            averaged += [b for name, b in self.ema.named_buffers() if "running" in name]
            current += [b for name, b in self.net.named_buffers() if "running" in name]
        self._averaged, self._current = averaged, [tensor.detach() for tensor in current]

    def _continue(self, initial: Checkpoint) -> None:
        """Begin with the weights and averages of a finished model; the optimiser begins anew."""
        for net, prefix in ((self.net, "raw."), (self.ema, "ema.")):
            tensors = initial.tensors.items()
            load_weights(net, {k[len(prefix) :]: v for k, v in tensors if k.startswith(prefix)})

    def _new_net(self, purpose: Purpose) -> nn.Module:
        seeded = torch.Generator().manual_seed(integer_seed(self.job.seed, purpose))
        net = self.objective.new_network(self.shape, self.job.model, seeded, self.num_classes)
        return place(net, self.device)

    def train_step(self, indices: np.ndarray) -> None:
        """One optimiser step on the images `indices` and one step of the average."""
        images = to_unit(self.images.gather(indices))
        images = (images - self.mean) / self.std
        B = len(images)
        self.rng.manual_seed(integer_seed(self.job.seed, Purpose.STEP, self.step))
        draws = self.objective.draw(images.shape, self.rng, model=self.job.model)
        if self.train.hflip:
            flip = torch.rand((B, 1, 1, 1), generator=self.rng, device=self.device) < 0.5
            images = torch.where(flip, images.flip(3), images)
        call = self.call
        if self.labels is not None:
            share, no_class = self.job.model.label_dropout, self.num_classes
            chosen = torch.from_numpy(indices).to(self.device, non_blocking=True)
            labels = drop_labels(self.labels[chosen], share, no_class=no_class, generator=self.rng)
            call = functools.partial(self._call_with_labels, labels)
        found = self.objective.loss(
            call, images, draws=draws, model=self.job.model, train=self.train
        )
        set_rate(self.optimizer, self.step, self.job.num_steps, self.train)
        self.optimizer.zero_grad(set_to_none=True)
        found.loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            decay = ema_decay_at(self.step, self.train)
            torch._foreach_lerp_(self._averaged, self._current, weight=1 - decay)
            self.curves[:, self.step] = torch.stack(found.curves)
        self.step += 1

    def _call_with_labels(self, labels: Tensor, *inputs: Tensor) -> Any:
        return self.call(*inputs, labels)

    def checkpoint(self) -> Checkpoint:
        """The model as it stands: averaged weights (`ema.`), raw ones (`raw.`), normalisation."""
        ema = dict(self.ema.state_dict())
        if not self.train.ema_average_buffers:
            ema.update({k: v for k, v in self.net.state_dict().items() if "running" in k})
        tensors = {f"ema.{name}": tensor.detach().clone().cpu() for name, tensor in ema.items()}
        for name, tensor in self.net.state_dict().items():
            tensors[f"raw.{name}"] = tensor.detach().clone().cpu()
        tensors |= {"mean": self.mean.flatten().cpu(), "std": self.std.flatten().cpu()}
        precision = "bf16" if self.bf16 else "fp32"
        settings = checkpoint_settings(
            self.job, shape=self.shape, dtype=self.dtype, precision=precision
        )
        return Checkpoint(tensors=tensors, settings=settings)

    def state(self) -> bytes:
        """All that a resumed training needs, as safetensors."""
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{k}": v for k, v in state.items()}
        tensors["curves"] = self.curves[:, : self.step]
        settings: dict[str, Any] = {"step": self.step, "seconds": self.seconds}
        if self.best is not None:
            settings["best"] = self.best[0]
            tensors |= {f"best.{k}": v for k, v in self.best[1].items()}
        tensors = {k: v.detach().clone() for k, v in tensors.items()}
        return Checkpoint(tensors=tensors, settings=settings).to_bytes()

    def restore(self, data: bytes) -> None:
        """Take up a saved `state`; raises UsageError where it is damaged or of another network."""
        saved = Checkpoint.from_bytes(data, source="training state")

        def part(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in saved.tensors.items() if k.startswith(prefix)}

        load_weights(self.net, part("net."))
        load_weights(self.ema, part("ema."))
        adam: dict[int, dict[str, Tensor]] = {}
        parameters = list(self.net.parameters())
        for name, tensor in part("adam.").items():
            number, _, entry = name.partition(".")
            if entry != "step":
                # The fused step walks memory: moments must lie in it as their parameter does.
                tensor = torch.empty_like(parameters[int(number)]).copy_(tensor)
            adam.setdefault(int(number), {})[entry] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": adam, "param_groups": groups})
        self.step, self.seconds = saved.settings["step"], saved.settings["seconds"]
        self.curves[:, : self.step] = saved.tensors["curves"].to(self.device)
        if "best" in saved.settings:
            self.best = saved.settings["best"], part("best.")

    def keep_best(self) -> None:
        """Score the average on the validation images and keep the best weights so far."""
        assert self.job.score is not None
        candidate = self.checkpoint()
        score = self.job.score(candidate)
        if math.isfinite(score) and (self.best is None or score < self.best[0]):
            self.best = score, candidate.tensors


def fit_network(images: np.ndarray, labels: np.ndarray | None, job: TrainingJob) -> Fit:
    """Train the family's network on a pool, from scratch or on from job.initial.

    Args:
        images: (N, C, H, W) uint8 or float32.
        labels: (N,) int64 in [0, job.num_classes), for a conditional model; others ignore them.
        job: Settings, seed, device, and where state and progress go.

    Raises:
        UsageError: The model is conditional and the labels or job.num_classes do not fit.
        Diverged: The loss is not finite.
    """
    trainer = Trainer(images, job, labels)
    if job.scratch is not None and (data := job.scratch.load()) is not None:
        trainer.restore(data)
    started = saved = time.perf_counter()
    first_step, seconds_before = trainer.step, trainer.seconds
    per_epoch = max(1, steps_per_epoch(len(images), job.train))
    images_seen = 0
    batches = batch_indices(len(images), job.train, job.seed, trainer.step)
    while trainer.step < job.num_steps:
        indices = next(batches)
        trainer.train_step(indices)
        images_seen += len(indices)
        last = trainer.step == job.num_steps
        if job.score is not None and (last or trainer.step % per_epoch == 0):
            trainer.keep_best()
        if not last and trainer.step % REPORT_STEPS:
            continue
        window = trainer.curves[0, max(0, trainer.step - REPORT_STEPS) : trainer.step]
        loss = float(window.mean())
        now = time.perf_counter()
        trainer.seconds = seconds_before + now - started
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {trainer.step} of {job.num_steps}")
        if job.progress is not None:
            job.progress(
                Progress(
                    step=trainer.step,
                    num_steps=job.num_steps,
                    loss=loss,
                    images_per_second=images_seen / (now - started),
                )
            )
        if job.scratch is not None and not last and now - saved >= job.checkpoint_seconds:
            job.scratch.save(trainer.state())
            saved = time.perf_counter()
    checkpoint = trainer.checkpoint()
    if trainer.best is not None:
        checkpoint = Checkpoint(tensors=trainer.best[1], settings=checkpoint.settings)
    curves = trainer.curves.cpu().numpy()
    total = images_seen + count_images(len(images), job.train, first_step)
    return Fit(
        checkpoint=checkpoint,
        curves={
            "step": np.arange(1, job.num_steps + 1, dtype=np.int64),
            **dict(zip(trainer.objective.curves, curves, strict=True)),
        },
        seconds=trainer.seconds,
        images_seen=total,
    )
