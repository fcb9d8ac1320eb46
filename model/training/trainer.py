"""The state of a training with any Objective: its step, its average, and saving and restoring it.

All random numbers of a step depend only on (seed, step), so a resumed training repeats an
uninterrupted one.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.checkpoint import Checkpoint, prefixed
from model.config import TrainConfig
from model.errors import UsageError
from model.images import channel_statistics, to_unit
from model.job import Diverged, TrainingJob, checkpoint_settings, training_labels
from model.networks.arithmetic import network_precision
from model.networks.conditioning import drop_labels
from model.networks.objective import Call, Objective, make_call
from model.networks.unet import load_weights, to_device
from model.randomness import Purpose, integer_seed
from model.training.batches import Images, upload
from model.training.length import ema_decay_at
from model.training.optimizer import AdamW, set_rate

REPORT_STEPS = 20
"""Steps between reports of progress; at these, the loss is also checked and the time is taken."""


def normalization(images: np.ndarray, job: TrainingJob) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel for a job's normalisation, (C,) float64 each.

    Models that descend from a pretrained checkpoint keep its numbers, with which it was trained.
    """
    if job.train.initial_checkpoint is not None and job.initial is not None:
        mean, std = (job.initial.tensors[name].double().numpy() for name in ("mean", "std"))
        return mean, std
    if job.model.normalization == "half":
        half = np.full(images.shape[1], 0.5)
        return half, half.copy()  # tensors of a checkpoint may not share memory
    if job.model.normalization == "first_pool" and job.first_images is not None:
        return channel_statistics(job.first_images)
    return channel_statistics(images)


def averaged_tensors(net: nn.Module, train: TrainConfig) -> list[Tensor]:
    """The tensors of a network that are averaged, without gradients."""
    tensors: list[Tensor] = list(net.parameters())
    if train.ema_average_buffers:
        tensors += [b for name, b in net.named_buffers() if "running" in name]
    return [tensor.detach() for tensor in tensors]


class Trainer:
    """The state of one training, and its step; `fit_network` in fit.py runs it."""

    def __init__(
        self, objective: Objective, images: np.ndarray, labels: np.ndarray | None, job: TrainingJob
    ) -> None:
        self.objective, self.job, self.train = objective, job, job.train
        self.num_classes = job.num_classes if job.model.conditional else 0
        self.device = torch.device(job.device)
        self.shape, self.dtype = images.shape[1:], str(images.dtype)
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32, device=self.device).view(1, -1, 1, 1)
            for values in normalization(images, job)
        )
        self.images = Images(images, self.device, images_on=job.images_on)
        labels = training_labels(labels, len(images), job)
        self.labels = None if labels is None else torch.from_numpy(labels).to(self.device)
        self.net = self._new_net(Purpose.INIT)
        ema_purpose = Purpose.EMA_INIT if self.train.ema_init == "independent" else Purpose.INIT
        self.ema = self._new_net(ema_purpose).requires_grad_(False)
        if job.initial is not None:  # the optimiser's state is not taken over
            load_weights(self.net, job.initial.part("raw."), source=job.initial.source)
            load_weights(self.ema, job.initial.part("ema."), source=job.initial.source)
        self.optimizer = AdamW(self.net.parameters(), self.train)
        self.precision = network_precision(self.train, job.device)
        network = torch.compile(self.net) if self.train.compile else self.net
        self.call = make_call(network, bf16=self.precision == "bf16")
        self.rng = torch.Generator(self.device)
        self.step = 0
        self.seconds = 0.0
        self.curves = torch.zeros(len(objective.curves), job.num_steps, device=self.device)
        self.best: tuple[float, dict[str, Tensor]] | None = None
        self._averaged = averaged_tensors(self.ema, self.train)
        self._current = averaged_tensors(self.net, self.train)

    def _new_net(self, purpose: Purpose) -> nn.Module:
        generator = torch.Generator().manual_seed(integer_seed(self.job.seed, purpose))
        net = self.objective.new_network(self.shape, self.job.model, generator, self.num_classes)
        return to_device(net, self.device)

    def train_step(self, indices: np.ndarray) -> None:
        """Take one optimiser step on the images at `indices` and update the average."""
        self._prepare_step()
        self._finish_step(self._update(self.images.gather(indices), self._gather_labels(indices)))

    def _prepare_step(self) -> None:
        """Set the seed and the optimiser's numbers of the next step."""
        self.rng.manual_seed(integer_seed(self.job.seed, Purpose.STEP, self.step))
        set_rate(self.optimizer, self.step, self.job.num_steps, self.train)

    def _finish_step(self, curves: Tensor) -> None:
        """Record the values of a step for the curves."""
        self.curves[:, self.step] = curves
        self.step += 1

    def _update(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Update weights and average with a batch; return the values for the curves.

        Args:
            images: (B, C, H, W) of the pool's dtype.
            labels: (B,) int64 for a conditional model.
        """
        images = (to_unit(images) - self.mean) / self.std
        draws = self.objective.draw(images.shape, self.rng, model=self.job.model)
        if self.train.hflip:
            shape = (len(images), 1, 1, 1)
            flip = torch.rand(shape, generator=self.rng, device=self.device) < 0.5
            images = torch.where(flip, images.flip(3), images)
        step = self.objective.loss(
            self._call_with(labels), images, draws=draws, model=self.job.model, train=self.train
        )
        self.optimizer.zero_grad()
        step.loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self._average()
            return torch.stack(step.curves)

    def _average(self) -> None:
        """Move the average towards the current weights."""
        decay = ema_decay_at(self.step, self.train)
        torch._foreach_lerp_(self._averaged, self._current, weight=1 - decay)

    def _gather_labels(self, indices: np.ndarray) -> Tensor | None:
        """The labels at (B,) int64 indices; None if the model is unconditional."""
        if self.labels is None:
            return None
        return self.labels[upload(torch.from_numpy(indices), self.device)]

    def _call_with(self, labels: Tensor | None) -> Call:
        """The network; if it is conditional, its last input is the batch's labels, some dropped."""
        if labels is None:
            return self.call
        dropout, no_class = self.job.model.label_dropout, self.num_classes
        kept = drop_labels(labels, dropout, no_class=no_class, generator=self.rng)
        return lambda *inputs: self.call(*inputs, kept)

    def checkpoint(self) -> Checkpoint:
        """The current model: averaged weights (`ema.`), raw weights (`raw.`) and normalisation."""
        raw, ema = self.net.state_dict(), self.ema.state_dict()
        if not self.train.ema_average_buffers:
            ema |= {k: v for k, v in raw.items() if "running" in k}
        tensors = prefixed("ema.", ema) | prefixed("raw.", raw)
        tensors = {name: tensor.clone().cpu() for name, tensor in tensors.items()}
        tensors |= {"mean": self.mean.flatten().cpu(), "std": self.std.flatten().cpu()}
        settings = checkpoint_settings(
            self.job, shape=self.shape, dtype=self.dtype, precision=self.precision
        )
        return Checkpoint(tensors=tensors, settings=settings)

    def best_checkpoint(self) -> Checkpoint:
        """The model with the best score so far, or the current model if there is no score."""
        checkpoint = self.checkpoint()
        return checkpoint if self.best is None else replace(checkpoint, tensors=self.best[1])

    def keep_best(self) -> None:
        """Score the averaged model on the validation images, and keep it if it is the best yet."""
        assert self.job.score is not None
        candidate = self.checkpoint()
        score = self.job.score(candidate)
        if math.isfinite(score) and (self.best is None or score < self.best[0]):
            self.best = score, candidate.tensors

    def state(self) -> bytes:
        """Everything that a resumed training needs, as safetensors."""
        tensors = prefixed("net.", self.net.state_dict()) | prefixed("ema.", self.ema.state_dict())
        tensors |= prefixed("adam.", self.optimizer.state())
        tensors["curves"] = self.curves[:, : self.step]
        settings: dict[str, Any] = {"step": self.step, "seconds": self.seconds}
        if self.best is not None:
            settings["best"] = self.best[0]
            tensors |= prefixed("best.", self.best[1])
        return Checkpoint(tensors=tensors, settings=settings).to_bytes()

    def restore(self, data: bytes) -> None:
        """Load a saved `state`; raises UsageError if it is damaged or from another training."""
        saved = Checkpoint.from_bytes(data, source="the training state", verified=True)
        self._check_state(saved)
        load_weights(self.net, saved.part("net."), source=saved.source)
        load_weights(self.ema, saved.part("ema."), source=saved.source)
        self.optimizer.restore(saved.part("adam."))
        self.step, self.seconds = saved.settings["step"], saved.settings["seconds"]
        self.curves[:, : self.step] = saved.tensors["curves"].to(self.device)
        if "best" in saved.settings:
            self.best = saved.settings["best"], saved.part("best.")

    def _check_state(self, saved: Checkpoint) -> None:
        """Raise UsageError unless everything in a saved state but the weights fits."""
        step, num_steps = saved.settings.get("step"), self.job.num_steps
        if type(step) is not int or not 0 <= step <= num_steps:
            raise UsageError(f"step of {saved.source} must be in [0, {num_steps}], got {step!r}")
        for name in {"seconds", "best"} & {"seconds", *saved.settings}:
            if type(value := saved.settings.get(name)) not in (int, float):
                raise UsageError(f"{name} of {saved.source} must be a number, got {value!r}")
        shapes: dict[str, tuple[int, ...]] = {"curves": (len(self.curves), step)}
        for number, parameter in enumerate(self.net.parameters()):
            moments = {"step": (), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
            shapes |= {f"adam.{number}.{name}": tuple(each) for name, each in moments.items()}
        weights = ("net.", "ema.", "best.")
        found = {k: tuple(t.shape) for k, t in saved.tensors.items() if not k.startswith(weights)}
        # A parameter that no loss depends on has no moments.
        if "curves" not in found or not found.items() <= shapes.items():
            raise UsageError(f"{saved.source} must be of this network, got other tensors")

    def recent_loss(self) -> float:
        """Mean loss of the last REPORT_STEPS steps; raises Diverged if it is not finite."""
        loss = float(self.curves[0, max(0, self.step - REPORT_STEPS) : self.step].mean())
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {self.step} of {self.job.num_steps}")
        return loss
