"""The score that chooses the best epoch's weights: a checkpoint's KID on the validation images.

For train.select=best_kid. The reference images select nothing, and so are not passed in.
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
    """A function from a checkpoint to the KID of as many of its images as validation images.

    Args:
        validation: (N, C, H, W) uint8 or float32, N at least 2.
        sample: How images are drawn.
        metrics: Extractor and subsets of the KID; which metrics it names has no effect.
        seed: (lineage seed, generation, member).
        labels: (N,) int64 classes of the validation images, which a conditional model draws too;
            None for an unconditional one.
        device: Where images are drawn and features extracted.

    Returns:
        A function whose value is nan if the checkpoint's images are not finite or all the same.
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
        found = measure(compare_images(drawn, real, metrics, device=device), metrics)
        return next((v for k, v in found.values.items() if k.startswith("kid/")), float("nan"))

    return score
