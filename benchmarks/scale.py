"""CPU time by number of lineages: planning, status, tables, checks, filling a folder, scheduling.

    uv run --extra all python benchmarks/scale.py                     (2 GB of disk, ten minutes)
    uv run --extra all python benchmarks/scale.py --sizes 100 1000

Commands run on a synthetic results folder (synthetic_results.py) of lineages with eight
generations. Printed are their CPU seconds, and their CPU milliseconds per lineage without the start
of Python and the imports, which are the CPU time of the same command with ten lineages. `fill`
writes the records of all lineages, as a run does that has nothing to compute. `schedule` starts
each lineage in turn and finishes its models. `pool_memory` is the peak memory while 100,000 images
of a stream become a pool, over the bytes of these images. Writes
benchmarks/results/scale_<date>.json.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from synthetic_results import sweep_of, write_results
from throughput import name_device

from model.blocks import SAMPLE_BATCH, num_blocks
from model.data.datasets import Dataset
from sweep.lineage.pool_images import Sources
from sweep.lineage.sample_streams import Streams
from sweep.planning.lineages import PlannedLineage
from sweep.planning.pool import Segment
from sweep.planning.schedule import Schedule, chains_of
from sweep.results_folder import fill
from sweep.store.store import open_store

RESULTS = Path(__file__).parent / "results"
SIZES = (100, 1_000, 10_000)
SMALLEST = 10
POOL_IMAGES = 100_000
STREAM = "0" * 64
COMMANDS = {
    "plan": ("sweep", "plan", "sweep.json"),
    "status": ("sweep", "status", "."),
    "table": ("analysis", "table", "."),
    "check": ("analysis", "check", "."),
}


def main() -> None:
    """Measure all sizes and write the results file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    sizes = parser.parse_args().sizes
    seconds = {size: measure(size) for size in (SMALLEST, *sizes)}
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": name_device(torch.device("cpu")),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("msgspec", "numpy", "pandas", "ray")},
        "load_average": os.getloadavg(),
        "pool_memory": pool_memory(),
        "cpu_seconds": {size: seconds[size] for size in sizes},
        "cpu_milliseconds_per_lineage": {
            size: {
                name: round(1000 * (each - seconds[SMALLEST][name]) / (size - SMALLEST), 3)
                for name, each in seconds[size].items()
            }
            for size in sizes
        },
    }
    text = json.dumps(found, indent=1)
    print(text)
    (RESULTS / f"scale_{found['date']}.json").write_text(text + "\n")


def measure(size: int) -> dict[str, float]:
    """CPU seconds of everything with a number of lineages."""
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        out = Path(name)
        lineages = write_results(out, sweep_of(size))
        seconds = {name: cpu_of_command(out, words) for name, words in COMMANDS.items()}
        started = time.process_time()
        fill(out, lineages, open_store(out))
        filled = time.process_time()
        schedule_all(lineages)
        return seconds | {
            "fill": round(filled - started, 3),
            "schedule": round(time.process_time() - filled, 3),
        }


def cpu_of_command(out: Path, words: tuple[str, ...]) -> float:
    """CPU seconds of a command in a results folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = Path(sys.executable).with_name(words[0])
    command = [program, *words[1:]]
    subprocess.run(command, cwd=out, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 3)


def schedule_all(lineages: list[PlannedLineage]) -> None:
    """Start every lineage in turn, and finish its models."""
    chains = {chain.id: chain for chain in chains_of(lineages)}
    schedule = Schedule(chains.values())
    while (lineage := schedule.take()) is not None:
        for key in chains[lineage].nodes:
            schedule.finish_node(key)
        schedule.end(lineage)


def pool_memory() -> float:
    """Peak memory of collecting a pool, over the bytes of its images."""
    block = np.zeros((SAMPLE_BATCH, 1, 8, 8), np.uint8)
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        store = open_store(name)
        for number in range(num_blocks(POOL_IMAGES)):
            store.write_block(STREAM, number, block)
        nothing: Any = None  # everything is in the store, so nothing is drawn or measured
        empty = np.empty(0, np.int64)
        data = Dataset(
            name="",
            images=block,
            labels=None,
            class_names=(),
            train=empty,
            reference=empty,
            validation=empty,
            bounded=True,
        )
        sampled = {STREAM: (nothing, nothing, nothing)}
        streams = Streams(store=store, progress=nothing, seed=0, device="cpu", sampled=sampled)
        sources = Sources(
            card=nothing,
            data=data,
            store=store,
            streams=streams,
            feature_blocks=nothing,
            weights={},
        )
        segment = Segment(kind="synthetic", source=STREAM, start=0, stop=POOL_IMAGES)
        tracemalloc.start()
        images = sources.images((segment,))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return round(peak / images.nbytes, 3)


if __name__ == "__main__":
    main()
