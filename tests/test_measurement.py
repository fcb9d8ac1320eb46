"""Facts of the measuring of nodes: the real side is made once, and no history shows in a number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_sweep import make_lineage, make_run

from model.config import MetricsConfig
from model.metrics.table import METRICS, RealImages, evaluate_images
from sweep.lineage.feature_blocks import FeatureBlocks
from sweep.lineage.measurement import Measurement
from sweep.planning.measurements import MetricsPlan, plan_metrics
from sweep.records import MetricsRecord
from sweep.store.store import open_store

UNASKED = tuple(n for n, metric in METRICS.items() if "generated_labels" not in metric.needs)
ALL = MetricsConfig(names=UNASKED, extractor="pixels", nearest_k=3, num_images=40)
KID = replace(ALL, names=("kid",))


@pytest.fixture
def measurement(tmp_path: Path) -> Measurement:
    return fresh(tmp_path / "store")


def fresh(root: Path) -> Measurement:
    run = make_run(make_lineage(), open_store(root))
    blocks = FeatureBlocks(card=run.card, data=run.data, store=run.store)
    return Measurement(data=run.data, features=blocks)


def plan_of(measurement: Measurement, metrics: MetricsConfig) -> MetricsPlan:
    plan = plan_metrics(replace(make_lineage(), metrics=metrics), measurement.features.card)
    assert plan is not None
    return plan


def images_of(measurement: Measurement, seed: int) -> np.ndarray:
    """A block of noisy real images, the first of which are training images themselves."""
    rng = np.random.default_rng(seed)
    data = measurement.data
    images = data.images[rng.choice(data.train, 128)]
    images[5:] ^= rng.integers(0, 64, images[5:].shape, dtype=np.uint8)
    return images


def measure(measurement: Measurement, metrics: MetricsConfig, seed: int) -> MetricsRecord:
    """A record without its seconds, which differ."""
    images = images_of(measurement, seed)
    plan = plan_of(measurement, metrics)
    features = measurement.features.read({"stream": f"stream{seed}"}, images, metrics)
    count = plan.num_images
    record = measurement.measure(plan, images[:count], features[:count], started=0)
    return replace(record, seconds=0)


def test_two_models_have_the_numbers_of_two_fresh_measurements(measurement, tmp_path):
    """Of all metrics, to the bit."""
    together = [measure(measurement, ALL, seed) for seed in (1, 2)]
    alone = [measure(fresh(tmp_path / str(seed)), ALL, seed) for seed in (1, 2)]
    assert together == alone
    assert together[0].values != together[1].values


def test_its_numbers_are_those_of_the_images(measurement):
    """As `model evaluate` has them, without any store."""
    data = measurement.data
    assert data.labels is not None
    real = RealImages(
        reference=data.images[data.reference],
        reference_labels=data.labels[data.reference],
        train=data.images[data.train],
        train_labels=data.labels[data.train],
        class_names=data.class_names,
    )
    found = evaluate_images(images_of(measurement, 1)[:40], real, ALL)
    record = measure(measurement, ALL, 1)
    assert (record.values, record.classes) == (found.values, found.classes)
    assert record.values["exact_copies/pixels"] == 5 / 40


def test_the_real_side_is_made_once_per_extractor(measurement):
    real = measurement.real(ALL)
    assert measurement.real(replace(ALL, names=("memorization",), nearest_k=5)) is real
    assert measurement.real(replace(ALL, extractor="random-conv")) is not real


def test_training_images_of_one_specification_do_not_show_in_another(measurement):
    """KID has no training images, though they were measured before."""
    measure(measurement, ALL, 1)
    assert measure(measurement, KID, 1).num_train == 0


def test_features_and_digests_are_shared_with_and_without_training_images(measurement):
    with_train, without = measurement.real(ALL), measurement.real(KID)
    assert with_train.reference is without.reference
    assert measurement.train_digests(None) is measurement.train_digests(None)


def test_copies_are_looked_for_among_the_images_that_the_pools_have_held(measurement):
    """Here the first ten of the train images: copies of the others are none."""
    data = measurement.data
    images = data.images[data.train[:20]]
    config = replace(ALL, names=("memorization",), num_images=20)
    features = measurement.features.read({"stream": "copies"}, images, config)
    plan = plan_of(measurement, config)
    for num_seen, copies in ((None, 1.0), (10, 0.5)):
        seen = replace(plan, num_seen=num_seen)
        record = measurement.measure(seen, images, features, started=0)
        assert record.values["exact_copies/pixels"] == copies
        assert record.values["memorized/pixels"] == pytest.approx(copies, abs=0.1)
        assert record.num_train == (num_seen or len(data.train))
