"""Facts of images that are looked at before they enter a pool: by probes and by filters."""

import hashlib
import io
import shutil
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_sweep import CARD, make_lineage, make_run, numbers_of

from model.config import MetricsConfig
from model.features.extractors import EXTRACTORS, extract_features
from model.features.probe import fit_probe
from model.filters.table import FILTERS
from sweep.lineage.pool_images import selection_key
from sweep.lineage.run import LineageRun
from sweep.planning.keys import store_key
from sweep.planning.nodes import plan_lineage
from sweep.planning.pool import Segment, Selected, Source, random_positions
from sweep.store.folder import CorruptError
from sweep.store.store import Store, open_store

GAUSSIAN = {
    "model.family": "gaussian",
    "data.train_limit": 200,
    "filter.extractor": "pixels",
    "metrics.num_images": 50,
}
CONCENTRATED = {**GAUSSIAN, "pool.concentration": 0.5, "pool.focal_classes": ["1"]}
LOST = {**CONCENTRATED, "pool.concentration": 0.9, "pool.draws_per_image": 1.0}
FILTERED = {**GAUSSIAN, "filter.name": "typicality", "filter.candidates": 3.0}
PIXELS = MetricsConfig(names=(), extractor="pixels")


class Interrupted(Exception):
    """Raised in the place of a kill."""


def computed(changes: Mapping[str, Any], root: Path, **settings: Any) -> LineageRun:
    """A lineage, after its generations were computed."""
    run = make_run(make_lineage(changes), open_store(root), **settings)
    list(run.generations())
    return run


@pytest.fixture(scope="module")
def concentrated(tmp_path_factory: pytest.TempPathFactory) -> LineageRun:
    return computed(CONCENTRATED, tmp_path_factory.mktemp("concentrated"))


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> LineageRun:
    return computed(FILTERED, tmp_path_factory.mktemp("filtered"))


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> LineageRun:
    """A lineage whose first model makes too few ones."""
    return computed(LOST, tmp_path_factory.mktemp("lost"))


def selected(source: Source) -> Selected:
    assert isinstance(source, Selected)
    return source


def stream_images(run: LineageRun, count: int) -> np.ndarray:
    """The first images of V_1's stream."""
    segment = Segment(kind="synthetic", source=run.nodes[0].stream, start=0, stop=count)
    return run.sources.stream_images(segment)


def digits_probe(run: LineageRun):
    """A classifier of the train images' pixels, fitted here."""
    train, labels = run.data.train, run.data.labels
    assert labels is not None
    features = extract_features(run.data.images[train], PIXELS, device="cpu")
    return fit_probe(features, labels[train], num_classes=10)


def test_images_of_a_class_are_those_that_a_probe_says_are(concentrated: LineageRun) -> None:
    """Of all ten digits that enter."""
    probe = digits_probe(concentrated)
    for source in concentrated.nodes[0].new:
        images = concentrated.sources.images((source,))
        features = extract_features(images, PIXELS, device="cpu")
        assert set(probe.predict(features)) == {selected(source).label}


def test_they_are_the_first_of_their_class_in_the_stream(concentrated: LineageRun) -> None:
    """None is skipped, and the order is the stream's."""
    sources = [selected(source) for source in concentrated.nodes[0].new]
    positions = [concentrated.sources.choose(source) for source in sources]
    images = stream_images(concentrated, max(kept.max() for kept in positions) + 1)
    said = digits_probe(concentrated).predict(extract_features(images, PIXELS, device="cpu"))
    for source, kept in zip(sources, positions, strict=True):
        assert kept.tolist() == np.flatnonzero(said == source.label)[: source.keep].tolist()


def test_the_next_model_trains_on_the_planned_numbers_of_each_class(concentrated) -> None:
    """200 real digits, and 100 more: half are ones, the others as the pool (20 of each in 200)."""
    record = concentrated.store.nodes.read(concentrated.nodes[1].key)
    real = concentrated.store.nodes.read(concentrated.nodes[0].key).class_counts
    names = concentrated.card.class_names
    added = [record.class_counts[name] - real[name] for name in names]
    assert sum(added) == 100
    assert added[1] == pytest.approx(55, abs=1)
    assert record.origins == {"0": 200, "1": 100}


def test_a_pools_labels_are_those_of_its_images(concentrated: LineageRun) -> None:
    """Real ones by the data, new ones by the class they were found for."""
    pool = concentrated.nodes[1].pool
    labels = concentrated.sources.labels(pool)
    assert concentrated.data.labels is not None
    real = concentrated.data.labels[concentrated.data.train]
    assert labels[:200].tolist() == real.tolist()
    found = digits_probe(concentrated).predict(
        extract_features(concentrated.sources.images(pool)[200:], PIXELS, device="cpu")
    )
    assert labels[200:].tolist() == found.tolist()


def test_features_of_a_pool_are_those_of_its_images(concentrated: LineageRun) -> None:
    """Real, drawn, and selected; read block by block."""
    pool = concentrated.nodes[1].pool
    part = (Segment(kind="synthetic", source=concentrated.nodes[0].stream, start=150, stop=290),)
    for images in (pool, part):
        found = concentrated.sources.features(images, PIXELS)
        expected = extract_features(concentrated.sources.images(images), PIXELS, device="cpu")
        assert np.array_equal(found, expected)


def test_a_part_of_a_stream_is_read_by_its_blocks(concentrated: LineageRun) -> None:
    """Images 150 to 290 are in blocks 1 and 2."""
    part = Segment(kind="synthetic", source=concentrated.nodes[0].stream, start=150, stop=290)
    whole = stream_images(concentrated, 290)
    assert np.array_equal(concentrated.sources.stream_images(part), whole[150:])


def test_a_lost_class_makes_the_next_model_diverge(lost: LineageRun) -> None:
    """It says which model made how many of what, and which setting limits the search."""
    first, second = (lost.store.nodes.read(node.key) for node in lost.nodes)
    assert (first.status, second.status) == ("done", "diverged")
    assert second.reason is not None
    assert second.reason.startswith("V_1 made ")
    assert second.reason.endswith("but 91 were needed (pool.draws_per_image)")
    assert f"images of class {lost.card.class_names[1]} in 100" in second.reason


def test_a_diverged_models_unknown_images_are_not_counted(lost: LineageRun) -> None:
    """Its pool is known by origin and class from the plan."""
    assert lost.store.nodes.read(lost.nodes[1].key).origins == {"0": 200, "1": 100}


def test_a_mixture_that_cannot_be_made_has_a_record_without_numbers(lost: LineageRun) -> None:
    """With the reason as its warning, so that the sweep goes on and a table shows a gap."""
    (plan,) = lost.nodes[0].mixture
    record = lost.store.read_metrics(lost.nodes[0].key, plan.spec)
    assert record is not None
    assert (record.values, record.num_images) == ({}, 0)
    assert "pool.draws_per_image" in record.warnings[0]


def test_filtered_images_are_some_of_the_candidates_in_their_order(filtered) -> None:
    """100 of the first 300 of the stream."""
    (source,) = filtered.nodes[0].new
    kept = filtered.sources.choose(selected(source))
    assert len(kept) == 100
    assert (np.diff(kept) > 0).all()
    entered = filtered.sources.images(filtered.nodes[1].pool)[200:]
    assert np.array_equal(entered, stream_images(filtered, 300)[kept])


def test_scores_of_all_candidates_are_kept(filtered: LineageRun) -> None:
    """Of typicality, distances: no image that was dropped is nearer than one that was kept."""
    (source,) = filtered.nodes[0].new
    key = selection_key(selected(source))
    kept, scores = (filtered.store.read_block(key, i, shelf="selections") for i in (0, 1))
    assert scores.shape == (300,)
    assert scores[kept].max() <= np.delete(scores, kept).min()


def files_of(root: Path, folder: str = "") -> dict[str, bytes]:
    """Every file's bytes, without what differs from run to run."""
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted((root / folder).rglob("*"))
        if p.is_file() and p.name not in ("record.json", "card.json") and "metrics" not in p.parts
    }


def stamps_of(root: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["filtered", "concentrated", "lost"])
def test_a_second_run_selects_nothing_anew(name: str, request: pytest.FixtureRequest) -> None:
    """No file is added or written again."""
    run: LineageRun = request.getfixturevalue(name)
    assert isinstance(run.store, Store)
    before = stamps_of(Path(run.store.location))
    list(make_run(run.config, run.store).generations())
    assert stamps_of(Path(run.store.location)) == before


@pytest.mark.parametrize("block", [0, 1])
def test_a_damaged_selection_is_made_anew(block: int, tmp_path: Path) -> None:
    """To the same bytes."""
    run = computed(FILTERED, tmp_path)
    (source,) = run.nodes[0].new
    before = files_of(tmp_path, "selections")
    key = selection_key(selected(source))
    path = sorted(p for p in tmp_path.glob(f"selections/**/{key}/*") if p.is_file())[block]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CorruptError):
        run.store.read_block(key, block, shelf="selections")
    run.sources.choose(selected(source))
    assert files_of(tmp_path, "selections") == before


def test_a_damaged_block_of_a_class_is_drawn_anew_where_a_filter_looks_at_it(
    tmp_path: Path,
) -> None:
    """Not only where images are read; its features and all selections are gone, too."""
    run = computed(FILTERED | {"model.conditional": True}, tmp_path)
    before = files_of(tmp_path, "streams")
    source = selected(run.nodes[0].new[0])
    (segment,) = source.of
    assert isinstance(segment, Segment)
    folder = tmp_path / "streams" / store_key(segment.source, segment.label)
    path = min(path for path in folder.iterdir() if path.is_file())
    path.write_bytes(path.read_bytes()[:-3])
    for shelf in ("features", "selections"):
        shutil.rmtree(tmp_path / shelf)
    kept = make_run(run.config, open_store(tmp_path)).sources.choose(source)
    assert (kept == run.sources.choose(source)).all()
    assert files_of(tmp_path, "streams") == before


@pytest.mark.parametrize("changes", [CONCENTRATED, FILTERED])
@pytest.mark.parametrize("call", [2, 5])
@pytest.mark.slow
def test_a_killed_lineage_goes_on_to_the_same_bytes(changes, call: int, tmp_path: Path) -> None:
    """Of every node, stream, feature and selection."""
    calls = iter(range(call))

    def interrupt(position: dict[str, Any]) -> None:
        if next(calls, None) is None:
            raise Interrupted

    with pytest.raises(Interrupted):
        computed(changes, tmp_path / "killed", on_progress=interrupt)
    again = make_run(make_lineage(changes), open_store(tmp_path / "killed"))
    whole = make_run(make_lineage(changes), open_store(tmp_path / "whole"))
    found = [[numbers_of(g) for g in run.generations()] for run in (again, whole)]
    assert found[0] == found[1]
    for folder in ("selections", "streams", "features", "generations"):
        assert files_of(tmp_path / "killed", folder) == files_of(tmp_path / "whole", folder)


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "none"])
def test_every_filter_fills_a_pool(name: str, tmp_path: Path) -> None:
    """With its planned size, from a model of digits."""
    judge = {"filter.name": name, "filter.candidates": 4.0}
    chosen = {"filter.reward_class": "1"} if name == "reward" else {}
    run = computed({**GAUSSIAN, **judge, **chosen, "metrics.names": []}, tmp_path)
    record = run.store.nodes.read(run.nodes[1].key)
    assert (record.status, record.num_images) == ("done", 300)
    assert record.origins == {"0": 200, "1": 100}


def test_a_rewarded_class_by_its_name_or_number_is_one_key() -> None:
    """The recipe holds its name."""
    named = {**GAUSSIAN, "filter.name": "reward", "filter.candidates": 4.0}
    first, second = (
        plan_lineage(make_lineage({**named, "filter.reward_class": word}), CARD)[1].key
        for word in ("1", "one")
    )
    assert first == second


def test_a_random_subset_is_the_images_at_its_positions(tmp_path: Path) -> None:
    """Of the real ones and V_1's."""
    settings = {"pool.rule": "subsample", "pool.alpha": None, "metrics.names": []}
    run = computed({**GAUSSIAN, **settings}, tmp_path)
    (source,) = run.nodes[1].pool
    everything = np.concatenate([run.data.images[run.data.train], stream_images(run, 200)])
    positions = random_positions(selected(source))
    assert np.array_equal(run.sources.images(run.nodes[1].pool), everything[positions])
    record = run.store.nodes.read(run.nodes[1].key)
    assert record.origins == {"0": (positions < 200).sum(), "1": (positions >= 200).sum()}


def test_a_member_that_filters_its_pool_trains_on_what_is_kept(tmp_path: Path) -> None:
    """Half of the real images; what they are, a look tells the record."""
    words = "data=filtered filter.name=typicality filter.candidates=2"
    run = computed({**GAUSSIAN, "ensemble.members": [words], "metrics.names": []}, tmp_path)
    record = run.store.nodes.read(run.nodes[0].key)
    assert (record.num_images, record.origins) == (100, {"0": 100})
    assert sum(record.class_counts.values()) == 100
    with np.load(io.BytesIO(run.store.nodes.read_file(record.key, "curves.npz"))) as curves:
        assert list(curves) == []


def test_a_file_of_the_published_weights_is_the_one_that_is_read(
    tmp_path: Path, monkeypatch
) -> None:
    """Published weights are in no key, but where they lie only the settings tell."""
    path = tmp_path / "published.pt"
    path.write_bytes(b"weights")
    published = replace(
        EXTRACTORS["inception"], published_sha256=hashlib.sha256(b"weights").hexdigest()
    )
    monkeypatch.setitem(EXTRACTORS, "inception", published)
    changes = {**FILTERED, "filter.extractor": "inception", "filter.weights": str(path)}
    run = make_run(make_lineage(changes), open_store(tmp_path))
    (selected,) = [source for source in run.nodes[1].pool if isinstance(source, Selected)]
    assert "weights" not in selected.by
    assert run.sources.judge(selected).weights == str(path)


def test_a_pool_takes_little_more_memory_than_its_images(concentrated) -> None:
    """Blocks are copied into it one by one."""
    sources, stream = concentrated.sources, concentrated.nodes[0].stream
    real = concentrated.nodes[0].pool
    drawn = Segment(kind="synthetic", source=stream, start=10, stop=20_000, generation=1)
    sources.fill((drawn,))
    tracemalloc.start()
    images = sources.images((*real, drawn, *real))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert images.nbytes < peak < 1.1 * images.nbytes
    data = concentrated.data
    train = data.images[data.train]
    whole = np.concatenate([train, stream_images(concentrated, 20_000)[10:], train])
    assert np.array_equal(images, whole)
