"""Facts of the data set synthetic: its density is the one that its settings say."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tiny_sweep import compute, make_lineage, numbers_of

from model.config import DataConfig
from model.data.datasets import describe, load_dataset
from model.data.public import synthetic_density
from model.errors import UsageError
from sweep.store.store import open_store

DATA = DataConfig(name="synthetic", dtype="float32", image_size=4, split="all", num_images=6_000)


def rows_of(config: DataConfig) -> np.ndarray:
    """(N, D) images in the order in which they were drawn."""
    return load_dataset(config).images.reshape(-1, config.image_size**2).astype(np.float64)


@pytest.mark.parametrize("spectrum", [0.0, 1.0, 2.5])
def test_the_principal_variances_are_a_power_law_of_mean_one(spectrum: float) -> None:
    _, factor = synthetic_density(replace(DATA, spectrum=spectrum))
    products = factor @ factor.T
    variances = np.diag(products)
    np.testing.assert_allclose(products, np.diag(variances), atol=1e-12)
    np.testing.assert_allclose(variances / variances[0], np.arange(1, 17.0) ** -spectrum)
    assert variances.mean() == pytest.approx(1)


def test_the_first_direction_is_the_brightness() -> None:
    _, factor = synthetic_density(DATA)
    np.testing.assert_allclose(factor[0], factor[0, 0])


def test_images_have_the_densitys_mean_and_covariance() -> None:
    """In units of its directions, numbers are standard normal; 4.5 errors are allowed."""
    mean, factor = synthetic_density(DATA)
    N = DATA.num_images
    assert N is not None
    z = (rows_of(DATA) - mean) @ np.linalg.inv(factor)
    assert np.abs(z.mean(axis=0)).max() < 4.5 / N**0.5
    error = np.cov(z.T) - np.eye(16)
    assert np.abs(np.diag(error)).max() < 4.5 * (2 / N) ** 0.5
    assert np.abs(error - np.diag(np.diag(error))).max() < 4.5 / N**0.5


def test_images_of_a_class_have_its_mean() -> None:
    config = replace(DATA, num_classes=3, separation=2.0)
    data = load_dataset(config)
    means, factor = synthetic_density(config)
    assert data.class_names == ("0", "1", "2")
    assert data.labels is not None
    for label, mean in enumerate(means):
        z = (rows_of(config)[data.labels == label] - mean) @ np.linalg.inv(factor)
        assert np.abs(z.mean(axis=0)).max() < 4.5 / len(z) ** 0.5


def test_the_separation_scales_the_means() -> None:
    near, far = (synthetic_density(replace(DATA, num_classes=4, separation=s))[0] for s in (1, 3))
    np.testing.assert_allclose(far, 3 * near)


def test_a_larger_data_set_begins_with_the_images_of_a_smaller() -> None:
    """Up to the rounding of a product of other size."""
    small = rows_of(replace(DATA, num_images=100))
    np.testing.assert_allclose(rows_of(DATA)[:100], small, rtol=1e-5, atol=1e-6)


def test_another_seed_gives_other_images() -> None:
    assert (rows_of(DATA) != rows_of(replace(DATA, split_seed=1))).all(axis=1).all()


@pytest.mark.parametrize("changes", [{}, {"num_classes": 7}])
def test_the_description_is_what_loading_gives(changes: dict[str, Any]) -> None:
    config = replace(DATA, num_images=100, split="stratified", **changes)
    described, loaded = describe(config), load_dataset(config)
    assert (
        (described.shape, described.bounded) == (loaded.shape, loaded.bounded) == ((1, 4, 4), False)
    )
    assert described.class_names == loaded.class_names
    for part in ("train", "reference"):
        counts = [each.class_counts(getattr(each, part)) for each in (described, loaded)]
        assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "uint8"}, "data.dtype must be float32 with data.name=synthetic"),
        ({"image_size": 65}, "data.image_size must be at most 64 with data.name=synthetic, got 65"),
        ({"separation": 2.0}, "data.separation must be None without data.num_classes, got 2.0"),
        (
            {"num_classes": 9, "num_images": 8},
            "data.num_images must be at least the 9 classes, got 8",
        ),
    ],
)
def test_what_has_no_density_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        describe(replace(DATA, **changes))


def test_a_lineage_of_a_mixture_runs_on_it(tmp_path) -> None:
    """Its first pool has the deviation of the density: 1, and as much between classes."""
    changes = {
        "data": {"name": "synthetic", "dtype": "float32", "num_classes": 2, "train_limit": None},
        "model.family": "exact-mixture",
        "model.conditional": True,
        "model.max_signal_rate": 0.999,
        "sample.steps": 50,
        "metrics.num_images": 400,
    }
    made = compute(make_lineage(changes, generations=1), open_store(tmp_path))
    (values,) = numbers_of(made[0])["values"]
    means, factor = synthetic_density(DataConfig(name="synthetic", num_classes=2))
    variances = np.square(factor).sum(axis=0) + means.var(axis=0)
    assert values["pixel_std"] == pytest.approx(np.sqrt(variances).mean(), rel=0.1)
