r"""A program for the family `command`: a Gaussian, fitted with numpy.

sweep run quickstart --model.family command --model.program examples/command_gaussian.py \
  --train.command "python command_gaussian.py train {images} {out}" \
  --sample.command "python command_gaussian.py sample {model} {out} {num_images} {seed}" \
  --allow-command --out runs/command
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image


def train(images: str, out: str) -> None:
    """Write the mean and a factor of the covariance of all PNGs in a folder."""
    paths = sorted(Path(images).rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(path), np.float64) for path in paths])
    flat = pixels.reshape(len(pixels), -1)
    _, scales, rows = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    factor = scales[:, None] * rows / np.sqrt(len(flat))
    np.savez(f"{out}/gaussian.npz", mean=flat.mean(axis=0), factor=factor, shape=pixels.shape[1:])


def sample(model: str, out: str, num_images: str, seed: str) -> None:
    """Draw images from the Gaussian, and write them as PNGs."""
    fitted = np.load(f"{model}/gaussian.npz")
    rng = np.random.default_rng(int(seed))
    noise = rng.standard_normal((int(num_images), len(fitted["factor"])))
    drawn = np.clip(np.rint(fitted["mean"] + noise @ fitted["factor"]), 0, 255).astype(np.uint8)
    for number, image in enumerate(drawn.reshape(-1, *fitted["shape"])):
        Image.fromarray(image).save(f"{out}/{number:06d}.png")


if __name__ == "__main__":
    {"train": train, "sample": sample}[sys.argv[1]](*sys.argv[2:])
