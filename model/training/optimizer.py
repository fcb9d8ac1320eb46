"""The optimiser: AdamW as torch, Keras or TF Addons define it, and its learning rate."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from model.config import TrainConfig


class AdamW:
    """AdamW for the parameters of a network, as one operation per step.

    The results equal those of torch.optim.AdamW with fused=True bit for bit. That class counts the
    steps of each parameter separately, copies gradients that are in channels last on a CPU, and
    imports torch's compiler, which takes seconds.
    """

    def __init__(self, parameters: Iterable[Tensor], train: TrainConfig) -> None:
        """Make the optimiser without moments; the first step makes them for each gradient.

        torch multiplies the weight decay by the learning rate, so `unscaled` divides by it first.
        """
        scaled = train.decay_mode == "lr_scaled"
        self.parameters = list(parameters)
        self.lr, self.betas = train.lr, (train.adam_beta1, train.adam_beta2)
        self.eps = train.adam_eps
        self.weight_decay = train.weight_decay if scaled else train.weight_decay / train.lr
        self.count = torch.zeros((), device=self.parameters[0].device)
        """Number of steps taken."""
        self.moments: dict[int, tuple[Tensor, Tensor]] = {}
        """Moving averages of the gradient and of its square, by the parameter's number."""
        self._operands: tuple[list[Tensor], list[Tensor], list[Tensor]] | None = None

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step; a parameter without a gradient keeps its value."""
        self.count += 1
        self._update(self.count, lr=self.lr, weight_decay=self.weight_decay)

    def _update(self, count: Tensor, *, lr: float | Tensor, weight_decay: float) -> None:
        """Update the parameters and moments as in step number `count`."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        parameters, first, second = self._operands or self._make_operands()
        torch._fused_adamw_(
            parameters,
            [in_memory_order(gradient) for gradient in gradients],
            first,
            second,
            [],
            [count] * len(gradients),
            lr=lr,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=weight_decay,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )

    def _make_operands(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The parameters that have gradients, the same ones in every step, and their moments."""
        numbers = [n for n, p in enumerate(self.parameters) if p.grad is not None]
        for number in numbers:
            if number not in self.moments:
                parameter = self.parameters[number]
                self.moments[number] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        self._operands = (
            [in_memory_order(self.parameters[number]) for number in numbers],
            [in_memory_order(self.moments[number][0]) for number in numbers],
            [in_memory_order(self.moments[number][1]) for number in numbers],
        )
        return self._operands

    def state(self) -> dict[str, Tensor]:
        """The moments and the number of steps, by parameter: `0.step`, `0.exp_avg`, ..."""
        tensors: dict[str, Tensor] = {}
        for number, (first, second) in self.moments.items():
            named = {"step": self.count.clone(), "exp_avg": first, "exp_avg_sq": second}
            tensors |= {f"{number}.{name}": tensor for name, tensor in named.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the moments and the number of steps to those of a `state`."""
        for name in (name for name in tensors if name.endswith(".step")):
            number = int(name.removesuffix(".step"))
            # Moments need the memory layout of their parameter.
            first, second = (torch.empty_like(self.parameters[number]) for _ in range(2))
            self.moments[number] = (
                first.copy_(tensors[f"{number}.exp_avg"]),
                second.copy_(tensors[f"{number}.exp_avg_sq"]),
            )
            self.count.copy_(tensors[name])
        self._operands = None


def in_memory_order(tensor: Tensor) -> Tensor:
    """View a tensor of the usual layout or of channels last as one that is contiguous."""
    return tensor if tensor.is_contiguous() else tensor.permute(0, 2, 3, 1)


def set_rate(optimizer: AdamW, step: int, num_steps: int, train: TrainConfig) -> None:
    """Set the learning rate, the weight decay and the epsilon of `step` (0 is the first)."""
    if train.adam_eps_form == "hat":
        # Kingma and Ba (arXiv:1412.6980), section 2: adding epsilon to the uncorrected root equals
        # adding epsilon / sqrt(1 - beta2^t) to the bias-corrected one.
        optimizer.eps = train.adam_eps / math.sqrt(1 - train.adam_beta2 ** (step + 1))
    if train.lr_schedule == "constant":
        return
    optimizer.lr = train.lr * 0.5 * (1 + math.cos(math.pi * step / num_steps))
    if train.decay_mode == "unscaled":
        optimizer.weight_decay = train.weight_decay / optimizer.lr
