"""Training on a GPU with one CUDA graph per step, instead of hundreds of launches by the CPU.

A graph repeats the same kernels on the same memory, so what changes from step to step is in tensors
on the device: the batch's indices, the rates of optimiser and average, and the generator's seed.
"""

import math

import numpy as np
import torch
from torch import Tensor

from model.config import TrainConfig
from model.errors import UsageError
from model.job import TrainingJob
from model.networks.objective import Objective
from model.training.batches import upload
from model.training.length import ema_decay_at
from model.training.optimizer import AdamW
from model.training.trainer import Trainer

WARM_STEPS = 3
"""Steps before the capture, in which torch allocates memory and chooses its kernels."""


class DeviceNumber:
    """A number in a tensor on a device, which is written only if it changes."""

    def __init__(self, device: torch.device) -> None:
        self.tensor = torch.zeros((), device=device)
        self._value = 0.0

    def set(self, value: float) -> None:
        """Set the number."""
        if value != self._value:
            self.tensor.fill_(value)
            self._value = value


class DeviceAdamW(AdamW):
    """AdamW whose numbers that change from step to step are on the device.

    It rounds otherwise than AdamW, because it multiplies by the weight decay separately, and by
    rates in float32.
    """

    def __init__(self, parameters: list[Tensor], train: TrainConfig) -> None:
        super().__init__(parameters, train)
        device = self.parameters[0].device
        self.train = train
        self.rate, self.kept = DeviceNumber(device), DeviceNumber(device)
        # Without bias corrections, which are those of step infinity, epsilon is added to the
        # uncorrected root, and the rate includes the corrections.
        self.hat = train.adam_eps_form == "hat"
        self.late = torch.full((), math.inf, device=device)

    def prepare(self, step: int) -> None:
        """Write the numbers of `step` (0 is the first), after set_rate, to the device."""
        self.kept.set(1 - self.lr * self.weight_decay)
        rate = self.lr
        if self.hat:
            self.eps = self.train.adam_eps
            first, second = (1 - beta ** (step + 1) for beta in self.betas)
            rate *= math.sqrt(second) / first
        self.rate.set(rate)

    @torch.no_grad()
    def step(self) -> None:
        """Take one step with the numbers on the device."""
        self.count += 1
        updated = [p for p in self.parameters if p.grad is not None]
        torch._foreach_mul_(updated, self.kept.tensor)
        count = self.late if self.hat else self.count
        self._update(count, lr=self.rate.tensor, weight_decay=0.0)


class CapturedTrainer(Trainer):
    """A Trainer that captures its step after WARM_STEPS steps and then repeats the graph.

    Batches of another size, as at the end of an epoch, run without the graph. On a CPU, all steps
    do, so that everything but the graph can be tested there.
    """

    optimizer: DeviceAdamW

    def __init__(
        self, objective: Objective, images: np.ndarray, labels: np.ndarray | None, job: TrainingJob
    ) -> None:
        """Make a trainer; raises UsageError unless the images are on the device."""
        super().__init__(objective, images, labels, job)
        if self.images.on_device is None:
            raise UsageError(
                "images_on must be device with train.captured, got host; "
                "use a smaller pool or set train.captured to False"
            )
        self.optimizer = DeviceAdamW(list(self.net.parameters()), self.train)
        self._weight = DeviceNumber(self.device)
        self._indices = torch.zeros(self.train.batch_size, dtype=torch.int64, device=self.device)
        self.use_graph = self.device.type == "cuda"
        self._warm = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._graph_curves: Tensor | None = None

    def train_step(self, indices: np.ndarray) -> None:
        """Take one optimiser step on the images at `indices` and update the average."""
        self._prepare_step()
        self.optimizer.prepare(self.step)
        self._weight.set(1 - ema_decay_at(self.step, self.train))
        batch = upload(torch.from_numpy(indices), self.device)
        is_whole = len(batch) == len(self._indices)
        if self.use_graph and is_whole and self._warm >= WARM_STEPS:
            self._indices.copy_(batch)
            self._finish_step(self._replay())
        else:
            self._warm += is_whole
            self._finish_step(self._update_at(batch))

    def _update_at(self, indices: Tensor) -> Tensor:
        """Update weights and average with the images at (B,) int64 indices on the device."""
        assert self.images.on_device is not None
        labels = None if self.labels is None else self.labels[indices]
        return self._update(self.images.on_device[indices], labels)

    def _replay(self) -> Tensor:
        """Repeat the graph, which is captured first if there is none."""
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # A repetition then uses the seed that the generator has at that time.
            self._graph.register_generator_state(self.rng)
            with torch.cuda.graph(self._graph):
                self._graph_curves = self._update_at(self._indices)
        assert self._graph_curves is not None
        self._graph.replay()
        return self._graph_curves

    def _average(self) -> None:
        difference = torch._foreach_sub(self._current, self._averaged)
        torch._foreach_mul_(difference, self._weight.tensor)
        torch._foreach_add_(self._averaged, difference)
