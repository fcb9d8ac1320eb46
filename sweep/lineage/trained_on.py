"""The images that a model was trained on and those held out, as the metric `copying` needs them."""

import numpy as np

from model.metrics.comparison import RealFeatures, TrainedOn
from sweep.lineage.pool_images import Sources
from sweep.planning.measurements import MetricsPlan
from sweep.planning.pool import UNKNOWN, Pool, pool_rows


def trained_on(sources: Sources, plan: MetricsPlan, real: RealFeatures) -> TrainedOn | None:
    """Features of a model's pool and of held-out images, by origin, member and class.

    Args:
        sources: Where images and features come from.
        plan: The specification of the measurement.
        real: Features of the reference, which are held out of the real images.

    Returns:
        None if no metric of the specification needs them.
    """
    if not plan.pool:
        return None
    held_out, count = [real.reference], len(real.reference)
    labels = np.full(count, UNKNOWN) if real.reference_labels is None else real.reference_labels
    zeros = np.zeros(count, np.int64)
    strata = [rows_of(sources, plan.pool), np.stack([zeros, zeros, labels], axis=1)]
    if plan.held_out:
        held_out.append(sources.features(plan.held_out, plan.config))
        strata.append(rows_of(sources, plan.held_out))
    features = sources.features(plan.pool, plan.config)
    numbers = np.unique(np.concatenate(strata), axis=0, return_inverse=True)[1].ravel()
    return TrainedOn(
        features=features,
        strata=numbers[: len(features)],
        held_out=np.concatenate(held_out),
        held_out_strata=numbers[len(features) :],
    )


def rows_of(sources: Sources, pool: Pool) -> np.ndarray:
    """(N, 3) origin, member and class of a pool's images."""
    data = sources.data
    labels = None if data.labels is None else data.labels[data.train]
    return np.stack(pool_rows(pool, labels, sources.choose), axis=1)
