"""The score behind train.select=best_kid: a checkpoint's KID on the validation images.

The reference images are not passed in, because they must not influence which weights are kept.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from model.checkpoint import Checkpoint
from model.config import MetricsConfig, SampleConfig
from model.job import Diverged
from model.metrics.table import RealImages, compare_images, extract_real, measure
from model.randomness import Purpose, Seed
from model.streams import Stream


def validation_score(
    validation: np.ndarray,
    sample: SampleConfig,
    metrics: MetricsConfig,
    *,
    seed: Seed,
    labels: np.ndarray | None = None,
    device: str = "cpu",
) -> Callable[[Checkpoint], float]:
    """A function that computes the KID of a checkpoint's images against the validation images.

    The checkpoint draws as many images as there are validation images.

    Args:
        validation: (N, C, H, W) uint8 or float32, N at least 2.
        sample: How images are drawn.
        metrics: Extractor and subsets of the KID; `names` has no effect.
        seed: (lineage seed, generation, member).
        labels: (N,) int64 classes of the validation images, which a conditional model draws too;
            None for an unconditional model.
        device: Where images are drawn and features extracted.

    Returns:
        A function that returns nan if the checkpoint's images are not finite or all the same.
    """
    metrics = replace(metrics, names=("kid",))
    real = extract_real(RealImages(reference=validation), metrics, device=device)

    def score(checkpoint: Checkpoint) -> float:
        purpose = Purpose.VALIDATION
        stream = Stream(
            checkpoint=checkpoint, config=sample, seed=seed, purpose=purpose, device=device
        )
        try:
            if labels is None:
                drawn = np.concatenate(list(stream.images(len(validation))))
            else:
                drawn = stream.labelled(labels)
        except Diverged:
            return float("nan")
        measured = measure(compare_images(drawn, real, metrics, device=device), metrics)
        kids = (value for name, value in measured.values.items() if name.startswith("kid/"))
        return next(kids, float("nan"))

    return score
