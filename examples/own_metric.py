"""A plug-in with a metric: how the spread of the features compares with that of real images.

sweep run quickstart --import examples/own_metric.py --metrics.names kid spread --out runs/spread
sweep evaluate runs/quickstart --import examples/own_metric.py --metrics.names spread
"""

from collections.abc import Mapping

import numpy as np

from model.config import MetricsConfig
from model.metrics.comparison import Comparison
from model.metrics.table import Metric


def compute_spread(comparison: Comparison, config: MetricsConfig) -> Mapping[str, float]:
    """The root of the total variance of generated features, over that of real features."""
    generated = np.asarray(comparison.generated, np.float64).var(axis=0).sum()
    real = np.asarray(comparison.real.reference, np.float64).var(axis=0).sum()
    return {"spread": float(np.sqrt(generated / real))}


METRICS = {"spread": Metric(compute=compute_spread, version="1")}
