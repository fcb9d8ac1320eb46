r"""A program for the family `command`: a small diffusion model in Keras, on any of its backends.

KERAS_BACKEND=torch sweep run quickstart --model.family command \
  --model.program examples/command_keras.py \
  --train.command "python command_keras.py train {images} {out} {seed} 10" \
  --sample.command "python command_keras.py sample {model} {out} {seed} {num_images}" \
  --allow-command --out runs/keras

The noise is at diffusion angle t: noisy = cos(t) * image + sin(t) * noise.
"""

import sys
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image

WIDTH, BATCH, SAMPLER_STEPS, LAST_ANGLE = 32, 32, 10, 1.55


def new_net(side: int, channels: int) -> keras.Model:
    """A convolutional network that predicts noise from noisy images and cosines of angles."""
    noisy, signal = keras.Input((side, side, channels)), keras.Input((1, 1, 1))
    rates = layers.UpSampling2D(side)(signal)
    x = layers.Concatenate()([noisy, rates])
    x = layers.Conv2D(WIDTH, 3, padding="same", activation="swish")(x)
    for _ in range(2):
        inner = layers.Conv2D(WIDTH, 3, padding="same", activation="swish")(x)
        x = layers.Add()([x, layers.Conv2D(WIDTH, 3, padding="same")(inner)])
    x = layers.Conv2D(channels, 3, padding="same", kernel_initializer="zeros")(x)
    return keras.Model([noisy, signal], x)


def train(images: str, out: str, seed: str, epochs: str) -> None:
    """Train on all PNGs of a folder, with new noise in each epoch."""
    paths = sorted(Path(images).rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(path), np.float32) for path in paths]) / 127.5 - 1
    pixels = pixels.reshape(*pixels.shape[:3], -1)
    keras.utils.set_random_seed(int(seed))
    rng = np.random.default_rng(int(seed))
    net = new_net(pixels.shape[1], pixels.shape[3])
    net.compile(keras.optimizers.Adam(1e-3), "mse")
    for epoch in range(int(epochs)):
        angles = rng.uniform(0, LAST_ANGLE, (len(pixels), 1, 1, 1)).astype(np.float32)
        noise = rng.standard_normal(pixels.shape, np.float32)
        noisy = np.cos(angles) * pixels + np.sin(angles) * noise
        net.fit([noisy, np.cos(angles)], noise, batch_size=BATCH, verbose=0)
        print(f"epoch {epoch + 1} of {epochs}", flush=True)
    net.save_weights(f"{out}/net.weights.h5")
    np.savez(f"{out}/shape.npz", shape=pixels.shape[1:])


def sample(model: str, out: str, seed: str, num_images: str) -> None:
    """Draw images by DDIM, and write them as one array."""
    side, _, channels = np.load(f"{model}/shape.npz")["shape"].tolist()
    net = new_net(side, channels)
    net.load_weights(f"{model}/net.weights.h5")
    rng = np.random.default_rng(int(seed))
    noisy = rng.standard_normal((int(num_images), side, side, channels), np.float32)
    angles = np.linspace(LAST_ANGLE, 0, SAMPLER_STEPS + 1, dtype=np.float32)
    image = noisy
    for angle, following in pairwise(angles):
        signal = np.full((len(noisy), 1, 1, 1), np.cos(angle), np.float32)
        noise = net.predict([noisy, signal], batch_size=128, verbose=0)
        image = np.clip((noisy - np.sin(angle) * noise) / np.cos(angle), -1, 1)
        noisy = np.cos(following) * image + np.sin(following) * noise
    np.save(f"{out}/images.npy", np.rint((image + 1) * 127.5).astype(np.uint8))


if __name__ == "__main__":
    {"train": train, "sample": sample}[sys.argv[1]](*sys.argv[2:])
