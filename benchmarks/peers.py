"""Compare speeds with other implementations of the same network, interleaved on one pinned core.

    uv venv /tmp/peers && VIRTUAL_ENV=/tmp/peers uv pip install keras tensorflow jax numpy
    uv run --extra all python benchmarks/peers.py --python /tmp/peers/bin/python

The peers are Keras on TensorFlow (a graph, with and without XLA) and on JAX, with the network of
the Keras DDIM example (keras_unet.py) and the same work per step (peer_worker.py). Each side is one
process with one thread on one core. They work in turn, a second each, and a ratio is the median
over rounds of our images per second over the peer's in the same round, so it holds if the machine's
speed changes. `ceiling` is our share of the speed of torch's float32 matrix products on that core,
which are timed in the same rounds. Prints a table and writes
benchmarks/results/peers_<cpu>_<date>.json, in which other cases of the same day are kept.
benchmarks/metrics.py compares metrics with other packages.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peer_worker import SAMPLER_STEPS
from throughput import name_device

from model.config import ModelConfig
from model.networks.size import unet_size
from sweep.estimate.sizes import TRAIN_PASSES

RESULTS = Path(__file__).parent / "results"
WORKER = Path(__file__).with_name("peer_worker.py")
PEERS = ("keras-tensorflow", "keras-tensorflow-xla", "keras-jax")
PAPER = {"widths": (32, 64, 96, 128), "block_depth": 2, "stem_width": 32, "embedding_dim": 32}
QUICKSTART = {"widths": (16, 32, 64), "block_depth": 1, "stem_width": 16, "embedding_dim": 16}
PRESETS = PAPER | {"widths": (16, 48, 96)}
CASES: dict[str, dict[str, Any]] = {
    name: {"task": name.split()[0], "size": size, "channels": c, "batch": n, "network": network}
    for name, size, c, n, network in (
        ("train 8x8 grey", 8, 1, 64, PAPER),
        ("train 32x32 RGB", 32, 3, 64, PAPER),
        ("train 64x64 RGB", 64, 3, 64, PAPER),
        ("train the quickstart", 8, 1, 32, QUICKSTART),
        ("train other presets", 8, 1, 32, PRESETS),
        ("sample 8x8 grey", 8, 1, 128, PAPER),
        ("sample 32x32 RGB", 32, 3, 128, PAPER),
    )
}
UNIT_SECONDS = 1.0
PRODUCT = 1024
"""Rows and columns of the matrices whose product is timed."""


class Side:
    """A process that works when asked."""

    def __init__(self, name: str, case: dict[str, Any], python: Path, core: int) -> None:
        """Start it; its first line says that it is ready."""
        self.name = name
        backend = name.split("-")[1] if "-" in name else "torch"
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        self.process = subprocess.Popen(
            [python, WORKER, name, json.dumps(case)],
            env={
                **os.environ,
                **threads,
                "KERAS_BACKEND": backend,
                "XLA_FLAGS": flags,
                "CUDA_VISIBLE_DEVICES": "",
                "PYTHONPATH": str(WORKER.parents[1]),
            },
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.calls = 1

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def read(self) -> str:
        """The next line it writes."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with an error")
        return line

    def work(self) -> float:
        """Seconds per call in a unit of work, whose size adapts to UNIT_SECONDS."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.calls}\n")
        self.process.stdin.flush()
        each = float(self.read()) / self.calls
        self.calls = max(1, round(UNIT_SECONDS / each))
        return each


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--python", type=Path, required=True, help="an interpreter with the peers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {options.core})
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "processor": name_device(torch.device("cpu")),
        "versions": {"torch": version("torch")} | peer_versions(options.python),
        "rounds": options.rounds,
        "load_average_before": os.getloadavg(),
        "cases": {},
    }
    print(f"{'case':22} {'images/s':>9} {'ceiling':>8}  " + "  ".join(PEERS))
    for name in options.cases:
        row = measure(CASES[name], options.python, options.rounds, options.core)
        found["cases"][name] = row
        ratios = "  ".join(f"{row['ratios'][peer]:{len(peer)}.2f}" for peer in PEERS)
        print(
            f"{name:22} {row['images_per_second']:9.0f} {row['ceiling']:8.0%}  {ratios}", flush=True
        )
    found["load_average_after"] = os.getloadavg()
    print(f"load average {os.getloadavg()[0]:.2f}")
    path = RESULTS / f"peers_{found['cpu_capability'].lower()}_{found['date']}.json"
    if path.exists():
        found["cases"] = json.loads(path.read_text())["cases"] | found["cases"]
    path.write_text(json.dumps(found, indent=1) + "\n")


def measure(case: dict[str, Any], python: Path, rounds: int, core: int) -> dict[str, Any]:
    """Our speed in one case, its share of the ceiling, and its ratios to the peers' speeds."""
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(
                Side(name, case, Path(sys.executable) if name == "ours" else python, core)
            )
            for name in ("ours", *PEERS)
        }
        for side in sides.values():
            side.read()
        for side in sides.values():
            side.work()  # finds the number of calls in a unit
        times = [
            {name: side.work() for name, side in sides.items()} | {"product": time_product()}
            for _ in range(rounds)
        ]
    ceilings = [flops_per_call(case) / x["ours"] / (2 * PRODUCT**3 / x["product"]) for x in times]
    return {
        **case,
        "load_average": os.getloadavg()[0],
        "images_per_second": case["batch"] / statistics.median(x["ours"] for x in times),
        "ceiling": statistics.median(ceilings),
        "ratios": {p: statistics.median(x[p] / x["ours"] for x in times) for p in PEERS},
        "smallest_ratios": {p: min(x[p] / x["ours"] for x in times) for p in PEERS},
        "largest_ratios": {p: max(x[p] / x["ours"] for x in times) for p in PEERS},
    }


def flops_per_call(case: dict[str, Any]) -> float:
    """Operations of the convolutions of one call."""
    size = unet_size(
        ModelConfig(**case["network"]), (case["channels"], case["size"], case["size"]), 1, 0
    )
    return size.flops * case["batch"] * (TRAIN_PASSES if case["task"] == "train" else SAMPLER_STEPS)


def time_product() -> float:
    """Seconds of a matrix product, the fastest of those within UNIT_SECONDS."""
    a = torch.rand(PRODUCT, PRODUCT)
    out = torch.empty_like(a)
    seconds: list[float] = []
    while sum(seconds) < UNIT_SECONDS:
        started = time.perf_counter()
        torch.mm(a, a, out=out)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def peer_versions(python: Path) -> dict[str, str]:
    """Versions of the peers' packages."""
    names: Sequence[str] = ("keras", "tensorflow", "jax")
    code = f"from importlib.metadata import version; print([version(n) for n in {names!r}])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"--python must have keras, tensorflow and jax, got {python}")
    return dict(zip(names, json.loads(done.stdout.replace("'", '"')), strict=True))


if __name__ == "__main__":
    main()
