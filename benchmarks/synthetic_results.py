"""Make the results folder of a finished sweep in seconds, without training anything.

    uv run --extra all python benchmarks/synthetic_results.py /tmp/results --lineages 1000

The plan is a real one, and every record is written by its own class with numbers that the plan
implies, so `sweep status`, `analysis table` and `analysis check` read the folder like any other.
Weights, curves and previews are a few bytes, and nothing is synchronised to the disk. A model takes
about 20 kB: 10,000 lineages of 8 generations are 1.7 GB.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from model.features.extractors import extractor_label
from sweep.config import SweepConfig
from sweep.environment import versions
from sweep.files import dump_json
from sweep.finished import Finished, lineage_status
from sweep.lineage.datasets import find_card, prepare_dataset
from sweep.planning.lineages import NodePlan, PlannedLineage, plan_sweep
from sweep.planning.measurements import MetricsPlan
from sweep.planning.nodes import unique_nodes
from sweep.planning.pool import pool_origins
from sweep.presets.table import preset_of
from sweep.records import DatasetCard, MetricsRecord, NodeRecord
from sweep.results_folder import write_sweep
from sweep.store.store import open_store

SEEDS = 10
"""Seeds of each setting, if there are enough lineages."""
FIRST_STEPS = 100
DIRECTIONS = 64
"""Principal directions whose variance gain is measured, if any is."""
GAINS = ("gain_head", "gain_middle", "gain_tail")
MOST_LINKS = 60_000
"""Names of one file; ext4 allows 65,000."""
CONSTANT = ("pool.json", "curves.npz", "preview.png", "model.safetensors")
"""Files of a node that are the same for every node here."""
CONTENT = b"{}\n"
ENVIRONMENT = versions("collapse-sweep", "numpy", "torch") | {"cpu_capability": "AVX2"}


def main() -> None:
    """Write a folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--lineages", type=int, default=100)
    parser.add_argument("--generations", type=int, default=8)
    options = parser.parse_args()
    lineages = write_results(options.out, sweep_of(options.lineages, options.generations))
    print(f"{len(lineages)} lineages, {len(unique_nodes(x.nodes for x in lineages))} models")


def sweep_of(num_lineages: int, generations: int = 8) -> SweepConfig:
    """A sweep whose lineages share no model: lengths of training, with SEEDS seeds each."""
    num_seeds = min(SEEDS, num_lineages)
    if num_lineages % num_seeds:
        raise SystemExit(f"--lineages must be a multiple of {SEEDS}, got {num_lineages}")
    quickstart = preset_of("quickstart")
    lengths = range(FIRST_STEPS, FIRST_STEPS + num_lineages // num_seeds)
    grid = {"train.steps": list(lengths), "seed": list(range(num_seeds))}
    base = replace(quickstart.base, generations=generations)
    return replace(quickstart, name="synthetic", base=base, grids=(grid,))


def write_results(out: Path, sweep: SweepConfig) -> list[PlannedLineage]:
    """Write the results folder of a finished sweep; returns the sweep's plan."""
    store = open_store(out)
    for config in {config.data: config for _, config in sweep.points()}:
        prepare_dataset(config, store)
    lineages = plan_sweep(sweep, lambda config: find_card(config, store))
    write_planned(out, sweep, lineages)
    return lineages


def write_planned(out: Path, sweep: SweepConfig, lineages: Sequence[PlannedLineage]) -> None:
    """Write everything in a finished sweep's results folder except its data sets."""
    cards = {node.key: lineage.card for lineage in lineages for node in lineage.nodes}
    finished, links = Finished(), _links(out)
    for key, node in unique_nodes(lineage.nodes for lineage in lineages).items():
        folder = out / "generations" / key
        (folder / "metrics").mkdir(parents=True)
        inputs = dump_json(node.inputs)
        finished.nodes[key] = node_record(node, inputs)
        _write(folder / "config.json", inputs)
        _write(folder / "record.json", finished.nodes[key].to_bytes())
        for name in CONSTANT:
            os.link(next(links), folder / name)
        for plan in node.all_metrics:
            finished.metrics[key, plan.spec] = metrics_record(node, plan, cards[key])
            data = finished.metrics[key, plan.spec].to_bytes()
            _write(folder / "metrics" / f"{plan.spec}.json", data)
        for claimed, number in ((key, 2), (node.stream, 4)):  # released terms, as a run leaves them
            (out / "claims" / claimed).mkdir(parents=True)
            os.link(next(links).with_name("released"), out / "claims" / claimed / f"{number}.json")
    (out / "lineages").mkdir()
    for lineage in lineages:
        record = lineage_status(lineage, finished, error=None)
        _write(out / "lineages" / f"{lineage.id}.json", record.to_bytes())
    write_sweep(out, sweep, f"sweep run synthetic --out {out}", lineages=lineages)


def node_record(node: NodePlan, inputs: bytes) -> NodeRecord:
    """The record of a model trained as planned, with made-up times and loss."""
    digests = dict.fromkeys(CONSTANT, sha256(CONTENT).hexdigest())
    fraction = int(node.key[:12], 16) / 16**12
    return NodeRecord(
        key=node.key,
        status="done",
        seed=node.inputs["seed"],
        generation=node.generation,
        member=node.member,
        family=node.inputs["model"].get("family", "ddim"),
        num_images=node.num_images,
        origins=pool_origins(node.pool),
        num_steps=node.num_steps,
        images_seen=node.images_seen,
        views_per_image=node.images_seen / node.num_images,
        ema_init_left=0.0,
        final_loss=0.3 + fraction / 10,
        seconds=10 + fraction,
        images_per_second=node.images_seen / (10 + fraction),
        device="cpu (x86_64)",
        num_threads=1,
        precision="fp32",
        weights_sha256=sha256(CONTENT).hexdigest(),
        files={**digests, "config.json": sha256(inputs).hexdigest()},
        environment=ENVIRONMENT,
    )


def metrics_record(node: NodePlan, plan: MetricsPlan, card: DatasetCard) -> MetricsRecord:
    """The record of a measurement as planned, with numbers that get worse by generation."""
    fraction = int(node.key[:12], 16) / 16**12
    kid = 0.01 * node.generation + fraction / 100
    extractor = extractor_label(plan.config)
    numbers = {"kid": kid, "kid_se": kid / 20, "fid": 200 * kid}
    gains = "gain" in plan.config.names
    gain = [1 - 0.001 * node.generation * direction for direction in range(1, DIRECTIONS + 1)]
    shares = [2.0**-direction for direction in range(1, DIRECTIONS + 1)]
    return MetricsRecord(
        node=node.key,
        spec=plan.inputs,
        values={
            **{f"{name}/{extractor}": number for name, number in numbers.items()},
            "pixel_mean": 0.31,
            "pixel_std": 0.19 - 0.001 * node.generation,
            **(dict.fromkeys(GAINS, 1 - 0.01 * node.generation) if gains else {}),
        },
        directions={"gain": gain, "gain_train": [1.0] * DIRECTIONS, "variance_share": shares}
        if gains
        else {},
        num_images=plan.num_images,
        num_reference=card.num_reference,
        stream=node.stream,
        images_sha256=node.key,
        warnings=[f"fid/{extractor} is singular and biased upwards"],
        seconds=4 + fraction,
        num_drawn=node.num_drawn,
        draw_seconds=1 + fraction,
        device="cpu (x86_64)",
        num_threads=1,
        environment=ENVIRONMENT,
    )


def _links(out: Path) -> Iterator[Path]:
    """A file to link to, which is another one before it has too many names."""
    number = 0
    while True:
        folder = out / "tune" / f"links-{number // MOST_LINKS}"
        if not number % MOST_LINKS:
            folder.mkdir(parents=True)
            _write(folder / "content", CONTENT)
            _write(folder / "released", b"")
        yield folder / "content"
        number += 1


def _write(path: Path, data: bytes) -> None:
    with path.open("xb", buffering=0) as file:
        file.write(data)


if __name__ == "__main__":
    main()
