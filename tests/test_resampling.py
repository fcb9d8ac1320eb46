"""Facts of standard errors over images."""

import numpy as np
import pytest

from model.config import MetricsConfig
from model.metrics.bootstrap import average, bootstrap
from model.metrics.comparison import Comparison, RealFeatures
from model.metrics.table import measure


def draw(num_images: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_images, 3))


def test_the_standard_error_of_a_mean_is_its_deviations():
    """Std / sqrt(N), within the 10% that 400 resamples leave at most."""
    x = draw(200)[:, 0]
    found = average("x", x, num_resamples=400)
    np.testing.assert_allclose(found["x_se"], x.std() / np.sqrt(200), rtol=0.1)


def test_without_resamples_there_is_no_standard_error():
    assert average("x", np.array([True, False]), num_resamples=0) == {"x": 0.5}


def test_samples_are_resampled_apart():
    """The variance of a difference of means is the sum: not zero for one sample taken twice."""
    x = draw(200)[:, 0]
    found = bootstrap(lambda a, b: float(a.mean() - b.mean()), x, x, num_resamples=400)
    np.testing.assert_allclose(found, np.sqrt(2) * x.std() / np.sqrt(200), rtol=0.1)


def test_the_same_images_are_redrawn_every_time():
    x = draw(50)[:, 0]
    assert average("x", x, num_resamples=20) == average("x", x, num_resamples=20)


@pytest.mark.parametrize("name", ["fid", "vendi", "precision", "coverage"])
def test_a_standard_error_does_not_depend_on_the_other_metrics(name):
    """Each metric draws its own resamples: names may be added, and their order changed."""
    comparison = Comparison(generated=draw(30), real=RealFeatures(reference=draw(30, seed=1)))

    def numbers(*names):
        config = MetricsConfig(names=names, extractor="pixels", bootstrap=10)
        return measure(comparison, config).values

    together = numbers("recall", "fid", "density", "vendi", "coverage", "precision")
    alone = numbers(name)
    assert alone == {key: together[key] for key in (f"{name}/pixels", f"{name}_se/pixels")}


def test_the_standard_error_of_fid_is_that_of_fresh_images():
    """The deviation of 100 FIDs of fresh draws with the same shift, within a third."""

    def pair(seed):
        return Comparison(
            generated=draw(200, seed=2 * seed) + 1,
            real=RealFeatures(reference=draw(200, seed=2 * seed + 1)),
        )

    def numbers(seed, **settings):
        config = MetricsConfig(names=("fid",), extractor="pixels", **settings)
        return measure(pair(seed), config).values

    deviation = np.std([numbers(seed)["fid/pixels"] for seed in range(100)], ddof=1)
    found = numbers(100, bootstrap=100)["fid_se/pixels"]
    np.testing.assert_allclose(found, deviation, rtol=1 / 3)
