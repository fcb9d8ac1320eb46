"""Measure how recognisable the samples of a digits run are, generation by generation.

    uv run --extra all python benchmarks/digits_probe.py runs/paper-digits-seed0 [--json FILE]
    uv run python benchmarks/digits_probe.py --read FILE...

A probe (a support vector machine with calibrated confidence) is trained on the run's real training
images; its accuracy on the held-out reference is printed first. For every model, the table shows
the probe's confidence on the model's samples, also as a share of its confidence on held-out real
images, and how often it predicts each of the ten classes. Needs the run's folder with its streams.
--read summarises files of --json over their seeds, and needs nothing else.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from analysis.reading.columns import grouped
from analysis.statistics.seeds import t_interval
from analysis.tables.build import format_interval

NUM_CLASSES = 10


def flat(images: np.ndarray) -> np.ndarray:
    """Flatten (N, 1, 8, 8) uint8 images to (N, 64) float64 in [0, 1]."""
    return images.reshape(len(images), -1) / 255.0


def measure(run: Path, store: Path | None) -> dict:
    """Probe every model of a run; returns the probe's accuracy and one entry per model."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    from sweep.lineage.datasets import load_prepared
    from sweep.records import load_card, load_lineages, load_metrics, load_node
    from sweep.store.store import open_store

    kept = open_store(store or run)
    lineages = load_lineages(run)
    card = load_card(run, lineages[0].dataset)
    assert card is not None
    data = load_prepared(card, kept)
    assert data.labels is not None
    train, held_out = data.images[data.train], data.images[data.reference]
    probe = CalibratedClassifierCV(SVC(C=10), ensemble=False, cv=5)
    probe.fit(flat(train), data.labels[data.train])
    real = float(probe.predict_proba(flat(held_out)).max(axis=1).mean())
    accuracy = float(probe.score(flat(held_out), data.labels[data.reference]))
    rows = []
    for lineage in lineages:
        for (key,) in lineage.nodes[: lineage.num_done]:
            node, metrics = load_node(run, key), load_metrics(run, key, lineage.metrics_spec)
            if node is None or metrics is None or node.status != "done":
                continue
            count, block, parts = metrics.num_images, 0, []
            while sum(map(len, parts)) < count:
                parts.append(kept.read_block(metrics.stream, block))
                block += 1
            scores = probe.predict_proba(flat(np.concatenate(parts)[:count]))
            counts = np.bincount(scores.argmax(axis=1), minlength=NUM_CLASSES)
            rows.append(
                {
                    **lineage.axes,
                    "generation": node.generation,
                    "node": key,
                    "num_images": count,
                    "confidence": float(scores.max(axis=1).mean()),
                    "share_of_real": float(scores.max(axis=1).mean()) / real,
                    "class_counts": counts.tolist(),
                }
            )
    return {
        "probe": "CalibratedClassifierCV(SVC(C=10), ensemble=False, cv=5)",
        "held_out_accuracy": accuracy,
        "held_out_confidence": real,
        "num_held_out": len(held_out),
        "models": rows,
    }


def summarise(results: list[dict]) -> str:
    """Tables over seeds: confidence by generation, and the change of each class from V_1 to V_n."""
    frame = pd.DataFrame([row for result in results for row in result["models"]])
    frame = frame.sort_values(["generation", "seed"])
    names = [f"V{n}" for n in frame["generation"].unique()]
    confidence, changes = [], []
    for values, rows in grouped(frame, ["pool.alpha", "train.epochs"]):
        setting = [f"{value:g}" for value in values.values()]
        counts = np.array(rows["class_counts"].tolist()).reshape(len(names), -1, NUM_CLASSES)
        shares = rows["share_of_real"].to_numpy().reshape(len(names), -1)
        confidence.append([*setting, *map(interval, shares), (counts > 0).sum(axis=2).min()])
        changes.append([*setting, *map(interval, (counts[-1] - counts[0]).T)])
    accuracies = {f"{result['held_out_accuracy']:.3f}" for result in results}
    return "\n\n".join(
        [
            "**confidence on samples, as a share of that on held-out real images**",
            markdown(confidence, ["alpha", "epochs", *names, "fewest classes"]),
            f"**images of each class: {names[-1]} less {names[0]} of the same seed**",
            markdown(changes, ["alpha", "epochs", *map(str, range(NUM_CLASSES))]),
            f"{results[0]['num_held_out']} samples of each model; mean +- half-width of the 95% t "
            f"interval over seeds (n seeds), not corrected for the {len(changes) * NUM_CLASSES} "
            f"differences; held-out accuracy of the probe {', '.join(sorted(accuracies))}; fewest "
            "classes: how many of the ten the probe finds in the samples of every model.\n",
        ]
    )


def interval(values: np.ndarray) -> str:
    """Mean and 95% t interval."""
    return format_interval(*t_interval(values.tolist(), 0.95))


def markdown(rows: list[list], header: list[str]) -> str:
    """A Markdown table."""
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)


def main() -> None:
    """Print the table, and write it as JSON if requested."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("run", type=Path, nargs="?", help="results folder of a run on digits")
    parser.add_argument("--read", type=Path, nargs="+", help="summarise files of --json instead")
    parser.add_argument("--store", type=Path, help="the --store of the run, if it had one")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if (options.run is None) == (options.read is None):
        parser.error("give a results folder, or --read with files")
    if options.read:
        print(summarise([json.loads(path.read_text()) for path in options.read]), end="")
        return
    result = measure(options.run, options.store)
    print(
        f"probe: held-out accuracy {result['held_out_accuracy']:.3f}, mean confidence on "
        f"{result['num_held_out']} held-out real images {result['held_out_confidence']:.3f}"
    )
    columns = ["pool.alpha", "train.epochs", "seed", "generation"]
    table = [
        [*(row.get(name) for name in columns), f"{row['confidence']:.3f}",
         f"{row['share_of_real']:.3f}", sum(c > 0 for c in row["class_counts"]),
         " ".join(map(str, row["class_counts"]))]
        for row in result["models"]
    ]  # fmt: skip
    print(tabulate(table, [*columns, "confidence", "of real", "classes", "images per class"]))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
