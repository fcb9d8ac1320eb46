"""Measure training and sampling images per second of the paper's network on this machine.

    uv run --extra all python benchmarks/throughput.py
    PYTHONPATH=. python benchmarks/throughput.py --seconds 300   (with only torch and numpy)

Runs the package's training step and sampler at 32x32 and 64x64, and compares each number with the
limits of the machine: matrix products and memory copies timed in the same run. On a GPU it also
measures larger batches, bf16 and torch.compile, and checks the GPU's results against fp32 on the
CPU. Prints a table and writes benchmarks/results/throughput_<device>_<date>.json. Other load on the
machine makes the numbers worthless, so the load average is in the result.

FLOPs are those of the convolutions only; an addition and a multiplication count as 2.
"""

import argparse
import json
import math
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from model.blocks import SAMPLE_BATCH
from model.checkpoint import Checkpoint
from model.commands.process import prepare_process
from model.config import ModelConfig, SampleConfig, TrainConfig
from model.job import TrainingJob
from model.networks.arithmetic import float32_products
from model.networks.ddim import DDIM
from model.networks.sampling import load_net, sample_network
from model.randomness import Purpose, image_noise
from model.training.trainer import Trainer

Precision = Literal["fp32", "tf32", "bf16"]

RESULTS = Path(__file__).parent / "results"
PAPER = ModelConfig()
TRAIN_GFLOP = {32: 1.7127, 64: 6.8506}
"""GFLOP of a forward and backward pass per image, counted by torch.utils.flop_counter
(tests/test_unet.py)."""
FORWARD_GFLOP = {32: 0.57095, 64: 2.2838}
GPU_SAMPLE_STEPS, CPU_SAMPLE_STEPS = 20, 1
"""Network calls per image; one is enough on a CPU, where everything else is negligible."""
UNIT_SECONDS, MOST_REPEATS = 0.5, 9
"""Seconds of one timed unit of calls, and the maximum number of units for the median."""
TOLERANCES: dict[Precision, tuple[float, float, float]] = {
    "fp32": (1e-4, 0.05, 0.1),
    "tf32": (5e-3, 0.05, 1.0),
    "bf16": (2e-2, 0.05, 2.0),
}
"""Tolerances of a device against fp32 on the CPU: relative L2 difference of the predicted noise on
one batch; relative difference of the mean loss over 20 steps of different noise; mean difference of
samples in 8-bit levels after 20 sampler steps, the first of which divides by a signal rate of .02.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One number to measure."""

    task: Literal["train", "sample"]
    size: int
    batch: int
    precision: Precision
    compiled: bool = False

    @property
    def gflop_per_image(self) -> float:
        """GFLOP per image of one training step, or of one network call of the sampler."""
        return (TRAIN_GFLOP if self.task == "train" else FORWARD_GFLOP)[self.size]


def list_cases(on_gpu: bool, precisions: list[Precision]) -> Iterator[Case]:
    """Yield all cases, cheap ones first, so that a short budget skips the expensive ones."""
    for size in (32, 64):
        for precision in precisions:
            for batch in (64, 256, 512) if on_gpu else (64,):
                for compiled in (False, True) if on_gpu else (False,):
                    yield Case(
                        task="train",
                        size=size,
                        batch=batch,
                        precision=precision,
                        compiled=compiled,
                    )
            yield Case(task="sample", size=size, batch=SAMPLE_BATCH, precision=precision)


def time_calls(call: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    """Seconds per call in each timed unit of calls, after two warm-up calls."""

    def run(calls: int) -> float:
        synchronize(device)
        started = time.perf_counter()
        for _ in range(calls):
            call()
        synchronize(device)
        return (time.perf_counter() - started) / calls

    ends = time.perf_counter() + seconds
    run(1)
    once = run(1)
    if time.perf_counter() + once > ends:
        return [once]
    calls = max(1, min(1000, math.ceil(UNIT_SECONDS / once)))
    units: list[float] = []
    while len(units) < MOST_REPEATS and (not units or time.perf_counter() + calls * once < ends):
        units.append(run(calls))
    return units


def synchronize(device: torch.device) -> None:
    """Wait for a GPU to finish; calls on a CPU are synchronous."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_matmul(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """TFLOP/s of the fastest of several square matrix products."""
    best = 0.0
    sizes = (4096, 8192) if device.type == "cuda" else (512, 1024)
    for size in sizes:
        a = torch.rand(size, size, device=device).to(dtype)
        out = torch.empty_like(a)
        units = time_calls(lambda a=a, out=out: torch.mm(a, a, out=out), device, seconds / 2)
        best = max(best, 2 * size**3 / min(units) / 1e12)
    return best


def measure_bandwidth(device: torch.device, seconds: float) -> float:
    """GB/s of copying a tensor too large for caches, counting both bytes read and written."""
    size = 2**30 if device.type == "cuda" else 2**28
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    return 2 * size / min(time_calls(lambda: target.copy_(source), device, seconds)) / 1e9


def make_pool(num_images: int, size: int) -> np.ndarray:
    """Draw (N, 3, size, size) uint8 discs of random position and colour on grey."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    centres, colours = (
        rng.uniform(0.2, 0.8, (2, num_images, 1, 1)),
        rng.integers(0, 256, (num_images, 3)),
    )
    disc = (y - centres[0]) ** 2 + (x - centres[1]) ** 2 < 0.04
    return np.where(disc[:, None], colours[:, :, None, None], 128).astype(np.uint8)


def make_trainer(
    case: Case,
    device: torch.device,
    *,
    pool: np.ndarray | None = None,
    model: ModelConfig = PAPER,
) -> Trainer:
    """Make a trainer, of the paper's network by default, with its images on the device."""
    train = TrainConfig(
        epochs=None,
        steps=1_000_000,
        batch_size=case.batch,
        precision=case.precision,
        compile=case.compiled,
    )
    job = TrainingJob(
        model=model, train=train, num_steps=1_000_000, seed=(0, 1, 0), device=str(device)
    )
    return Trainer(DDIM, make_pool(1024, case.size) if pool is None else pool, None, job)


def make_call(case: Case, device: torch.device) -> tuple[Callable[[], object], int]:
    """Make the call to time; also return how many images (or sampler network calls) it does."""
    trainer = make_trainer(case, device)
    if case.task == "train":
        rng = np.random.default_rng(0)
        order = [rng.choice(1024, case.batch, replace=False) for _ in range(16)]
        return lambda: trainer.train_step(order[trainer.step % 16]), case.batch
    steps = GPU_SAMPLE_STEPS if device.type == "cuda" else CPU_SAMPLE_STEPS
    checkpoint, shape = trainer.checkpoint(), (3, case.size, case.size)
    noise = image_noise((0, 1, 0), Purpose.SAMPLE, range(case.batch), shape)
    config = SampleConfig(steps=steps)
    return (
        lambda: sample_network(DDIM, checkpoint, noise, config, device=str(device)),
        case.batch * steps,
    )


def measure(case: Case, device: torch.device, seconds: float, ceiling: float) -> dict[str, Any]:
    """Measure one case.

    Args:
        case: What to measure.
        device: Where to measure it.
        seconds: Time budget.
        ceiling: TFLOP/s of the machine's matrix products at this precision.
    """
    call, images = make_call(case, device)
    units = time_calls(call, device, seconds)
    per_second = images / statistics.median(units)
    tflops = per_second * case.gflop_per_image / 1e3
    return {
        **asdict(case),
        "per_second": per_second,
        "unit": "images" if case.task == "train" else "images x sampler steps",
        "repeats": len(units),
        "slowest_to_fastest": max(units) / min(units),
        "tflops": tflops,
        "share_of_matmul": tflops / ceiling,
    }


def check_numbers(
    device: torch.device,
    precisions: list[Precision],
    *,
    model: ModelConfig = PAPER,
    size: int = 16,
    steps: int = 60,
) -> list[dict[str, Any]]:
    """Compare a device with fp32 on the CPU: one prediction, a short training, and samples."""
    pool = make_pool(512, size)
    order = [np.random.default_rng(i).choice(512, 64, replace=False) for i in range(steps)]

    def train(where: torch.device, precision: Precision) -> tuple[Checkpoint, float]:
        case = Case(task="train", size=size, batch=64, precision=precision)
        trainer = make_trainer(case, where, pool=pool, model=model)
        with float32_products(precision):
            for indices in order:
                trainer.train_step(indices)
        return trainer.checkpoint(), float(trainer.curves[0, max(0, steps - 20) : steps].mean())

    noise = image_noise((0, 1, 0), Purpose.SAMPLE, range(SAMPLE_BATCH), (3, size, size))
    variance = torch.linspace(0.1, 1, SAMPLE_BATCH).view(-1, 1, 1, 1)

    def predict(where: torch.device, precision: Precision) -> torch.Tensor:
        net = load_net(DDIM, reference, device=str(where))
        cast = torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16")
        with float32_products(precision), cast:
            return net(torch.from_numpy(noise).to(where), variance.to(where)).float().cpu()

    def sample(where: torch.device, precision: Precision) -> np.ndarray:
        settings = reference.settings | {"precision": precision}
        checkpoint = replace(reference, settings=settings)
        images = sample_network(DDIM, checkpoint, noise, SampleConfig(steps=20), device=str(where))
        return images.astype(np.float64)

    cpu = torch.device("cpu")
    reference, loss = train(cpu, "fp32")
    predicted, images = predict(cpu, "fp32"), sample(cpu, "fp32")
    rows = []
    for precision in precisions:
        other = predict(device, precision)
        values = (
            float((other - predicted).norm() / predicted.norm()),
            abs(train(device, precision)[1] / loss - 1),
            float(np.abs(sample(device, precision) - images).mean()),
        )
        names = ("prediction, relative", "loss, relative", "samples, 8-bit levels")
        for name, value, limit in zip(names, values, TOLERANCES[precision], strict=True):
            rows.append({"what": name, "precision": precision, "value": value, "limit": limit})
    return rows


def name_device(device: torch.device) -> str:
    """The GPU's or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def list_precisions(device: torch.device) -> list[Precision]:
    """fp32, and bf16 if the hardware multiplies in it."""
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        info = Path("/proc/cpuinfo")
        has_bf16 = info.exists() and bool(re.search(r"avx512_bf16|amx_bf16", info.read_text()))
    return ["fp32", "bf16"] if has_bf16 else ["fp32"]


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=420, help="approximate time in total")
    parser.add_argument("--threads", type=int, help="CPU threads; torch chooses by default")
    parser.add_argument("--no-check", action="store_true", help="skip the check of GPU results")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    return parser.parse_args()


def main() -> int:
    """Measure, print and write; return 1 if a check exceeds its tolerance."""
    arguments = parse_arguments()
    started = time.perf_counter()
    prepare_process(arguments.device, arguments.threads or torch.get_num_threads())
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = torch.device(arguments.device)
    precisions = list_precisions(device)
    budget = arguments.seconds / 60
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    ceilings = {p: measure_matmul(device, dtypes[p], budget) for p in precisions}
    bandwidth = measure_bandwidth(device, budget)
    print(
        f"{name_device(device)}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}"
    )
    for precision, ceiling in ceilings.items():
        print(f"matrix product {precision}: {ceiling:.3f} TFLOP/s")
    print(f"memory copy: {bandwidth:.1f} GB/s\n")
    print("task   size batch precision compiled  images/s  TFLOP/s  of matmul  repeats  spread")
    cases = list(list_cases(device.type == "cuda", precisions))
    rows: list[dict[str, Any]] = []
    skipped: list[Case] = []
    for number, case in enumerate(cases):
        left = arguments.seconds - (time.perf_counter() - started)
        speed = max((r["tflops"] for r in rows if r["task"] == case.task), default=math.inf)
        # Two calls to warm up and one to time, at the speed seen so far.
        if 3 * case.batch * case.gflop_per_image / 1e3 / speed > left:
            skipped.append(case)
            continue
        row = measure(case, device, left / (len(cases) - number), ceilings[case.precision])
        rows.append(row)
        print(
            f"{case.task:6} {case.size:4} {case.batch:5} {case.precision:9} {case.compiled!s:8}"
            f"{row['per_second']:10.1f} {row['tflops']:8.3f} {row['share_of_matmul']:10.1%}"
            f" {row['repeats']:8} {row['slowest_to_fastest']:7.2f}",
            flush=True,
        )
    print("(sample: images x sampler steps per second; spread: slowest over fastest repeat)")
    if skipped:
        print(f"{len(skipped)} cases did not fit into --seconds {arguments.seconds:g}")
    checks = []
    if device.type == "cuda" and not arguments.no_check:
        checks = check_numbers(device, precisions)
    for check in checks:
        print(f"{check['precision']} {check['what']}: {check['value']:.2g} (<= {check['limit']:g})")
    slug = re.sub(r"[^a-z0-9]+", "-", name_device(device).lower()).strip("-")
    date = datetime.now(UTC).date().isoformat()
    result = {
        "device": name_device(device),
        "date": date,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "matmul_tflops": ceilings,
        "copy_gb_per_second": bandwidth,
        "cases": rows,
        "skipped": [asdict(case) for case in skipped],
        "checks": checks,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"throughput_{slug}_{date}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {path}")
    return 0 if all(check["value"] <= check["limit"] for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
