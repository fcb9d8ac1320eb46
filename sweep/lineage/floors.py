"""Floors: the numbers of real training images, measured as if they were generated.

A floor belongs to a data set and a metric specification, not to a model.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from model.data.datasets import Dataset
from model.errors import UsageError
from sweep.files import Json, digest, encoded
from sweep.lineage.environment import computed_on
from sweep.lineage.measurement import Measurement
from sweep.planning.measurements import MetricsPlan, plan_floor
from sweep.records import MetricsRecord
from sweep.specifications import floor_name
from sweep.store.claims import ClaimLost
from sweep.store.heartbeat import Heartbeat
from sweep.store.store import Store


@dataclass(kw_only=True, slots=True)
class Floors:
    """The floors of one lineage's data set."""

    store: Store
    measurement: Measurement
    _known: set[str] = field(default_factory=set)
    """Names of those that exist."""

    def ensure(self, plans: Iterable[MetricsPlan]) -> None:
        """Measure the floors of specifications that are missing, unless another process does so."""
        for plan in plans:
            if (name := floor_name(plan.inputs)) not in self._known and self._measure(plan, name):
                self._known.add(name)

    def claim_key(self, plan: MetricsPlan) -> str:
        """Key that a process claims to measure a floor."""
        return digest([self.measurement.features.card.key, floor_name(plan.inputs)])

    def _measure(self, plan: MetricsPlan, name: str) -> bool:
        """Measure a floor unless it exists; False if another process is measuring it."""
        key = self.measurement.features.card.key
        if self.store.read_floor(key, name) is not None:
            return True
        claim = self.store.claims.take(self.claim_key(plan))
        if claim is None:
            return False
        with suppress(ClaimLost), claim, Heartbeat(claim, {}):
            if self.store.read_floor(key, name) is None:
                record = measure_floor(plan_floor(plan.inputs, plan.config), self.measurement)
                self.store.write_floor(key, name, record)
        return True


def measure_floor(plan: MetricsPlan, measurement: Measurement) -> MetricsRecord:
    """Measure real training images; there are no numbers if there are too few images."""
    started = time.perf_counter()
    data, features = measurement.data, measurement.features
    indices = choose_images(data, plan.num_images, plan.labels)
    fewest = max(2, ("kid" in plan.config.names and plan.config.kid_subset_size) or 0)
    if len(indices) < fewest:
        reason = f"the floor needs at least {fewest} training images, got {len(indices)}"
        record = measurement.lacking(plan, reason, started=started)
    else:
        count, fingerprint = len(indices), features.card.fingerprint
        source: Json = {"dataset": fingerprint, "part": "train", "num_images": count}
        labels = None
        if plan.labels and data.labels is not None:
            labels = data.labels[indices]
            source["labels"] = list(plan.labels)
        images = data.images[indices]
        found = features.read(source, images, plan.config)
        try:
            record = measurement.measure(
                plan, images, found, generated_labels=labels, started=started
            )
        except UsageError as error:  # too few images for a metric: no reason to fail a lineage
            record = measurement.lacking(plan, f"no floor: {error}", started=started)
    return replace(
        record, node=features.card.key, **computed_on(features.device, encoded(plan.inputs))
    )


def choose_images(data: Dataset, count: int, labels: Sequence[int]) -> np.ndarray:
    """Indices of `count` training images, evenly spaced so that they are from all official splits.

    With `labels`, the number of images per class, as many of each class. If there are fewer
    images, all of them.
    """
    groups = [(data.train, count)]
    if labels:
        assert data.labels is not None
        of_train = data.labels[data.train]
        groups = [(data.train[of_train == label], n) for label, n in enumerate(labels)]
    return np.concatenate([_spaced(indices, n) for indices, n in groups])


def _spaced(indices: np.ndarray, count: int) -> np.ndarray:
    count = min(count, len(indices))
    return indices[np.arange(count) * len(indices) // max(1, count)]
