"""Whether generated images are copies, by a test that holds for any distribution of them.

The training images and as many held-out images as there are come from one distribution. If a
generated image does not depend on which of these were trained on, the one nearest to it is a
training image as often as any other. Samples that are too similar to each other, or too close to
the mean, are near to training and to held-out images alike, unlike in the test of Meehan et al.
(arXiv:2004.05675), which compares distances of generated images with those of held-out ones.
"""

import numpy as np

from model.config import MetricsConfig
from model.features.neighbours import nearest_of_distinct
from model.metrics.comparison import Comparison, TrainedOn

LARGEST_RATIO = 1000.0
"""Distances to the second nearest image count up to this multiple of those to the nearest."""


def compute_copying(comparison: Comparison, config: MetricsConfig) -> dict[str, float]:
    """How much more often the nearest image is one that the model was trained on.

    Returns:
        train_nearest_z: z-score of nearest_z for the real training images, with the reference as
            held-out images. Above about 3, images are copies.
        pool_nearest_z: The same for the pool that the model was trained on, if it is known. The
            held-out images of its synthetic part are other images of the same models.

        They are nan if only one distinct image is compared with, or if nothing is held out.
    """
    real = comparison.real
    assert real.train is not None
    train = real.train[: comparison.num_seen]
    strata = np.zeros(len(train), np.int64), np.zeros(len(real.reference), np.int64)
    if real.train_labels is not None and real.reference_labels is not None:
        strata = real.train_labels[: len(train)], real.reference_labels
    of_train = TrainedOn(
        features=train, strata=strata[0], held_out=real.reference, held_out_strata=strata[1]
    )
    values = {"train_nearest_z": nearest_z(comparison.generated, of_train)}
    if comparison.pool is not None:
        values["pool_nearest_z"] = nearest_z(comparison.generated, comparison.pool)
    return values


def nearest_z(generated: np.ndarray, known: TrainedOn) -> float:
    """z-score of how often the image nearest to a generated one was trained on.

    Each generated image gives the image nearest to it a weight, the logarithm of the ratio of the
    distances to the second nearest and to the nearest image: a copy is much nearer to one image
    than to all others. The statistic is the sum of the weights of the images trained on. Its mean
    and variance are exact under all permutations, within each stratum, of which images were trained
    on. Equal images share their weight.

    Args:
        generated: (N, D) features.
        known: Images that were trained on, and images held out of the same strata.
    """
    images = np.concatenate([known.features, known.held_out])
    strata = np.concatenate([known.strata, known.held_out_strata])
    trained = np.arange(len(images)) < len(known.features)
    _, strata = np.unique(strata, return_inverse=True)
    mixed = (np.bincount(strata, trained) > 0) & (np.bincount(strata, ~trained) > 0)
    images, strata, trained = (x[mixed[strata]] for x in (images, strata, trained))
    if len(images) == 0:
        return float("nan")
    numbers, nearest, distances = nearest_of_distinct(generated, images)
    ratios = distances[:, 1] / np.maximum(distances[:, 0], distances[:, 1] / LARGEST_RATIO)
    received = np.bincount(nearest, np.log(ratios), minlength=numbers.max() + 1)
    weights = (received / np.bincount(numbers))[numbers]

    sizes, num_trained, total, squares = (
        np.bincount(strata, x) for x in (np.ones(len(strata)), trained, weights, weights**2)
    )
    share = num_trained / np.maximum(sizes, 1)
    excess = np.sum(weights[trained]) - np.sum(share * total)
    variances = share * (sizes - num_trained) / np.maximum(sizes - 1, 1)
    variance = np.sum(variances * (squares - total**2 / np.maximum(sizes, 1)))
    return float(excess / np.sqrt(variance)) if variance > 0 else float("nan")
