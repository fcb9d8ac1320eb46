"""The optimiser: AdamW as torch, Keras or TF Addons define it, and its learning rate."""

import math

import torch
from torch import nn

from model.config import TrainConfig


def make_optimizer(net: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    """Make AdamW for all parameters.

    torch multiplies the weight decay by the learning rate, so `unscaled` divides by it first.
    """
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
    """Set the learning rate, the weight decay and the epsilon of `step` (0 is the first)."""
    if train.adam_eps_form == "hat":
        # Kingma and Ba (arXiv:1412.6980), section 2: adding epsilon to the uncorrected root equals
        # adding epsilon / sqrt(1 - beta2^t) to the bias-corrected one.
        for group in optimizer.param_groups:
            group["eps"] = train.adam_eps / math.sqrt(1 - train.adam_beta2 ** (step + 1))
    if train.lr_schedule == "constant":
        return
    lr = train.lr * 0.5 * (1 + math.cos(math.pi * step / num_steps))
    for group in optimizer.param_groups:
        group["lr"] = lr
        if train.decay_mode == "unscaled":
            group["weight_decay"] = train.weight_decay / lr
