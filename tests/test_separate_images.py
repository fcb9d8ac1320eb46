"""Facts of metrics.images=separate: measured images have a stream of their own."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from test_entering import PROBED, labels_of, nodes_of
from test_oracles import gaussian
from tiny_sweep import make_lineage, make_run, make_sweep, plan, write_noise

from model.config import MetricsConfig
from sweep.lineage.run import LineageRun
from sweep.planning.measurements import selection_metrics
from sweep.planning.new_images import streams_of
from sweep.planning.pool import Pool, Selected
from sweep.store.store import open_store

SEPARATE = {"metrics.images": "separate"}


def streams(pool: Pool) -> set[str]:
    return {stream for stream, _ in streams_of(pool)}


def test_separate_images_differ_from_those_that_enter_the_pool(tmp_path: Path) -> None:
    run = make_run(make_lineage(SEPARATE), open_store(tmp_path))
    list(run.generations())
    for node in run.nodes:
        (measured,) = node.metrics
        images = run.sources.images(measured.images)
        entering = run.sources.images(replace_stream(measured.images, node.stream))
        assert images.shape == entering.shape
        assert (images != entering).reshape(len(images), -1).any(axis=1).all()


def replace_stream(pool: Pool, stream: str) -> Pool:
    return tuple(replace(segment, source=stream) for segment in pool)


def test_models_do_not_depend_on_what_is_measured() -> None:
    """Nor on a second specification; only the names of metrics files change."""
    (one,), (other,) = (plan(make_sweep(base=make_lineage(changes))) for changes in ({}, SEPARATE))
    assert [node.key for node in one.nodes] == [node.key for node in other.nodes]
    assert one.own_spec != other.own_spec
    assert "images" not in one.nodes[0].metrics[0].inputs["metrics"]


def test_a_checkpoint_is_selected_in_the_same_way() -> None:
    config = make_lineage()
    metrics = MetricsConfig(images="separate")
    assert selection_metrics(replace(config, metrics=metrics)) == selection_metrics(
        replace(config, metrics=MetricsConfig())
    )


@pytest.mark.parametrize("kind", ["quota", "multinomial"])
def test_a_mixture_is_measured_on_separate_images_too(kind: str) -> None:
    """Filters and draws of classes choose them by random numbers of their own."""
    labels = labels_of([30, 30])
    base = {**PROBED, "metrics.names": ["kid"], **SEPARATE}
    pool = {"concentration": 0.5, "focal_classes": ["0"], "labels": kind, "alpha": 1.0}
    judge = {"name": "random", "candidates": 2.0}
    node = nodes_of(labels, base, filter=judge, **pool)[0]
    (mixture,) = node.mixture
    assert streams(mixture.images).isdisjoint(streams(node.new))
    assert streams(mixture.images) <= node.sampled.keys()
    seeds = [
        {str(source.by["seed"]) for source in part if isinstance(source, Selected)}
        for part in (mixture.images, node.new)
    ]
    assert all(seeds)
    assert seeds[0].isdisjoint(seeds[1])


def test_drawn_classes_of_separate_images_are_drawn_anew() -> None:
    """Over 60 seeds the number of one class among 20 correlates with itself, not with the other."""
    labels = labels_of([10, 10])
    counts = {"entering": [], "separate": []}
    for images in counts:
        base = {**PROBED, "metrics.names": ["kid"], "metrics.num_images": 20}
        pool = {"concentration": 0.2, "focal_classes": ["0"], "labels": "multinomial", "alpha": 1.0}
        for seed in range(60):
            first = nodes_of(labels, {**base, "metrics.images": images}, seed=seed, **pool)[0]
            parts = (first.mixture[0].images, first.new)
            counts[images].append([len(next(s for s in p if s.label == 0)) for p in parts])
    entering, separate = (np.corrcoef(np.array(counts[k]).T)[0, 1] for k in counts)
    assert entering == pytest.approx(1)
    assert abs(separate) < 4 / np.sqrt(60)


def measured_and_next(folder: Path, images: str, num_seeds: int) -> np.ndarray:
    """(num_seeds, 2): error of V_1's measured mean, and how far V_2's mean moves from V_1's.

    Gaussian fits to 64 values under rule replace, measured on 64 images.
    """
    path = write_noise(folder / "noise.npz", num_images=80, shape=(1, 4, 4))
    rows = []
    for seed in range(num_seeds):
        with TemporaryDirectory() as root:
            config = gaussian(
                path,
                seed=seed,
                **{
                    "pool.rule": "replace",
                    "pool.alpha": None,
                    "data.split": "stratified",
                    "data.image_size": 4,
                    "metrics.names": ["kid"],
                    "metrics.num_images": 64,
                    "metrics.images": images,
                },
            )
            run = make_run(config, open_store(root))
            list(run.generations())
            rows.append(errors(run))
    return np.array(rows)


def errors(run: LineageRun) -> tuple[float, float]:
    first = run.nodes[0]
    own, following = (fitted_mean(run, node) for node in run.nodes)
    measured = run.sources.images(first.metrics[0].images).mean(axis=(0, 2, 3))
    return float((measured - own).sum()), float((following - own).sum())


def fitted_mean(run: LineageRun, node) -> np.ndarray:
    from sweep.lineage.sample_streams import read_weights

    mean = read_weights(run.store, node).tensors["ema.mean"].numpy()
    return mean.reshape(run.card.shape).mean(axis=(1, 2))


def test_the_measured_error_of_images_that_enter_the_pool_is_the_next_models(tmp_path: Path):
    """The mean of the measured images is the next model's; that of separate ones is not."""
    (entering,), (separate,) = (
        measured_and_next(tmp_path, images, 1) for images in ("entering", "separate")
    )
    assert entering[0] == pytest.approx(entering[1], abs=1e-4)
    assert abs(separate[0] - separate[1]) > 0.01
    assert separate[1] == pytest.approx(entering[1])


@pytest.mark.slow
@pytest.mark.parametrize(("images", "expected"), [("entering", 1.0), ("separate", 0.0)])
def test_errors_of_neighbouring_generations(images: str, expected: float, tmp_path: Path) -> None:
    """The measured mean errs as the next model does, exactly if the images are the same ones.

    Separate images leave no correlation: within four standard errors of 40 lineages.
    """
    measured, moved = measured_and_next(tmp_path, images, 40).T
    tolerance = 1e-3 if expected else 4 / np.sqrt(40)
    assert np.corrcoef(measured, moved)[0, 1] == pytest.approx(expected, abs=tolerance)
