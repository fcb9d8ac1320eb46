"""Measure everything about a GPU with one command of ten minutes: correctness first, then speed.

    uv run --extra all python benchmarks/gpu.py
    PYTHONPATH=. python benchmarks/gpu.py   (with only torch, numpy and safetensors)
    PYTHONPATH=. python benchmarks/gpu.py --rehearse   (all parts at toy size, also without a GPU)

The parts, in this order: limits of the machine; results against fp32 on the CPU, and of captured
steps against others; training at several sizes, precisions and modes; sampling; several trainings
at once on one GPU, in processes and in streams; training with torch.compile. Writes
benchmarks/results/gpu_<device>_<date>.json after each part, so that an interrupted run keeps the
parts before. A case that fails is a row with its error. Exits with 1 if a case failed or a result
is not within its limit, and with 2 if there is no GPU.
"""

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import profile

from benchmarks.gpu_at_once import at_once
from benchmarks.gpu_cases import (
    COMPILED,
    FULL,
    MODES,
    TOY,
    Bench,
    Row,
    Task,
    new_job,
    new_trainer,
    stepper,
    take_steps,
)
from benchmarks.throughput import (
    RESULTS,
    Precision,
    check_numbers,
    list_precisions,
    measure_bandwidth,
    measure_matmul,
    name_device,
    synchronize,
    time_calls,
)
from model.blocks import SAMPLE_BATCH
from model.config import SampleConfig
from model.networks.arithmetic import float32_products
from model.networks.ddim import DDIM
from model.networks.sampling import sample_network
from model.randomness import Purpose, image_noise
from model.training.captured import WARM_STEPS, CapturedTrainer

LOSS_LIMIT = 0.03
"""Largest relative difference of the mean loss over the last half of a training."""
SAME_STEPS_LIMIT = 1e-3
"""Largest relative difference of losses between captured and other steps, whose kernels are equal
except for the order of atomic additions. Other random numbers would differ by a tenth."""


def limits(bench: Bench) -> Iterator[Row]:
    """Matrix products and copies that the machine can do."""
    dtypes = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
    for precision in bench.precisions:
        with float32_products(precision):
            speed = measure_matmul(bench.device, dtypes[precision], bench.scale.seconds)
        yield {"what": "matrix product", "precision": precision, "tflops": speed}
    speed = measure_bandwidth(bench.device, bench.scale.seconds)
    yield {"what": "memory copy", "gb_per_second": speed}


def correctness(bench: Bench) -> Iterator[Row]:
    """Results against fp32 on the CPU, against fp32 without a graph, and of repeated runs."""
    yield from check_numbers(bench.device, bench.precisions, **bench.scale.check)
    yield from bench.cases([partial(compare_bits, bench, mode) for mode in MODES])
    settings: list[Row] = [{}, {"lr_schedule": "cosine", "hflip": True}, {"adam_eps_form": "hat"}]
    yield from bench.cases([partial(compare_captured, bench, each) for each in settings])
    task, steps = bench.scale.tasks[-1], bench.scale.loss_steps
    half = steps // 2
    exact = take_steps(new_trainer(bench, task, "fp32", "eager"), steps, "fp32")[half:]
    for precision in bench.precisions:
        for mode in MODES:
            trainer = new_trainer(bench, task, precision, mode)
            losses = take_steps(trainer, steps, precision)[half:]
            yield {
                "what": "loss curve, relative",
                "precision": precision,
                "mode": mode,
                "value": abs(float(losses.mean() / exact.mean()) - 1),
                "limit": LOSS_LIMIT,
                "largest_of_a_step": float(np.abs(losses / exact - 1).max()),
            }


def compare_bits(bench: Bench, mode: str) -> Row:
    """Whether the same training twice gives equal bits; atomic additions would prevent it."""
    digests = []
    for _ in range(2):
        trainer = new_trainer(bench, bench.scale.tasks[-1], "fp32", mode)
        take_steps(trainer, 2 * WARM_STEPS, "fp32")
        digests.append(trainer.checkpoint().digest())
    return {"what": "same bits twice", "mode": mode, "equal": digests[0] == digests[1]}


def compare_captured(bench: Bench, settings: Row) -> Row:
    """Losses of captured steps against the same steps without a graph."""
    job = new_job(bench, bench.scale.tasks[0], "fp32", "captured", **settings)
    pool = bench.scale.tasks[0].pool()
    graph, eager = (CapturedTrainer(DDIM, pool, None, job) for _ in range(2))
    eager.use_graph = False
    first, second = (take_steps(each, 4 * WARM_STEPS, "fp32") for each in (graph, eager))
    return {
        "what": "captured steps, relative",
        "settings": settings,
        "value": float(np.abs(first / second - 1).max()),
        "limit": SAME_STEPS_LIMIT,
        "equal": graph.checkpoint().digest() == eager.checkpoint().digest(),
    }


def training(bench: Bench) -> Iterator[Row]:
    """Images per second of each network, precision and mode."""
    tasks, precisions = bench.scale.tasks, bench.precisions
    yield from bench.cases(
        [partial(train_case, bench, t, p, m) for t in tasks for p in precisions for m in MODES]
    )


def train_case(bench: Bench, task: Task, precision: Precision, mode: str) -> Row:
    """Measure the training steps of one case."""
    reset_peak(bench.device)
    started = time.perf_counter()
    trainer = new_trainer(bench, task, precision, mode)
    take_steps(trainer, WARM_STEPS + 2, precision)
    synchronize(bench.device)
    warm_seconds = time.perf_counter() - started
    step = stepper(trainer)
    with float32_products(precision):
        units = time_calls(step, bench.device, bench.scale.seconds)
    return {
        **asdict(task),
        "precision": precision,
        "mode": mode,
        "images_per_second": task.batch / median(units),
        "ms_per_step": 1e3 * median(units),
        "slowest_to_fastest": max(units) / min(units),
        "warm_seconds": warm_seconds,
        "peak_megabytes": peak_megabytes(bench.device),
    }


def compiled_training(bench: Bench) -> Iterator[Row]:
    """As `training`, with compiled networks; what may gain most comes first."""
    tasks, precisions = bench.scale.tasks[::-1], bench.precisions[::-1]
    yield from bench.cases(
        [partial(train_case, bench, t, p, m) for p in precisions for t in tasks for m in COMPILED]
    )


def kernels(bench: Bench) -> Iterator[Row]:
    """How many operations a step launches from the CPU, and kernels it runs on a GPU."""
    cases = [(task, mode) for task in bench.scale.shared for mode in MODES]
    yield from bench.cases([partial(kernels_case, bench, *case) for case in cases])


def kernels_case(bench: Bench, task: Task, mode: str) -> Row:
    """Count what one step runs, and its copies between CPU and GPU."""
    trainer = new_trainer(bench, task, "fp32", mode)
    take_steps(trainer, WARM_STEPS + 2, "fp32")
    step = stepper(trainer)
    with profile() as profiled:
        step()
        synchronize(bench.device)
    events = profiled.events() or []
    on_gpu = [event.name for event in events if event.device_type == DeviceType.CUDA]
    return {
        "name": task.name,
        "mode": mode,
        "operations": sum(event.name.startswith("aten::") for event in events),
        "kernels": len(on_gpu),
        "copies_from_cpu": sum("HtoD" in name for name in on_gpu),
        "copies_to_cpu": sum("DtoH" in name for name in on_gpu),
    }


def reset_peak(device: torch.device) -> None:
    """Start to count the peak of a GPU's memory anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_megabytes(device: torch.device) -> float | None:
    """Most memory that tensors had on a GPU since reset_peak."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None


def sampling(bench: Bench) -> Iterator[Row]:
    """Images per second of the sampler with 20 steps, in batches of SAMPLE_BATCH."""
    tasks, precisions = bench.scale.tasks, bench.precisions
    yield from bench.cases([partial(sample_case, bench, t, p) for t in tasks for p in precisions])


def sample_case(bench: Bench, task: Task, precision: Precision) -> Row:
    """Measure the sampling of two batches, which includes building the network once."""
    reset_peak(bench.device)
    checkpoint = new_trainer(bench, task, precision, "eager").checkpoint()
    shape = (task.channels, task.size, task.size)
    noise = image_noise((0, 1, 0), Purpose.SAMPLE, range(2 * SAMPLE_BATCH), shape)
    config = SampleConfig(steps=20)

    def sample() -> None:
        sample_network(DDIM, checkpoint, noise, config, device=str(bench.device))

    units = time_calls(sample, bench.device, bench.scale.seconds)
    return {
        **asdict(task),
        "precision": precision,
        "images_per_second": len(noise) / median(units),
        "slowest_to_fastest": max(units) / min(units),
        "peak_megabytes": peak_megabytes(bench.device),
    }


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "limits": limits,
    "correctness": correctness,
    "training": training,
    "kernels": kernels,
    "sampling": sampling,
    "at-once": at_once,
    "compiled": compiled_training,
}


def is_wrong(row: Row) -> bool:
    """Whether a row is an error, or its value exceeds its limit or is nan."""
    return "error" in row or ("limit" in row and not row["value"] <= row["limit"])


def gpu_precisions(device: torch.device) -> list[Precision]:
    """The precisions of the device, with TF32 if it has it."""
    precisions = list_precisions(device)
    if device.type == "cuda" and torch.cuda.is_tf32_supported():
        precisions.append("tf32")
    return precisions


def describe(device: torch.device) -> Row:
    """The machine and the versions."""
    return {
        "device": name_device(device),
        "date": datetime.now(UTC).date().isoformat(),
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "numpy": np.__version__,
        },
    }


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rehearse", action="store_true", help="all parts at toy size")
    parser.add_argument("--seconds", type=float, default=500, help="no case starts after these")
    parser.add_argument("--out", type=Path, help="folder of the result; a rehearsal's is temporary")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run"
    )
    return parser.parse_args()


def main() -> int:
    """Run all parts and write the result after each."""
    arguments = parse_arguments()
    if not (torch.cuda.is_available() or arguments.rehearse):
        print("benchmarks/gpu.py needs a GPU; add --rehearse to try it without", file=sys.stderr)
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = describe(device) | {"rehearsal": arguments.rehearse}
    slug = re.sub(r"[^a-z0-9]+", "-", result["device"].lower()).strip("-")
    out = arguments.out or (Path(tempfile.mkdtemp()) if arguments.rehearse else RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"gpu_{slug}_{result['date']}.json"
    bench = Bench(
        device=device,
        scale=TOY if arguments.rehearse else FULL,
        precisions=gpu_precisions(device),
        ends=time.perf_counter() + arguments.seconds,
    )
    wrong = 0
    for name in arguments.parts:
        print(f"\n{name}", flush=True)
        result[name] = []
        for row in PARTS[name](bench):
            result[name].append(row)
            wrong += is_wrong(row)
            print(json.dumps(row), flush=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{wrong} results are errors or outside their limits; written to {path}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
