"""Facts of the test for copies: contraction is none, and copies of the pool are found."""

from pathlib import Path

import numpy as np
import pytest
from tiny_sweep import make_lineage, make_run

from model.config import MetricsConfig
from model.metrics.comparison import Comparison, RealFeatures, TrainedOn
from model.metrics.copying import nearest_z
from model.metrics.memorization import rank_z
from model.metrics.table import measure
from sweep.lineage.trained_on import trained_on
from sweep.planning.new_images import streams_of
from sweep.store.store import open_store

DIMENSIONS = 8


def known(seed: int, *, trained: int = 200, held_out: int = 200) -> TrainedOn:
    rng = np.random.default_rng(seed)
    return TrainedOn(
        features=rng.normal(size=(trained, DIMENSIONS)),
        strata=np.zeros(trained, np.int64),
        held_out=rng.normal(size=(held_out, DIMENSIONS)),
        held_out_strata=np.zeros(held_out, np.int64),
    )


def draw(
    images: TrainedOn, count: int, *, scale: float = 1.0, share: float = 0.0, noise: float = 0.0
) -> np.ndarray:
    """N(0, scale^2) features, of which a share are training images with noise."""
    rng = np.random.default_rng(len(images.features) + count)
    generated = scale * rng.normal(size=(count, DIMENSIONS))
    copies = round(share * count)
    chosen = rng.integers(len(images.features), size=copies)
    generated[:copies] = images.features[chosen] + noise * rng.normal(size=(copies, DIMENSIONS))
    return generated


def old_z(generated: np.ndarray, images: TrainedOn) -> float:
    """copying_z of the metric `memorization`."""
    real = RealFeatures(reference=images.held_out, train=images.features)
    config = MetricsConfig(names=("memorization",), extractor="pixels")
    values = measure(Comparison(generated=generated, real=real), config).values
    return values["copying_z/pixels"]


def test_ten_percent_less_spread_is_no_copying() -> None:
    """The mean over 10 draws is within four of its standard errors of 0; copying_z is below -3."""
    draws = [(known(seed), draw(known(seed), 500, scale=0.9)) for seed in range(10)]
    found = [nearest_z(generated, images) for images, generated in draws]
    assert abs(np.mean(found)) < 4 / np.sqrt(10)
    assert np.mean([old_z(generated, images) for images, generated in draws]) < -3


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.7, 0.8, 0.9, 1.0, 1.1])
@pytest.mark.parametrize("held_out", [1000, 250])
def test_samples_that_are_no_copies_have_a_standard_normal_score(scale, held_out) -> None:
    """Of 200 draws: mean 0 and deviation 1 within four standard errors, at most two beyond 3."""
    found = np.array(
        [
            nearest_z(draw(images, 500, scale=scale), images)
            for images in (known(seed, trained=1000, held_out=held_out) for seed in range(200))
        ]
    )
    assert abs(found.mean()) < 4 / np.sqrt(200)
    assert found.std() == pytest.approx(1, abs=4 / np.sqrt(400))
    assert np.sum(np.abs(found) > 3) <= 2


@pytest.mark.parametrize("scale", [1.0, 0.9])
@pytest.mark.parametrize(
    ("share", "noise", "count"),
    [
        (0.01, 0.0, 3000),
        (0.01, 0.1, 6000),
        *((0.05, noise, 1000) for noise in (0.0, 0.1)),
        *((0.2, noise, 1000) for noise in (0.0, 0.1, 0.3)),
    ],
)
def test_copies_are_found(scale, share, noise, count) -> None:
    """Exact ones and noisy ones, 30 or more; fresh images are at a distance of about 1.5."""
    images = known(1, trained=1000, held_out=1000)
    assert nearest_z(draw(images, count, scale=scale, share=share, noise=noise), images) > 3


def test_the_score_is_that_of_all_permutations() -> None:
    """Mean and variance over 20,000 permutations within two strata, with an image that repeats."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(24, 2))
    points[5] = points[4]
    strata, generated = np.arange(24) % 2, rng.normal(size=(40, 2))

    def z(trained: np.ndarray) -> float:
        return nearest_z(
            generated,
            TrainedOn(
                features=points[trained],
                strata=strata[trained],
                held_out=points[~trained],
                held_out_strata=strata[~trained],
            ),
        )

    found = []
    for _ in range(2000):
        trained = np.zeros(24, bool)
        trained[2 * rng.permutation(12)[:8]] = True
        trained[2 * rng.permutation(12)[:3] + 1] = True
        found.append(z(trained))
    assert abs(np.mean(found)) < 4 / np.sqrt(2000)
    assert np.std(found) == pytest.approx(1, abs=4 / np.sqrt(4000))


def test_an_origin_that_is_only_in_the_pool_tells_nothing() -> None:
    """Its images are not compared with, as nothing like them is held out."""
    images, generated = known(2), draw(known(2), 100)
    rng = np.random.default_rng(3)
    more = TrainedOn(
        features=np.concatenate([images.features, rng.normal(size=(50, DIMENSIONS))]),
        strata=np.repeat([0, 1], [200, 50]),
        held_out=images.held_out,
        held_out_strata=images.held_out_strata,
    )
    assert nearest_z(generated, more) == nearest_z(generated, images)


def test_nothing_held_out_leaves_the_number_out() -> None:
    images = known(4)
    alone = TrainedOn(
        features=images.features,
        strata=images.strata,
        held_out=images.held_out,
        held_out_strata=images.held_out_strata + 1,
    )
    assert np.isnan(nearest_z(draw(images, 50), alone))


def test_the_ranks_of_distances_confuse_the_two() -> None:
    """The reason: narrowed samples have smaller distances to anything, training images included."""
    images = known(5)
    narrowed, wide = draw(images, 500, scale=0.7), draw(images, 500)
    distances = [
        np.linalg.norm(x[:, None] - images.features, axis=2).min(axis=1) for x in (narrowed, wide)
    ]
    assert rank_z(*distances) < -10


LINEAGE = {
    "model.family": "gaussian",
    "metrics.names": ["copying"],
    "metrics.images": "separate",
    "metrics.num_images": 20,
    "generations": 3,
}


@pytest.mark.parametrize("more", [{}, {"model.conditional": True}, {"ensemble.size": 2}])
def test_a_lineage_compares_with_its_pools(more, tmp_path: Path) -> None:
    """V_1's pool is the real training images, so both numbers are equal; V_3's has two origins."""
    run = make_run(make_lineage({**LINEAGE, **more}), open_store(tmp_path))
    found = [record for g in run.generations() for record in g.metrics]
    numbers = [record.values for record in found]
    first = numbers[0]
    assert first["pool_nearest_z/pixels"] == pytest.approx(first["train_nearest_z/pixels"])
    last = run.nodes[-1].metrics[0]
    compared = trained_on(run.sources, last, run._measurement.real(last.config))
    assert compared is not None
    assert len(compared.features) == run.nodes[-1].num_images
    assert len(compared.held_out) == len(run.data.reference) + 2 * 20
    held_out = {stream for stream, _ in streams_of(last.held_out)}
    assert held_out.isdisjoint(stream for stream, _ in streams_of(last.pool))


def test_copies_of_synthetic_images_are_found_in_the_pool_alone(tmp_path: Path) -> None:
    """A model that repeats S_1, as measured for V_2.

    V_1 is a fit to 1,000 images, as a fit to fewer than the 64 pixels would be near to all of them.
    """
    changes = {**LINEAGE, "data.train_limit": 1000, "metrics.num_images": 300}
    run = make_run(make_lineage(changes), open_store(tmp_path))
    list(run.generations())
    node = run.nodes[1]
    (plan,) = node.metrics
    copies = node.pool[1:]
    measurement = run._measurement
    record = measurement.measure(
        plan,
        run.sources.images(copies),
        run.sources.features(copies, plan.config),
        pool=trained_on(run.sources, plan, measurement.real(plan.config)),
        started=0,
    )
    assert record.values["pool_nearest_z/pixels"] > 5
    assert abs(record.values["train_nearest_z/pixels"]) < 3


def test_pools_are_compared_with_only_if_the_metric_asks() -> None:
    from tiny_sweep import CARD

    from sweep.planning.nodes import plan_lineage

    for names, asked in ((["copying"], True), (["memorization"], False)):
        nodes = plan_lineage(make_lineage({**LINEAGE, "metrics.names": names}), CARD)
        assert [bool(plan.pool) for node in nodes for plan in node.metrics] == [asked] * 3
