"""Closed forms of classes in a pool, held against the images that models are really fitted to.

A conditional Gaussian of four classes far apart is a perfect generator of classes: whoever looks at
an image knows what was asked for. So the classes below are counted in pixels, in the images that
the lineage loop hands to the fit, never read off labels or plans. With p the classes' shares in a
pool, q those of the new images, c the concentration on class f:

    grow          p' = (p + alpha q) / (1 + alpha),  q = c [f] + (1 - c) p, by quota
    all of class f  1 - p_f' = (1 - p_f) / (1 + alpha)
    replace, drawn  E[1 - sum p'^2] = (1 - 1/n) (1 - sum p^2)   (Wright and Fisher's drift)
    grow, drawn     E[1 - sum p'^2] = (1 - m / N'^2) (1 - sum p^2),  m new images in N'
    fresh, mix      chi^2(a p_0 + (1 - a) q || p_0) = (1 - a)^2 chi^2(q || p_0)  (arXiv:2602.16601)
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from test_oracles import MEMORY, assert_mean, assert_sensitive
from tiny_sweep import compute, make_lineage

from model.families import FAMILIES
from model.job import Fit, TrainingJob
from sweep.store.store import open_store

K = 4
STEP = 10.0
"""Between the pixels of two classes; a class's own deviation is 0.1."""


@dataclass
class Pools:
    """What the fits of a lineage were given."""

    counts: list[np.ndarray]
    """(K,) images of each class, of each generation's pool."""
    real: list[np.ndarray]
    """The same of the images that are in the data set."""

    @property
    def shares(self) -> list[np.ndarray]:
        return [counts / counts.sum() for counts in self.counts]


def write_classes(path: Path, counts: list[int]) -> Path:
    """An .npz file of so many 1x8x8 images of each class, float32."""
    labels = np.repeat(np.arange(K), counts)
    noise = 0.1 * np.random.default_rng(0).standard_normal((len(labels), 1, 8, 8))
    np.savez(
        path, images=(STEP * labels[:, None, None, None] + noise).astype(np.float32), labels=labels
    )
    return path


def classes_of(images: np.ndarray) -> np.ndarray:
    """(N,) the class of each image, as its pixels tell."""
    means = images.mean(axis=(1, 2, 3)) / STEP
    assert np.abs(means - means.round()).max() < 0.2
    return means.round().astype(int)


@pytest.fixture(scope="module")
def fitted() -> Generator[list[tuple[np.ndarray, np.ndarray]]]:
    """The images and classes that the fits are given from now on."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    family = FAMILIES["gaussian"]

    def look(images: np.ndarray, labels: np.ndarray | None, job: TrainingJob) -> Fit:
        assert labels is not None
        classes = classes_of(images)
        np.testing.assert_array_equal(classes, labels)
        seen.append((images, classes))
        return family.fit(images, labels, job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "gaussian", replace(family, fit=look))
        yield seen


def pools_of(path: Path, fitted: list, settings: dict[str, Any], *, seed: int = 0) -> Pools:
    """Compute a lineage in a store of its own, and count the classes of its pools."""
    data = {"name": "npz", "path": str(path), "dtype": "float32", "train_limit": None}
    fixed = {"model.family": "gaussian", "model.conditional": True, "data": data}
    config = make_lineage(
        {**fixed, "data.split": "all", "metrics.names": [], **settings}, seed=seed
    )
    with np.load(path) as arrays:
        known = {image.tobytes() for image in arrays["images"]}
    fitted.clear()
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as root:
        compute(config, open_store(root))
    assert len(fitted) == config.generations
    counts, real = [], []
    for images, classes in fitted:
        is_real = np.array([image.tobytes() in known for image in images])
        counts.append(np.bincount(classes, minlength=K))
        real.append(np.bincount(classes[is_real], minlength=K))
    return Pools(counts=counts, real=real)


# Concentration


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_what_is_not_of_the_one_class_asked_for_falls_by_one_plus_alpha(
    alpha, tmp_path, fitted
) -> None:
    """1 - (1 - p) / (1 + alpha)^(k - 1), to the image; none of the others is ever lost."""
    path = write_classes(tmp_path / "classes.npz", [2, 6, 4, 4])
    pool = {"pool.alpha": alpha, "pool.concentration": 1.0, "pool.focal_classes": ["0"]}
    pools = pools_of(path, fitted, {**pool, "generations": 4})
    for k, (counts, shares) in enumerate(zip(pools.counts, pools.shares, strict=True)):
        assert shares[0] == pytest.approx(1 - (1 - 2 / 16) / (1 + alpha) ** k, abs=1e-12)
        assert counts[1:].tolist() == [6, 4, 4]


@pytest.mark.parametrize("concentration", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("focal", [["1"], ["0", "3"]])
def test_shares_are_mixed_of_the_pools_and_the_focal_ones(
    concentration, focal, tmp_path, fitted
) -> None:
    """P' = (p + alpha q) / (1 + alpha) up to the rounding of a quota: an image of each class."""
    path = write_classes(tmp_path / "classes.npz", [4, 12, 8, 8])
    pool = {"pool.alpha": 1.0, "pool.concentration": concentration, "pool.focal_classes": focal}
    pools = pools_of(path, fitted, {**pool, "generations": 4})
    for before, after in zip(pools.counts, pools.counts[1:], strict=False):
        p = before / before.sum()
        asked = np.zeros(K)
        asked[[int(name) for name in focal]] = 1 / len(focal)
        q = concentration * asked + (1 - concentration) * p
        assert after.sum() == 2 * before.sum()
        assert np.abs(after - (before + before.sum() * q)).max() < 1


# Drift of classes that are drawn


def diversity(counts: np.ndarray) -> float:
    """1 - sum p^2: the probability that two images, drawn with replacement, differ in class."""
    return float(1 - ((counts / counts.sum()) ** 2).sum())


DRAWN = {"pool.labels": "multinomial"}
SEEDS = range(64)


@pytest.fixture(scope="module")
def replaced(tmp_path_factory, fitted) -> list[Pools]:
    """Three generations of 40 images, which only the seed tells apart."""
    path = write_classes(tmp_path_factory.mktemp("replaced") / "classes.npz", [10] * K)
    rule = {"pool.rule": "replace", "pool.alpha": None, "generations": 3}
    return [pools_of(path, fitted, {**DRAWN, **rule}, seed=seed) for seed in SEEDS]


@pytest.mark.slow
def test_replaced_classes_drift_by_one_part_in_n(replaced) -> None:
    """E H' = (1 - 1/40) H, of classes that the label sampler draws; without drift 1 is seen."""
    ratios = np.array(
        [
            diversity(after) / diversity(before)
            for pools in replaced
            for before, after in zip(pools.counts, pools.counts[1:], strict=False)
        ]
    )
    assert_mean(ratios, 1 - 1 / 40)
    assert_sensitive(ratios, 1 / 40)


@pytest.mark.slow
def test_replaced_counts_are_binomial(replaced) -> None:
    """The first count of each class has mean n p and variance n p (1 - p): 10 and 7.5."""
    first = np.array([pools.counts[1] for pools in replaced])
    assert (first.sum(axis=1) == 40).all()
    assert_mean(first[:, 0], 10)
    squares = ((first - 10.0) ** 2).mean(axis=1)
    assert_mean(squares, 40 / 4 * 3 / 4)
    assert_sensitive(squares, 40 / 4 * 3 / 4)


@pytest.mark.slow
def test_classes_of_a_growing_pool_drift_by_m_over_n_squared(tmp_path, fitted) -> None:
    """E H' = (1 - m / N'^2) H at alpha 1: 1/32 of 8 images, against 1/8 under replace."""
    path = write_classes(tmp_path / "classes.npz", [2] * K)
    settings = {**DRAWN, "pool.alpha": 1.0, "generations": 2}
    ratios = []
    for seed in SEEDS:
        before, after = pools_of(path, fitted, settings, seed=seed).counts
        ratios.append(diversity(after) / diversity(before))
    assert_mean(np.array(ratios), 1 - 8 / 16**2)
    assert_sensitive(np.array(ratios), 8 / 16**2)


# Real images beside the new ones


def chi_square(q: np.ndarray, p: np.ndarray) -> float:
    """Sum (q - p)^2 / p of two (K,) distributions."""
    return float(((q - p) ** 2 / p).sum())


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_fresh_images_take_their_share_squared_off_the_distance(alpha, tmp_path, fitted) -> None:
    """chi^2(pool || fresh) = (1 - a)^2 chi^2(q || fresh), a = 1 / (1 + alpha).

    q = c [2] + (1 - c) p of the pool before, as the settings have it; quotas round each class by
    less than an image of the new ones.
    """
    path = write_classes(tmp_path / "classes.npz", [18, 30, 24, 24])
    fresh = {"pool.rule": "fresh", "pool.alpha": alpha, "pool.initial_images": 32}
    focal = {"pool.concentration": 0.5, "pool.focal_classes": ["2"]}
    pools = pools_of(path, fitted, {**fresh, **focal, "generations": 3})
    for before, counts, real in zip(pools.shares, pools.counts[1:], pools.real[1:], strict=False):
        assert real.sum() == 32
        a = real.sum() / counts.sum()
        assert a == pytest.approx(1 / (1 + alpha))
        p, q = real / real.sum(), 0.5 * np.eye(K)[2] + 0.5 * before
        rounding = 1 / (counts.sum() - real.sum())
        found, expected = chi_square(counts / counts.sum(), p), (1 - a) ** 2 * chi_square(q, p)
        # d chi^2 = 2 sum (q - p) dq / p, of which every dq is below an image's share.
        slack = (1 - a) ** 2 * 2 * (np.abs(q - p) / p).sum() * rounding
        assert found == pytest.approx(expected, abs=slack)
        assert slack < 0.75 * expected


@pytest.mark.slow
def test_kept_real_images_bound_the_drift_of_classes(tmp_path, fitted) -> None:
    """E x' = (1 - a)^2 (x (1 - 1/n) + (K - 1) / n) under mix, x the chi^2 of a pool to D_1.

    At n = 20 and a = 1/2 it settles at 0.0492; each generation alone adds 0.0375, and under replace
    0.15, so that a missing square would be seen.
    """
    path = write_classes(tmp_path / "classes.npz", [5] * K)
    settings = {**DRAWN, "pool.rule": "mix", "pool.alpha": 1.0, "generations": 4}
    found = np.array(
        [
            [
                chi_square(p, np.full(K, 1 / K))
                for p in pools_of(path, fitted, settings, seed=s).shares
            ]
            for s in SEEDS
        ]
    )
    expected = 0.0
    for t in range(1, 4):
        expected = 0.25 * (expected * (1 - 1 / 20) + (K - 1) / 20)
        assert_mean(found[:, t], expected)
    assert_sensitive(found[:, 3], expected)
