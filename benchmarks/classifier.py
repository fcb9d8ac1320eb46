"""Train the network of metrics.extractor=classifier on the classes of a data set.

    uv run --extra all python benchmarks/classifier.py --data fashion-mnist --image-size 16 \
        --split official_train --out classifier.safetensors

It is trained on all training images of the split, and its accuracy is that on the reference images.
Training on one thread takes some minutes. Prints the accuracy, which is also in the file's
metadata.
"""

import argparse
from pathlib import Path
from time import perf_counter

import torch
from safetensors.torch import save_file

from model.config import DataConfig
from model.data.datasets import load_dataset
from model.features.classifier import measure_accuracy, train_classifier


def main() -> None:
    """Train, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="data.name")
    parser.add_argument("--path", help="data.path")
    parser.add_argument("--image-size", type=int, required=True, help="data.image_size")
    parser.add_argument("--split", default="stratified", help="data.split")
    parser.add_argument(
        "--reference-fraction", type=float, default=0.2, help="data.reference_fraction"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)  # with several, rounding depends on their number
    started = perf_counter()
    data = load_dataset(
        DataConfig(
            name=options.data,
            path=options.path,
            image_size=options.image_size,
            split=options.split,
            reference_fraction=options.reference_fraction,
        )
    )
    if data.labels is None:
        parser.error(f"--data must have classes, got {options.data}")
    tensors = train_classifier(
        data.images[data.train],
        data.labels[data.train],
        num_classes=data.num_classes,
        epochs=options.epochs,
        seed=options.seed,
    )
    accuracy = measure_accuracy(tensors, data.images[data.reference], data.labels[data.reference])
    facts = {
        "data": options.data,
        "image_size": str(options.image_size),
        "split": options.split,
        "reference_fraction": str(options.reference_fraction),
        "epochs": str(options.epochs),
        "seed": str(options.seed),
        "accuracy": f"{accuracy:.4f}",
    }
    save_file(tensors, options.out, facts)
    print(
        f"accuracy {accuracy:.4f} on {len(data.reference):,} reference images, "
        f"{len(data.train):,} for training; {perf_counter() - started:.0f} s; {options.out}"
    )


if __name__ == "__main__":
    main()
