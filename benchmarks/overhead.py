"""Measure the overhead of Ray: single-threaded trials against the same lineages without Ray.

    uv run --extra all python benchmarks/overhead.py
    uv run --extra all python benchmarks/overhead.py --trials 4 --seconds 20 --pairs 1   (quick)

Each pair runs the same lineages twice, in alternating order: with `sweep run`, and in plain
processes, one per CPU, that run the same lineage loop without Ray. Time is measured from the first
training step to the last published model; start-up, from the command to the first step, is reported
separately. Prints a table and writes benchmarks/results/overhead_<date>.json. Other load on the
machine makes the numbers worthless, so the load average is in the result.
"""

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sweep.config import LineageConfig, SweepConfig, unflatten, updated
from sweep.lineage.datasets import load_prepared, prepare_dataset
from sweep.planning.lineages import plan_sweep
from sweep.store.store import Store, open_store

RESULTS = Path(__file__).parent / "results"
SETTINGS = {
    "generations": 1,
    "pool.alpha": 1.0,
    "train.epochs": None,
    "train.precision": "fp32",
    "model.widths": [16, 32],
    "model.block_depth": 1,
    "metrics.names": [],
}
TARGET_RATIO, TARGET_STARTUP = 1.10, 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """The durations of one run, in seconds."""

    startup: float
    work: float


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--trials", type=int, default=8, help="lineages, each of one model")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of one trial")
    parser.add_argument("--pairs", type=int, default=3, help="the median is taken over these")
    parser.add_argument("--cpus", type=int, default=os.cpu_count(), help="number of trials at once")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    steps = calibrate(options.seconds, options.cpus)
    ways = {"with_ray": with_ray, "without_ray": without_ray}
    pairs: list[dict[str, Times]] = []
    for i in range(options.pairs):
        order = list(ways) if i % 2 == 0 else list(ways)[::-1]
        pair = {name: ways[name](options.trials, steps, options.cpus) for name in order}
        ratio = pair["with_ray"].work / pair["without_ray"].work
        print(
            f"pair {i + 1}: {pair['with_ray'].work:.1f} s with Ray, "
            f"{pair['without_ray'].work:.1f} s without, ratio {ratio:.3f}; "
            f"start-up {pair['with_ray'].startup:.1f} s and {pair['without_ray'].startup:.1f} s"
        )
        pairs.append(pair)
    ratios = [pair["with_ray"].work / pair["without_ray"].work for pair in pairs]
    startups = [pair["with_ray"].startup for pair in pairs]
    ratio, startup = statistics.median(ratios), statistics.median(startups)
    print(f"median ratio {ratio:.3f} (target: at most {TARGET_RATIO})")
    print(f"median start-up {startup:.1f} s (target: under {TARGET_STARTUP:.0f} s)")
    date = datetime.now(UTC).date().isoformat()
    result = {
        "date": date,
        "processor": platform.processor() or platform.machine(),
        "cpus": options.cpus,
        "load_average_before": load,
        "versions": {name: version(name) for name in ("ray", "torch", "numpy")},
        "python": platform.python_version(),
        "trials": options.trials,
        "steps_per_trial": steps,
        "ratios": ratios,
        "median_ratio": ratio,
        "startup_seconds": startups,
        "median_startup_seconds": startup,
        "work_seconds": {
            name: [pair[name].work for pair in pairs] for name in ("with_ray", "without_ray")
        },
    }
    path = RESULTS / f"overhead_{date}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {path}")


def calibrate(seconds: float, cpus: int) -> int:
    """Number of training steps that take `seconds` on one CPU while all `cpus` are busy."""
    probe = without_ray(cpus, 300, cpus)
    return max(100, round(300 * seconds / probe.work))


def make_sweep(trials: int, steps: int, cpus: int) -> SweepConfig:
    """A sweep of `trials` seeds, each of one model trained for `steps` steps."""
    sweep = SweepConfig(
        name="overhead",
        description="",
        base=updated(LineageConfig(), unflatten(SETTINGS | {"train.steps": steps})),
        grids=({"seed": list(range(trials))},),
    )
    return replace(sweep, resources=replace(sweep.resources, num_cpus=cpus))


def with_ray(trials: int, steps: int, cpus: int) -> Times:
    """Run the lineages with `sweep run`."""
    root = Path(tempfile.mkdtemp(prefix="overhead-"))
    sweep = make_sweep(trials, steps, cpus)
    file = root / "overhead.json"
    settings = {f"base.{name}": value for name, value in SETTINGS.items()}
    data: dict = {"name": "overhead", "grids": [{"seed": list(range(trials))}]}
    data |= unflatten(settings | {"base.train.steps": steps})
    file.write_text(json.dumps(data | {"resources": {"num_cpus": cpus, "device": "cpu"}}))
    store = open_store(root / "out")
    command = [sys.executable, "-P", "-m", "sweep", "run", str(file), "--out", str(root / "out")]
    started = time.time()
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=root, stdout=log, stderr=log)
        first = None
        while process.poll() is None:
            if first is None and is_training(store):
                first = time.time()
            time.sleep(0.05)
    if process.returncode or first is None:
        sys.exit(f"{' '.join(command)} failed: {(root / 'log').read_text()[-2000:]}")
    return finish(root, first - started, first, sweep)


def is_training(store: Store) -> bool:
    """Whether any trial has taken a step."""
    return any(claim.progress.get("step", 0) > 0 for claim in store.claims.read().values())


def without_ray(trials: int, steps: int, cpus: int) -> Times:
    """Run the lineages in plain processes, each of which takes a share of them."""
    root = Path(tempfile.mkdtemp(prefix="overhead-"))
    sweep = make_sweep(trials, steps, cpus)
    context = multiprocessing.get_context("spawn")
    started = time.time()
    store = open_store(root / "out")
    plan_sweep(sweep, lambda data: prepare_dataset(data, store))
    processes = [
        context.Process(target=run_share, args=(root / "out", sweep, i, cpus)) for i in range(cpus)
    ]
    for process in processes:
        process.start()
    first = None
    while any(process.is_alive() for process in processes):
        if first is None and is_training(store):
            first = time.time()
        time.sleep(0.05)
    if first is None or any(process.exitcode for process in processes):
        sys.exit("a plain process failed, or was too short to be observed")
    return finish(root, first - started, first, sweep)


def run_share(out: Path, sweep: SweepConfig, index: int, cpus: int) -> None:
    """Run every `cpus`-th lineage, one after the other."""
    import torch

    from sweep.lineage.run import LineageRun

    torch.set_num_threads(1)
    store = open_store(out)
    lineages = plan_sweep(sweep, lambda data: prepare_dataset(data, store))
    for lineage in lineages[index::cpus]:
        run = LineageRun(
            config=lineage.config,
            card=lineage.card,
            data=load_prepared(lineage.card, store),
            store=store,
        )
        list(run.generations())


def finish(root: Path, startup: float, first: float, sweep: SweepConfig) -> Times:
    """Take the times from the last model's record, and delete the folder."""
    records = list((root / "out" / "generations").glob("*/record.json"))
    if len(records) != len(sweep.points()):
        sys.exit(f"{root} must hold {len(sweep.points())} models, got {len(records)}")
    last = max(path.stat().st_mtime for path in records)
    shutil.rmtree(root)
    return Times(startup=startup, work=last - first)


if __name__ == "__main__":
    main()
