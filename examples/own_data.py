"""A plug-in with a data set: 8x8 images of a bright bar, upright or lying.

sweep run quickstart --import examples/own_data.py --data.name bars --data.train-limit None \
    --out runs/bars

Image files need no plug-in: use `--data.name folder --data.path DIR`.
"""

import numpy as np

from model.config import DataConfig
from model.data.datasets import Loader
from model.data.reading import Contents, collect_pixels

NUM_IMAGES = 600


def describe_bars(config: DataConfig) -> Contents:
    """Describe the bars, half of which are upright."""
    labels = np.arange(NUM_IMAGES) % 2
    names = ("upright", "lying")
    return Contents(num_images=NUM_IMAGES, channels=1, labels=labels, class_names=names)


def load_bars(config: DataConfig) -> tuple[np.ndarray, Contents]:
    """Draw bar i in row or column (i // 2) modulo 8, on some noise."""
    contents = describe_bars(config)
    rng = np.random.default_rng(0)
    bars = rng.integers(0, 64, (NUM_IMAGES, 8, 8, 1), dtype=np.uint8)
    for i, bar in enumerate(bars):
        place = i // 2 % 8
        if i % 2:
            bar[place] = 255
        else:
            bar[:, place] = 255
    return collect_pixels(bars, contents, config), contents


DATASETS = {"bars": Loader(describe=describe_bars, load=load_bars, version="1")}
