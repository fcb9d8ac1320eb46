"""Fitting the DDIM's network: batches, loss, optimiser, average, divergence, resumption.

Batches are gathered by model.training_images; the loop waits for the device only when it reports.
All random numbers of a step follow from (seed, step), so that a resumed training repeats an
uninterrupted one. Must not know pools, lineages or files.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import Checkpoint
from model.config import ImagesOn, ModelConfig, TrainConfig
from model.diffusion import diffusion_rates
from model.images import channel_statistics, to_unit
from model.randomness import Purpose, Seed, generator, integer_seed
from model.training_images import Images
from model.training_length import count_images, ema_decay_at, steps_per_epoch
from model.unet import UNet, load_weights, place

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
    bounded: bool = True
    """Whether pixels are confined to [0, 1] (in unit scale)."""
    device: str = "cpu"
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
    """`step`, `noise_loss` and `image_loss`: one value per step, float32."""
    seconds: float = 0.0
    images_seen: int = 0

    @property
    def final_loss(self) -> float | None:
        """Mean loss on the noise over the last tenth of the steps; None where there is none."""
        losses = self.curves.get("noise_loss", np.empty(0))
        return float(losses[-max(1, len(losses) // 10) :].mean()) if len(losses) else None


def batch_indices(
    num_images: int, train: TrainConfig, seed: Seed, start_step: int
) -> Iterator[np.ndarray]:
    """Index arrays of the batches from `start_step` on, without end."""
    per_epoch = max(1, steps_per_epoch(num_images, train))
    epoch, first = divmod(start_step, per_epoch)
    while True:
        order = epoch_order(num_images, train, generator(seed, Purpose.SHUFFLE, epoch))
        for step in range(first, per_epoch):
            yield order[step * train.batch_size : (step + 1) * train.batch_size]
        epoch, first = epoch + 1, 0


def epoch_order(num_images: int, train: TrainConfig, rng: np.random.Generator) -> np.ndarray:
    """The order of an epoch: the repeated pool, permuted whole or in a sliding window."""
    order = np.tile(np.arange(num_images), train.repetitions)
    if train.shuffle_window is None:
        return rng.permutation(order)
    window = list(order[: train.shuffle_window])
    shuffled = np.empty_like(order)
    picks = rng.random(len(order))
    for position, pick in enumerate(picks):
        slot = int(pick * len(window))
        shuffled[position] = window[slot]
        incoming = position + train.shuffle_window
        if incoming < len(order):
            window[slot] = order[incoming]
        else:
            window[slot] = window[-1]
            window.pop()
    return shuffled


def noise_loss(error: Tensor, train: TrainConfig) -> Tensor:
    """The loss that is differentiated, of (B, C, H, W) noise errors."""
    loss = error.abs() if train.loss == "mae" else error.square()
    if train.loss_reduction == "mean":
        return loss.mean()
    # Keras averages the channel axis only, and the tape differentiates the sum of what is left.
    return loss.mean(dim=1).sum()


def make_optimizer(net: UNet, train: TrainConfig) -> torch.optim.AdamW:
    """AdamW on all parameters; `unscaled` decay is written as torch's by dividing by the rate."""
    decay = train.weight_decay if train.decay_mode == "lr_scaled" else train.weight_decay / train.lr
    return torch.optim.AdamW(
        net.parameters(),
        lr=train.lr,
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_eps,
        weight_decay=decay,
        fused=True,
    )


def set_rate(optimizer: torch.optim.AdamW, step: int, num_steps: int, train: TrainConfig) -> None:
    """Set the learning rate, the decay and the epsilon of `step` (0 is the first)."""
    if train.adam_eps_form == "hat":
        # Kingma and Ba (arXiv:1412.6980), section 2: epsilon beside the uncorrected root is
        # epsilon / sqrt(1 - beta2^t) beside the corrected one.
        for group in optimizer.param_groups:
            group["eps"] = train.adam_eps / math.sqrt(1 - train.adam_beta2 ** (step + 1))
    if train.lr_schedule == "constant":
        return
    lr = train.lr * 0.5 * (1 + math.cos(math.pi * step / num_steps))
    for group in optimizer.param_groups:
        group["lr"] = lr
        if train.decay_mode == "unscaled":
            group["weight_decay"] = train.weight_decay / lr


def use_bf16(train: TrainConfig, device: str) -> bool:
    """Whether the network runs under bf16 autocast.

    Raises:
        ValueError: bf16 is asked for on a device that has it not.
    """
    if train.precision == "fp32":
        return False
    on_gpu = torch.device(device).type == "cuda"
    supported = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else True
    if train.precision == "auto":
        return on_gpu and supported
    if not supported:
        raise ValueError("train.precision must be fp32 on a GPU without bf16, got 'bf16'")
    return True


class DdimTrainer:
    """The state of one training and its step; `fit_ddim` drives it."""

    def __init__(self, images: np.ndarray, job: TrainingJob) -> None:
        self.job, self.train = job, job.train
        self.device = torch.device(job.device)
        self.shape = images.shape[1:]
        if job.model.normalization == "half":
            mean, std = np.full(self.shape[0], 0.5), np.full(self.shape[0], 0.5)
        else:
            mean, std = channel_statistics(images)
        self.mean = torch.tensor(mean, dtype=torch.float32, device=self.device).view(1, -1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float32, device=self.device).view(1, -1, 1, 1)
        self.images = Images(images, self.device, images_on=job.images_on)
        self.dtype = str(images.dtype)
        self.net = self._new_net(Purpose.INIT)
        second = Purpose.EMA_INIT if self.train.ema_init == "independent" else Purpose.INIT
        self.ema = self._new_net(second).requires_grad_(False)
        self.optimizer = make_optimizer(self.net, self.train)
        self.predict = torch.compile(self.net) if self.train.compile else self.net
        self.bf16 = use_bf16(self.train, job.device)
        self.rng = torch.Generator(self.device)
        self.step = 0
        self.seconds = 0.0
        self.curves = torch.zeros(2, job.num_steps, device=self.device)
        self.best: tuple[float, dict[str, Tensor]] | None = None
        averaged: list[Tensor] = list(self.ema.parameters())
        current: list[Tensor] = list(self.net.parameters())
        if self.train.ema_average_buffers:
            averaged += [b for name, b in self.ema.named_buffers() if "running" in name]
            current += [b for name, b in self.net.named_buffers() if "running" in name]
        self._averaged, self._current = averaged, [tensor.detach() for tensor in current]

    def _new_net(self, purpose: Purpose) -> UNet:
        seeded = torch.Generator().manual_seed(integer_seed(self.job.seed, purpose))
        net = UNet(self.shape[0], self.job.model, seeded)
        return place(net, self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """bf16 autocast where asked for, else nothing."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def train_step(self, indices: np.ndarray) -> None:
        """One optimiser step on the images `indices` and one step of the average."""
        images = to_unit(self.images.gather(indices))
        images = (images - self.mean) / self.std
        B = len(images)
        self.rng.manual_seed(integer_seed(self.job.seed, Purpose.STEP, self.step))
        noise = torch.randn(images.shape, generator=self.rng, device=self.device)
        times = torch.rand((B, 1, 1, 1), generator=self.rng, device=self.device)
        if self.train.hflip:
            flip = torch.rand((B, 1, 1, 1), generator=self.rng, device=self.device) < 0.5
            images = torch.where(flip, images.flip(3), images)
        model = self.job.model
        signal_rates, noise_rates = diffusion_rates(
            times, model.max_signal_rate, model.min_signal_rate
        )
        noisy = signal_rates * images + noise_rates * noise
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        with self.autocast():
            predicted = self.predict(noisy, noise_rates**2)
        error = predicted.to(noise.dtype) - noise
        loss = noise_loss(error, self.train)
        set_rate(self.optimizer, self.step, self.job.num_steps, self.train)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            decay = ema_decay_at(self.step, self.train)
            torch._foreach_lerp_(self._averaged, self._current, weight=1 - decay)
            size = error.detach().abs()
            per_image = size.mean(dim=(1, 2, 3), keepdim=True)
            per_step = per_image if self.train.loss == "mae" else size.square()
            self.curves[0, self.step] = per_step.mean()
            # |image error| = |noise error| x noise rate / signal rate.
            self.curves[1, self.step] = (per_image * noise_rates / signal_rates).mean()
        self.step += 1

    def checkpoint(self) -> Checkpoint:
        """The model as it stands: averaged weights (`ema.`), raw ones (`raw.`), normalisation."""
        from dataclasses import asdict

        ema = dict(self.ema.state_dict())
        if not self.train.ema_average_buffers:
            ema.update({k: v for k, v in self.net.state_dict().items() if "running" in k})
        tensors = {f"ema.{name}": tensor.detach().clone().cpu() for name, tensor in ema.items()}
        for name, tensor in self.net.state_dict().items():
            tensors[f"raw.{name}"] = tensor.detach().clone().cpu()
        tensors |= {"mean": self.mean.flatten().cpu(), "std": self.std.flatten().cpu()}
        settings = {
            "family": self.job.model.family,
            "model": asdict(self.job.model),
            "shape": list(self.shape),
            "dtype": self.dtype,
            "bounded": self.job.bounded,
            "precision": "bf16" if self.bf16 else "fp32",
        }
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
        """Take up a saved `state`; raises ValueError where it is damaged or of another network."""
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


def fit_ddim(images: np.ndarray, labels: np.ndarray | None, job: TrainingJob) -> Fit:
    """Train the network from scratch on a pool.

    Args:
        images: (N, C, H, W) uint8 or float32.
        labels: Not used; the model is unconditional.
        job: Settings, seed, device, and where state and progress go.

    Raises:
        Diverged: The loss is not finite.
    """
    trainer = DdimTrainer(images, job)
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
            "noise_loss": curves[0],
            "image_loss": curves[1],
        },
        seconds=trainer.seconds,
        images_seen=total,
    )
