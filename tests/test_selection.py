"""Facts of pool.rule=select: a filter chooses pools from all real and synthetic images so far."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_sweep import CARD, make_lineage, make_run, make_sweep, plan

from model.errors import UsageError
from sweep.estimate.forecast import split_linear
from sweep.lineage.run import LineageRun
from sweep.planning.class_counts import quota
from sweep.planning.nodes import NodePlan, plan_lineage
from sweep.planning.pool import (
    RANDOM,
    Pool,
    Segment,
    Selected,
    class_counts,
    pool_rows,
    pool_size,
    random_positions,
)
from sweep.records import NodeRecord
from sweep.store.store import open_store

SELECT = {
    "model.family": "gaussian",
    "pool.rule": "select",
    "pool.alpha": None,
    "filter.name": "farthest-point",
    "filter.extractor": "pixels",
    "metrics.names": [],
    "generations": 4,
}
CONDITIONAL = {
    **SELECT,
    "model.conditional": True,
    "pool.concentration": 0.5,
    "pool.focal_classes": ["one"],
}
PROBED = {**CONDITIONAL, "model.conditional": False}
REAL = {**SELECT, "data.train_limit": 100, "generations": 3}
"""A lineage of digits that is computed."""


def nodes_of(base: dict[str, Any] = SELECT, **changes: Any) -> list[NodePlan]:
    """Plan a lineage of the card's 40 images, of two classes."""
    return plan_lineage(make_lineage({**base, **changes}), CARD)


def the_selection(pool: Pool) -> Selected:
    (selected,) = pool
    assert isinstance(selected, Selected)
    return selected


def candidates_of(pool: Pool) -> Pool:
    """From what a pool is selected, before it is put in random order."""
    everything = the_selection(the_selection(pool).of)
    assert (everything.by["name"], everything.keep) == (RANDOM, pool_size(everything.of))
    return everything.of


# Plans


def test_candidates_are_all_real_and_synthetic_images_so_far() -> None:
    """D_1, then S_1 ... S_n, each as large as D_1; none twice, none filtered before."""
    nodes = nodes_of()
    for n, node in enumerate(nodes[1:], start=1):
        real, *synthetic = candidates_of(node.pool)
        assert (real,) == nodes[0].pool
        assert synthetic == [source for earlier in nodes[:n] for source in earlier.new]
        assert all(isinstance(source, Segment) for source in synthetic)
        assert pool_size((real, *synthetic)) == 40 * (n + 1)


def test_pools_have_the_first_ones_size_and_all_new_images_are_drawn() -> None:
    nodes = nodes_of()
    assert [node.num_images for node in nodes] == [40] * 4
    assert [node.num_drawn for node in nodes] == [40, 40, 40, 0]
    part = nodes_of(**{"pool.initial_images": 10})
    assert [node.num_images for node in part] == [10] * 4


@pytest.mark.parametrize("base", [CONDITIONAL, PROBED])
def test_with_classes_each_keeps_its_share_of_the_candidates(base) -> None:
    """The numbers are known to the plan: half of all new images are ones, the rest as the pool."""
    nodes = nodes_of(base)
    for node in nodes[1:]:
        assert node.num_images == 40
        first, second = (candidates_of((source,)) for source in node.pool)
        assert first[0] == second[0] == nodes[0].pool[0]
        assert {source.label for source in first[1:]} == {0}
        assert {source.label for source in second[1:]} == {1}
        everything = pool_rows((*first, *second[1:]), CARD.train_labels)
        expected = quota(class_counts(everything, 2), 40).tolist()
        assert [len(source) for source in node.pool] == expected
        assert class_counts(pool_rows(node.pool, CARD.train_labels), 2) == expected
    assert nodes[1].pool != nodes[2].pool


def test_members_share_one_selection() -> None:
    """All of their images are candidates, and each member sees the whole pool."""
    nodes = nodes_of(**{"ensemble.size": 2})
    first, second = (node for node in nodes if node.generation == 2)
    assert first.pool == second.pool
    members = [source for source in candidates_of(first.pool) if isinstance(source, Segment)]
    assert [(source.generation, source.member) for source in members] == [(0, 0), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"filter.name": "none"},
            "filter.name must be set with pool.rule=select, whose pool is what the filter keeps of "
            "all images so far, got 'none'",
        ),
        (
            {"filter.candidates": 2.0},
            "filter.candidates must be 1 with pool.rule=select, whose candidates are all images so "
            "far, got 2",
        ),
        (
            {"filter.name": "near-duplicates"},
            "filter.name must not be near-duplicates with pool.rule=select, because real images "
            "would be repeats of themselves",
        ),
        (
            {"filter.name": "reward"},
            "filter.name must not be reward with pool.rule=select, whose candidates are not "
            "offered in groups",
        ),
        (
            {"ensemble.size": 2, "ensemble.data": "shard"},
            "ensemble.data must be all with pool.rule=select, whose pool is not a sum of parts, "
            "got 'shard'",
        ),
        (
            {"ensemble.members": ["filter.name=random", "data=all"]},
            "ensemble.members must have the same filter with pool.rule=select, whose pool is "
            "chosen from the images of all members, got different ones",
        ),
        ({"filter.name": "far"}, "filter.name must be one of"),
        ({"pool.alpha": 1.0}, "pool.alpha must be None with pool.rule=select"),
    ],
)
def test_what_cannot_select_is_one_line(changes, message) -> None:
    with pytest.raises(UsageError) as error:
        nodes_of(**changes)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_real_images_of_every_class_are_needed_where_classes_are_compared() -> None:
    """A typical one is compared with 5 of its class, of which there are 4."""
    card = replace(CARD, num_train=8, train_labels=[0, 1] * 4)
    with pytest.raises(UsageError, match=r"^D_1 must have at least 5 real images of each class"):
        plan_lineage(make_lineage({**CONDITIONAL, "filter.name": "typicality"}), card)


def test_a_lineage_whose_pools_depend_on_pixels_has_no_forecast() -> None:
    """The others have theirs."""
    exact = {**SELECT, "model.family": "exact-gaussian"}
    grids = ({"pool.rule": ["select"]}, {"pool.rule": ["subsample"], "filter.name": ["none"]})
    lineages = plan(make_sweep(grids, make_lineage(exact)))
    linear, reasons = split_linear(lineages)
    assert [lineage.axes["pool.rule"] for lineage in linear] == ["subsample"]
    (reason,) = reasons
    assert reason.startswith("1 lineages have no forecast: filter.name must not choose from images")


# Lineages


def computed(root: Path, **changes: Any) -> LineageRun:
    run = make_run(make_lineage({**REAL, **changes}), open_store(root))
    list(run.generations())
    return run


def record_of(run: LineageRun, generation: int) -> NodeRecord:
    return run.store.nodes.read(run.nodes[generation - 1].key)


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> LineageRun:
    return computed(tmp_path_factory.mktemp("selected"))


def spacing(images: np.ndarray) -> float:
    """Mean distance of an image to its nearest neighbour."""
    flat = images.reshape(len(images), -1).astype(float)
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(axis=1).mean())


def test_a_pool_is_what_the_greedy_algorithm_keeps(selected: LineageRun) -> None:
    """The image nearest to the mean, then always the one farthest from those chosen."""
    for node in selected.nodes[1:]:
        source = the_selection(node.pool)
        candidates = selected.sources.images(source.of)
        features = candidates.reshape(len(candidates), -1).astype(float)
        chosen = [int(((features - features.mean(axis=0)) ** 2).sum(axis=1).argmin())]
        distances = np.linalg.norm(features - features[chosen[0]], axis=1)
        while len(chosen) < node.num_images:
            chosen.append(int(distances.argmax()))
            distances = np.minimum(
                distances, np.linalg.norm(features - features[chosen[-1]], axis=1)
            )
        assert selected.sources.choose(source).tolist() == sorted(chosen)
        assert np.array_equal(selected.sources.images(node.pool), candidates[sorted(chosen)])


def test_the_records_know_where_the_images_came_from(selected: LineageRun) -> None:
    """What the plan cannot know: all origins, and more real images than at random."""
    for generation in (2, 3):
        origins = record_of(selected, generation).origins
        assert sum(origins.values()) == 100
        assert set(origins) <= {str(n) for n in range(generation)}
    assert record_of(selected, 3).origins["0"] > 100 / 3


def test_a_recipe_selects_the_same_images_in_another_store(selected, tmp_path: Path) -> None:
    again = computed(tmp_path)
    for first, second in zip(selected.nodes, again.nodes, strict=True):
        assert first.key == second.key
        assert np.array_equal(
            selected.sources.images(first.pool), again.sources.images(second.pool)
        )


def test_the_first_in_order_are_the_random_subset_of_rule_subsample(tmp_path: Path) -> None:
    """With the first threshold below all distances, the decaying one accepts them one by one.

    That is the baseline of Shi et al., to which their filter tends as its decay tends to 0.
    """
    tiny = {"filter.name": "threshold-decay", "filter.threshold": 1e-3, "generations": 2}
    first = computed(tmp_path, **tiny)
    plain = {"pool.rule": "subsample", "filter.name": "none", "generations": 2}
    second = computed(tmp_path, **plain)
    pool, subset = (x.sources.images(x.nodes[1].pool) for x in (first, second))
    assert np.array_equal(pool, subset)


def test_farthest_points_are_spread_more_than_a_random_subset(selected, tmp_path: Path) -> None:
    """Of the same candidates: V_1 and S_1 are the same."""
    random = computed(tmp_path, **{"filter.name": "random", "generations": 2})
    assert random.nodes[0].key == selected.nodes[0].key
    spread, loose = (spacing(x.sources.images(x.nodes[1].pool)) for x in (selected, random))
    assert spread > 1.1 * loose


@pytest.mark.parametrize("conditional", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_with_classes_an_image_of_each_class_is_one(conditional: bool, tmp_path: Path) -> None:
    """The numbers are those of the plan, and real images are of the class for which they stand."""
    classes = {"pool.concentration": 0.5, "pool.focal_classes": ["1"]}
    run = computed(tmp_path, **classes, **{"model.conditional": conditional, "generations": 2})
    pool = run.nodes[1].pool
    planned = {run.card.class_name(x.label or 0): len(x) for x in pool}
    assert record_of(run, 2).class_counts == planned
    labels = np.array(run.card.train_labels)
    for source in map(the_selection, ((x,) for x in pool)):
        everything = the_selection(source.of)
        kept = random_positions(everything)[run.sources.choose(source)]
        assert len(set(kept.tolist())) == source.keep
        assert set(labels[kept[kept < 100]]) <= {source.label}
