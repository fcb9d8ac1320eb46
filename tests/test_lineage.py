"""Facts of the lineage loop: what it computes, shares and measures, and where it stops."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from every_family import EVERY_FAMILY
from PIL import Image
from tiny_sweep import compute, make_lineage, make_run, numbers_of
from tiny_training import new_stream

from model.blocks import SAMPLE_BATCH
from model.checkpoint import Checkpoint
from model.images import to_bytes
from model.metrics.table import RealImages, evaluate_images
from model.randomness import Purpose
from sweep.lineage.curves import CURVE_POINTS, dump_curves
from sweep.lineage.run import WEIGHTS, Generation
from sweep.planning.measurements import plan_metrics
from sweep.planning.nodes import plan_lineage
from sweep.store.store import Store, open_store

GOLDEN_SETTINGS = {
    "train.steps": 20,
    "train.lr": 1e-2,
    "train.weight_decay": 0.5,
    "train.adam_eps": 1e-3,
    "train.hflip": True,
    "train.ema_init": "independent",
    "train.ema_decay": 0.9,
    "model.bn_eps": 0.1,
}
GOLDEN = (0.48268145, 0.53047641, 0.54602022)
"""V_2's final loss, pixel mean and KID."""
DIVERGING = {"train.lr": 1e30, "train.steps": 40}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the tiny lineage of three generations."""
    store = open_store(tmp_path_factory.mktemp("shared"))
    compute(make_lineage(generations=3), store)
    return store


def weights(store: Store, key: str) -> Checkpoint:
    return Checkpoint.from_bytes(store.nodes.read_file(key, WEIGHTS))


def trained(stages: list[dict]) -> list[int]:
    """Generations that were trained, by the progress reported."""
    return sorted({said["generation"] for said in stages if said["stage"] == "train"})


def watched(config, store: Store, **settings) -> tuple[list[Generation], list[dict]]:
    said: list[dict] = []
    return compute(config, store, on_progress=said.append, **settings), said


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_the_same_settings_give_the_same_numbers_in_another_store(family, tmp_path) -> None:
    """Weights, every file, samples and metrics, bit for bit."""
    config = make_lineage({"model.family": family})
    first, second = (
        [numbers_of(g) for g in compute(config, open_store(tmp_path / name))] for name in "ab"
    )
    assert first == second


def test_the_numbers_of_a_tiny_lineage_are_what_they_were(store: Store) -> None:
    """Golden: a change of numerics needs a new NUMERICS_VERSION.

    A change of 2 % in the rate, the decays or the epsilons, or another schedule or loss, moves one
    of the numbers by more than the tolerance; two threads or other vector units moved none.
    """
    second = compute(make_lineage(GOLDEN_SETTINGS), store)[1]
    (metrics,) = second.metrics
    values = metrics.values
    found = (second.node.final_loss, values["pixel_mean"], values["kid/pixels"])
    assert found == pytest.approx(GOLDEN, rel=1e-4)


def test_what_is_done_is_not_computed_again(shared: Store) -> None:
    """The same command again has nothing to report."""
    generations, said = watched(make_lineage(generations=3), shared)
    assert len(generations) == 3
    assert said == []


def test_a_longer_lineage_computes_what_is_new(store: Store) -> None:
    """V_3 alone."""
    first = compute(make_lineage(), store)
    longer, said = watched(make_lineage(generations=3), store)
    assert trained(said) == [3]
    assert [g.reused for g in (*first, *longer)] == [False, False, True, True, False]
    assert [numbers_of(g) for g in longer[:2]] == [numbers_of(g) for g in first]


def test_another_alpha_shares_the_first_model_and_its_samples(store: Store) -> None:
    """Alpha 4 needs 160 images where 20 were drawn: one more block, and the old one as it was."""
    first = compute(make_lineage(), store)
    before = sorted(
        path for path in (Path(store.location) / "streams").rglob("*") if path.is_file()
    )
    stamps = [path.stat().st_mtime_ns for path in before]
    second, said = watched(make_lineage({"pool.alpha": 4.0}), store)
    assert trained(said) == [2]
    assert numbers_of(first[0]) == numbers_of(second[0])
    assert [path.stat().st_mtime_ns for path in before] == stamps


def test_samples_do_not_depend_on_which_alpha_came_first(tmp_path: Path) -> None:
    """Either order leaves the same blocks and models."""
    configs = [make_lineage({"pool.alpha": alpha}) for alpha in (0.5, 4.0)]
    found = []
    for name, order in (("a", configs), ("b", configs[::-1])):
        store = open_store(tmp_path / name)
        for config in order:
            compute(config, store)
        streams = {
            str(p.relative_to(Path(store.location))): p.read_bytes()
            for p in (Path(store.location) / "streams").rglob("*.safetensors")
        }
        found.append((streams, [[numbers_of(g) for g in compute(c, store)] for c in configs]))
    assert found[0] == found[1]


def test_a_pool_is_the_real_images_and_the_streams_first_ones(shared: Store) -> None:
    """In the order of its recipe."""
    run = make_run(make_lineage(generations=3), shared)
    nodes = plan_lineage(run.config, run.card)
    images = run.sources.images(nodes[2].pool)
    streams = [shared.read_block(node.stream, 0)[: node.num_new] for node in nodes[:2]]
    expected = np.concatenate([run.data.images[run.data.train], *streams])
    assert (images == expected).all()
    assert len(images) == 40 + 20 + 30


def test_under_replace_the_pool_is_the_last_models_images(store: Store) -> None:
    """No real image is left in V_2's."""
    config = make_lineage({"pool.rule": "replace", "pool.alpha": None, "generations": 3})
    origins = [g.node.origins for g in compute(config, store)]
    assert origins == [{"0": 40}, {"1": 40}, {"2": 40}]


def test_every_image_of_a_pool_has_its_provenance_on_disk(shared: Store) -> None:
    """Source, range and origin of each segment."""
    run = make_run(make_lineage(generations=3), shared)
    nodes = plan_lineage(run.config, run.card)
    manifest = json.loads(shared.nodes.read_file(nodes[2].key, "pool.json"))
    assert manifest["num_images"] == 90
    assert manifest["segments"] == nodes[2].inputs["recipe"]
    assert [s["source"] for s in manifest["segments"]] == [
        run.card.fingerprint,
        nodes[0].stream,
        nodes[1].stream,
    ]


def test_a_stream_is_what_its_checkpoint_draws(shared: Store) -> None:
    """From the noise of (seed, generation, member), whole blocks."""
    run = make_run(make_lineage(generations=3), shared)
    node = plan_lineage(run.config, run.card)[1]
    drawn = new_stream(weights(shared, node.key), run.config.sample, seed=(0, 2, 0)).block(0)
    block = shared.read_block(node.stream, 0)
    assert len(block) == SAMPLE_BATCH
    assert (block == drawn).all()


def test_previews_of_all_generations_show_the_same_noise(shared: Store) -> None:
    """The seed of (lineage, member), without the generation."""
    run = make_run(make_lineage(generations=3), shared)
    for node in plan_lineage(run.config, run.card):
        stream = new_stream(
            weights(shared, node.key), run.config.sample, seed=(0, 0), purpose=Purpose.PREVIEW
        )
        drawn = stream.block(0)
        png = shared.nodes.read_file(node.key, "preview.png")
        sheet = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
        assert (sheet[:8, 16:24] == to_bytes(drawn[2:3], limits=(0, 1)).reshape(8, 8)).all()


def test_metrics_compare_the_streams_first_images_with_the_reference(shared: Store) -> None:
    """The very images that enter the pool."""
    run = make_run(make_lineage(generations=3), shared)
    node = plan_lineage(run.config, run.card)[0]
    plan = plan_metrics(run.config, run.card)
    assert plan is not None
    record = shared.read_metrics(node.key, plan.spec)
    images = shared.read_block(node.stream, 0)[:16]
    reference = run.data.images[run.data.reference]
    assert record is not None
    assert (
        record.values
        == evaluate_images(images, RealImages(reference=reference), run.config.metrics).values
    )
    assert (record.num_images, record.num_reference) == (16, len(reference))


def test_measured_images_may_have_a_sampler_of_their_own(store: Store) -> None:
    """A second stream of the same node."""
    first = compute(make_lineage(generations=1), store)[0]
    config = make_lineage({"generations": 1, "metrics.sample_steps": 3})
    (second,), said = watched(config, store)
    assert trained(said) == []
    assert first.node == second.node
    streams = {record.stream for g in (first, second) for record in g.metrics}
    assert len(streams) == 2


def test_damaged_numbers_are_measured_again(store: Store) -> None:
    """To the same values."""
    config = make_lineage(generations=1)
    (first,) = compute(config, store)
    (path,) = Path(store.location).glob("generations/*/metrics/*.json")
    path.write_bytes(path.read_bytes()[:20])
    assert numbers_of(compute(config, store)[0]) == numbers_of(first)


def test_a_finished_lineage_leaves_no_scratch_and_no_claim(store: Store) -> None:
    """States are saved after every 20 steps here."""
    compute(make_lineage({"train.steps": 60}), store, checkpoint_seconds=1e-9)
    assert list((Path(store.location) / "work").iterdir()) == []


def test_progress_says_where_the_lineage_stands(store: Store) -> None:
    """In the words that the display and `sweep status` show."""
    _, said = watched(make_lineage(), store, name="tiny")
    stages = [(s["generation"], s["stage"]) for s in said]
    assert list(dict.fromkeys(stages)) == [
        (1, "train"),
        (1, "sample"),
        (1, "measure"),
        (2, "train"),
        (2, "sample"),
        (2, "measure"),
    ]
    assert {(s["lineage"], s["generations"]) for s in said} == {("tiny", 2)}


def test_a_diverged_model_is_a_result_and_ends_its_lineage(store: Store) -> None:
    """No weights, no samples, no second generation."""
    generations = compute(make_lineage(DIVERGING), store)
    (record,) = [g.node for g in generations]
    assert record.status == "diverged"
    assert record.reason is not None
    assert generations[0].metrics == ()
    assert sorted(record.files) == ["config.json", "pool.json"]


def test_a_diverged_model_is_not_trained_again(store: Store) -> None:
    """The same settings would diverge again."""
    (first,) = compute(make_lineage(DIVERGING), store)
    (second,), said = watched(make_lineage(DIVERGING), store)
    assert (first, said) == (second, [])


def test_samples_that_are_all_the_same_are_divergence(store: Store, tmp_path: Path) -> None:
    """A model of one repeated image has nothing to draw."""
    np.savez(tmp_path / "same.npz", images=np.ones((6, 8, 8), np.float32))
    config = make_lineage(
        {
            "model.family": "gaussian",
            "data": {"name": "npz", "path": str(tmp_path / "same.npz"), "dtype": "float32"},
            "data.train_limit": None,
            "data.split": "all",
            "metrics.names": [],
        }
    )
    (generation,) = compute(config, store)
    assert (generation.node.status, generation.metrics) == ("diverged", ())
    assert "same" in (generation.node.reason or "")


@pytest.mark.parametrize("names", [["kid"], ["fid"], []])
def test_weights_may_be_those_of_the_best_epoch_by_kid(names: list[str], store) -> None:
    """On the validation split, whichever metrics are asked for; the best need not be the last."""
    settings = {"train.steps": 30, "train.lr": 0.05, "generations": 1, "metrics.names": names}
    split = {"data.validation_fraction": 0.1, "data.train_limit": 40}
    last = compute(make_lineage({**settings, **split}), store)
    best = compute(make_lineage({**settings, **split, "train.select": "best_kid"}), store)
    assert last[0].node.status == best[0].node.status == "done"
    assert last[0].node.final_loss == best[0].node.final_loss
    assert last[0].node.weights_sha256 != best[0].node.weights_sha256


def test_a_long_curve_is_stored_as_means_of_bins() -> None:
    """1,001 steps in 500 bins, whose mean weighted by length is the curve's."""
    steps = np.arange(1, 1002)
    with np.load(io.BytesIO(dump_curves({"step": steps, "noise_loss": steps / 2}))) as curves:
        assert len(curves["step"]) == CURVE_POINTS
        assert (curves["noise_loss"] == curves["step"] / 2).all()
        assert curves["step"][0] == 1.5


def test_a_short_curve_is_stored_as_it_is() -> None:
    """And none at all as none."""
    with np.load(io.BytesIO(dump_curves({"step": np.arange(1, 4)}))) as curves:
        assert curves["step"].tolist() == [1, 2, 3]
    with np.load(io.BytesIO(dump_curves({}))) as curves:
        assert list(curves) == []


def test_a_seed_is_a_lineage_of_its_own(shared: Store, store: Store) -> None:
    """Weights and noise both differ."""
    first = compute(make_lineage(), shared)[0].node
    second = compute(replace(make_lineage(), seed=1), store)[0].node
    assert first.weights_sha256 != second.weights_sha256
    assert first.files["preview.png"] != second.files["preview.png"]
