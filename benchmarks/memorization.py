"""What the memorisation metrics report for crops that overlap, and for crops that cannot.

    uv run --extra all python benchmarks/memorization.py [--seeds 5]

The crops are from the photographs of flower-crops, at 32x32. Ordinary ones lie anywhere, so
training and held-out crops overlap; with regions apart, training crops are from the left half of
every photograph, and held-out and fresh ones from the right half. Two kinds of images are measured
as if they were generated: fresh crops of the held-out region, which must pass, and training crops
with noise, which must not. Prints a table, and writes
benchmarks/results/memorization_flower-crops.json.
"""

import argparse
import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tabulate import tabulate

from model.config import DataConfig, MetricsConfig
from model.data.public import FLOWER_CROPS_SHA256, crop_flower, read_flower_photograph
from model.features.extractors import extractor_label
from model.images import resize_image
from model.metrics.table import RealImages, compare_images, extract_real, measure

RESULTS = Path(__file__).parent / "results"
DATA = DataConfig(name="flower-crops", image_size=32)
METRICS = tuple(
    MetricsConfig(names=("memorization",), extractor=name)
    for name in ("efficientnet-lite0", "pixels")
)
NUM_TRAIN, NUM_REFERENCE, NUM_IMAGES = 600, 300, 300
NOISE = (2, 4, 10)
"""Standard deviations of the noise on copies, in grey levels."""
SHOWN = ("memorized", "memorized_held_out", "near_copies", "copying_z", "train_distance")


def read_regions() -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """The regions of training and held-out crops, (H, W, 3) uint8 from every photograph."""
    whole = [read_flower_photograph(name, DATA) for name in FLOWER_CROPS_SHA256]
    halves = [np.array_split(photograph, 2, axis=1) for photograph in whole]
    apart = [left for left, _ in halves], [right for _, right in halves]
    return {"ordinary": (whole, whole), "regions apart": apart}


def draw_crops(regions: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw (N, 3, 32, 32) uint8 crops as flower-crops does, from each region in turn."""
    crops = []
    for number in range(count):
        words = (int(word) for word in rng.integers(2**64, size=4, dtype=np.uint64))
        crop = crop_flower(regions[number % len(regions)], *words)
        crops.append(resize_image(crop, DATA.image_size, mode=DATA.resize, dtype="uint8"))
    return np.stack(crops)


def draw_sets(held_out: list[np.ndarray], train: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Draw the images to measure: fresh crops, and noisy copies of training crops."""
    rng = np.random.default_rng([seed, 2])
    sets = {"fresh": draw_crops(held_out, NUM_IMAGES, rng)}
    copied = train[rng.choice(len(train), NUM_IMAGES, replace=False)]
    for deviation in NOISE:
        noisy = copied + rng.normal(0, deviation, copied.shape)
        sets[f"copies, noise {deviation}"] = np.rint(noisy).clip(0, 255).astype(np.uint8)
    return sets


def measure_regions(num_seeds: int) -> list[dict]:
    """Measure every layout of regions, extractor, set of images and seed."""
    results = []
    for layout, (trained, held_out) in read_regions().items():
        for seed in range(num_seeds):
            train = draw_crops(trained, NUM_TRAIN, np.random.default_rng([seed, 0]))
            reference = draw_crops(held_out, NUM_REFERENCE, np.random.default_rng([seed, 1]))
            sets = draw_sets(held_out, train, seed)
            for config in METRICS:
                real = extract_real(RealImages(reference=reference, train=train), config)
                head = {"crops": layout, "extractor": extractor_label(config), "seed": seed}
                nearest = float(real.train_distances(None)[:, 0].mean())
                for name, images in sets.items():
                    values = measure(compare_images(images, real, config), config).values
                    numbers = {key.split("/")[0]: value for key, value in values.items()}
                    numbers["reference_distance"] = nearest
                    results.append({**head, "images": name, "values": numbers})
            print(f"{layout}, seed {seed}", flush=True)
    return results


def print_table(results: list[dict]) -> None:
    """Print the mean over seeds of every number."""
    groups: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for row in results:
        key = row["extractor"], row["crops"], row["images"]
        groups.setdefault(key, []).append(row["values"])
    columns = (*SHOWN, "reference_distance")
    rows = [
        [*key, *(f"{np.mean([v[column] for v in values]):.4g}" for column in columns)]
        for key, values in groups.items()
    ]
    rows.sort(key=lambda row: row[0])
    print(tabulate(rows, ["extractor", "crops", "images", *columns], disable_numparse=True))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="draws of all crops")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    options = parser.parse_args()
    results = measure_regions(options.seeds)
    print_table(results)
    result = {
        "data": "flower-crops, 32x32",
        "num_train": NUM_TRAIN,
        "num_reference": NUM_REFERENCE,
        "num_images": NUM_IMAGES,
        "seeds": options.seeds,
        "rows": results,
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "mvtb-data")},
        "platform": platform.platform(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "memorization_flower-crops.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
