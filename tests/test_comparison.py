"""Facts of a comparison: what real images alone determine is computed once, and changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
from class_comparison import NAMES, compare, repeat_classes

from model.config import MetricsConfig
from model.features import products
from model.features.principal import principal_directions
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.table import METRICS, measure

ASKED = repeat_classes([10] * 6)
CONFIG = MetricsConfig(names=tuple(METRICS), extractor="pixels", bootstrap=10)


def copy_of(real: RealFeatures) -> RealFeatures:
    """The same features, of which nothing has been computed yet."""
    return replace(real)


def two_sets() -> list[Comparison]:
    """Different generated images, good and bad, against one real side."""
    good, bad = compare(ASKED, asked=ASKED, distance=2), compare(np.roll(ASKED, 9), asked=ASKED)
    copies, real = np.arange(60) < 6, good.real
    assert real.train is not None
    directions = principal_directions(real.train, real.reference)
    return [
        replace(x, real=real, exact_copies=copies, pixels=x.generated, directions=directions)
        for x in (good, bad)
    ]


@pytest.mark.parametrize("kept_bytes", [products.KEPT_BYTES, 0])
def test_a_second_set_has_the_numbers_of_a_fresh_comparison(monkeypatch, kept_bytes):
    """Of all metrics, to the bit, whether the products are kept or not."""
    monkeypatch.setattr(products, "KEPT_BYTES", kept_bytes)
    first, second = two_sets()
    assert first.real is second.real
    together = [measure(first, CONFIG), measure(second, CONFIG)]
    alone = [measure(replace(x, real=copy_of(x.real)), CONFIG) for x in (first, second)]
    assert together == alone
    assert together[0] != together[1]


def test_one_metric_has_its_numbers_whatever_was_computed_before():
    """Each alone on a used real side, and on a fresh one."""
    first, second = two_sets()
    measure(first, CONFIG)
    for name in METRICS:
        config = replace(CONFIG, names=(name,))
        fresh = replace(second, real=copy_of(second.real))
        assert measure(second, config) == measure(fresh, config), name


@pytest.mark.parametrize("part", ["centred", "kernel_statistics", "gaussian_statistics", "probe"])
def test_the_real_side_is_computed_once(part):
    """The very object is there for the second set."""
    first, second = two_sets()
    measure(first, CONFIG)
    before = first.real.__dict__[part]
    measure(second, CONFIG)
    assert second.real.__dict__[part] is before


def test_the_reference_is_factored_once_for_fid(monkeypatch):
    """Two sets of generated images and the reference have a covariance each."""
    calls, cholesky = [], np.linalg.cholesky
    monkeypatch.setattr(np.linalg, "cholesky", lambda x: calls.append(1) or cholesky(x))
    config = MetricsConfig(names=("fid",), extractor="pixels")
    for comparison in two_sets():
        measure(comparison, config)
    assert len(calls) == 3


def test_distances_to_training_images_are_found_once_for_each_number_of_them():
    real = two_sets()[0].real
    assert real.train_distances(None) is real.train_distances(None)
    assert real.train_distances(5) is real.train_distances(5)
    assert (real.train_distances(5) >= real.train_distances(None)).all()


def test_radii_are_found_once_per_number_of_neighbours():
    real = two_sets()[0].real
    assert real.squared_radii(3) is real.squared_radii(3)
    assert (real.squared_radii(3) < real.squared_radii(4)).all()


def test_another_reference_has_numbers_of_its_own():
    """What was computed stays with the object it was computed of."""
    real = two_sets()[0].real
    assert len(real.squared_radii(3)) == 12 * len(NAMES)
    assert len(replace(real, reference=real.reference[:20]).squared_radii(3)) == 20
