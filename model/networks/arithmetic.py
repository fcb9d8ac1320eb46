"""The precision in which networks compute: float32, TF32 on a GPU, or bfloat16.

torch lets a GPU compute convolutions of float32 numbers in TF32, which has 10 bits of mantissa,
unless its flags forbid it.
"""

from collections.abc import Generator
from contextlib import contextmanager

import torch

from model.config import TrainConfig
from model.errors import UsageError
from model.family_facts import check_arithmetic


@contextmanager
def float32_products(precision: str) -> Generator[None]:
    """Compute products of float32 numbers in TF32 only if `precision` is tf32.

    This applies to all networks that run in the block, forwards and backwards. The flags are then
    set back. They are torch's older ones, because torch.compile fails once the newer ones were set:
    https://github.com/pytorch/pytorch/issues/166387
    """
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [each.allow_tf32 for each in flags]
    for each in flags:
        each.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        for each, value in zip(flags, before, strict=True):
            each.allow_tf32 = value


def network_precision(train: TrainConfig, device: str) -> str:
    """The precision of a network's training on a device: fp32, tf32 or bf16.

    Raises:
        UsageError: The device does not support the precision.
    """
    kind = torch.device(device).type
    check_arithmetic(train, kind)
    if kind != "cuda":
        return "fp32" if train.precision == "auto" else train.precision
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if train.precision == "auto":
        return "bf16" if has_bf16 else "fp32"
    supported = {"fp32": True, "bf16": has_bf16, "tf32": torch.cuda.is_tf32_supported()}
    if not supported[train.precision]:
        raise UsageError(
            f"train.precision must be fp32 on a GPU without {train.precision}, "
            f"got {train.precision!r}"
        )
    return train.precision
