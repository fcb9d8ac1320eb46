"""Facts of plans: the tree that lineages share, what is missing of it, and what does not fit."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from every_family import EVERY_FAMILY
from tiny_sweep import CARD, compute, make_lineage, make_sweep, plan, plan_in

from sweep.commands.run import execute
from sweep.config import SweepConfig
from sweep.files import digest
from sweep.lineage.datasets import expected_card
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.planning.measurements import plan_metrics
from sweep.planning.nodes import NodePlan, plan_lineage, unique_nodes
from sweep.store.store import open_store

ALPHAS: dict[str, list[Any]] = {"pool.alpha": [0.5, 1.0, 2.0]}


def tree(sweep: SweepConfig) -> dict[str, NodePlan]:
    return unique_nodes(lineage.nodes for lineage in plan(sweep))


def new_nodes(before: SweepConfig, after: SweepConfig) -> list[tuple[float | None, int, int]]:
    """(alpha, seed, generation) of the nodes that an extended sweep adds, each node once."""
    known = set(tree(before))
    found: dict[str, tuple[float | None, int, int]] = {}
    for lineage in plan(after):
        for node in lineage.nodes:
            if node.key not in known:
                point = (lineage.config.pool.alpha, lineage.config.seed, node.generation)
                found.setdefault(node.key, point)
    return sorted(found.values())


def test_all_alphas_share_their_first_model() -> None:
    """It is trained on real data alone."""
    lineages = plan(make_sweep((ALPHAS,)))
    assert len({lineage.nodes[0].key for lineage in lineages}) == 1
    assert len({lineage.nodes[1].key for lineage in lineages}) == 3


def test_a_tree_holds_each_node_once() -> None:
    """Three alphas of two generations: one V_1 and three V_2."""
    assert len(tree(make_sweep((ALPHAS,)))) == 4


def test_a_longer_lineage_begins_with_the_shorter_one() -> None:
    """Node for node, stream for stream."""
    short, long = (plan_lineage(make_lineage(generations=n), CARD) for n in (3, 5))
    assert [(n.key, n.stream) for n in long[:3]] == [(n.key, n.stream) for n in short]


def test_another_length_of_training_shares_nothing() -> None:
    """80 epochs begin as 40 do, but their models are others."""
    by_epochs = {"train.steps": None, "train.epochs": 40}
    first, second = (
        plan_lineage(make_lineage({**by_epochs, "train.epochs": epochs}), CARD)
        for epochs in (40, 80)
    )
    assert not {n.key for n in first} & {n.key for n in second}


def test_replace_and_grow_share_their_first_model_only() -> None:
    """The rule acts after V_1."""
    rules = ({"pool.rule": ["grow"]}, {"pool.rule": ["replace"], "pool.alpha": [None]})
    grow, swap = plan(make_sweep(rules))
    assert [a.key == b.key for a, b in zip(grow.nodes, swap.nodes, strict=True)] == [True, False]


def test_a_new_alpha_adds_its_later_models_only() -> None:
    """V_1 is there."""
    after = make_sweep(({"pool.alpha": [0.5, 1.0, 2.0, 4.0]},))
    assert new_nodes(make_sweep((ALPHAS,)), after) == [(4.0, 0, 2)]


def test_a_new_seed_adds_a_whole_tree() -> None:
    """Nothing is shared between seeds."""
    after = make_sweep(({**ALPHAS, "seed": [0, 1]},))
    expected = [(0.5, 1, 1), (0.5, 1, 2), (1.0, 1, 2), (2.0, 1, 2)]
    assert new_nodes(make_sweep((ALPHAS,)), after) == expected


def test_a_new_generation_adds_one_model_to_each_lineage() -> None:
    """What was the last generation is now sampled."""
    after = make_sweep((ALPHAS,), make_lineage(generations=3))
    assert new_nodes(make_sweep((ALPHAS,)), after) == [(0.5, 0, 3), (1.0, 0, 3), (2.0, 0, 3)]


def test_a_shared_node_owes_the_samples_of_its_hungriest_lineage() -> None:
    """Alpha 2 of 40 images."""
    first = next(node for node in tree(make_sweep((ALPHAS,))).values() if node.generation == 1)
    assert first.num_new == 80


def test_the_last_generation_owes_no_samples() -> None:
    """There is no next pool."""
    assert [node.num_new for node in plan_lineage(make_lineage(), CARD)] == [20, 0]


def test_lineages_that_differ_in_length_alone_are_one() -> None:
    """The longest."""
    (lineage,) = plan(make_sweep(({"generations": [2, 4, 3]},)))
    assert (lineage.config.generations, len(lineage.nodes)) == (4, 4)


def test_lineages_have_names_of_their_own() -> None:
    """Axes of any kind tell them apart."""
    grid = {**ALPHAS, "seed": [0, 1], "train.lr": [1e-3, 2e-3], "metrics.names": [["kid"], []]}
    lineages = plan(make_sweep((grid,)))
    assert len({lineage.id for lineage in lineages}) == len(lineages) == 24


def test_filters_of_other_weights_are_other_lineages(tmp_path: Path) -> None:
    """Else the second would be taken for the first and never run."""
    files = [tmp_path / name for name in ("a.pt", "b.pt")]
    for path in files:
        path.write_bytes(path.name.encode())
    judged = {"filter.name": "farthest-point", "filter.candidates": 2.0}
    base = make_lineage({**judged, "filter.extractor": "inception"})
    lineages = plan(make_sweep(({"filter.weights": [str(path) for path in files]},), base))
    assert len({lineage.id for lineage in lineages}) == 2


def test_what_selects_a_checkpoint_is_in_its_key_down_to_the_weights(tmp_path: Path) -> None:
    """Two extractors of the same name may prefer different checkpoints."""
    keys = set()
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_bytes(name.encode())
        config = make_lineage(
            {
                "train.select": "best_kid",
                "data.validation_fraction": 0.2,
                "metrics.extractor": "inception",
                "metrics.weights": str(tmp_path / name),
            }
        )
        keys.add(plan_lineage(config, replace(CARD, num_validation=8))[0].key)
    assert len(keys) == 2


@pytest.mark.parametrize("name", ["nearest_k", "bootstrap"])
def test_metrics_that_do_not_select_are_in_no_key(name: str) -> None:
    """Selection is by KID alone, to which neighbours and resamples mean nothing."""
    settings = {"train.select": "best_kid", "data.validation_fraction": 0.2}
    card = replace(CARD, num_validation=8)
    first, second = (
        plan_lineage(make_lineage({**settings, f"metrics.{name}": value}), card)[0].key
        for value in (10, 20)
    )
    assert first == second


def test_a_data_set_is_described_once_for_all_lineages() -> None:
    """However many there are of them."""
    asked = []
    plan_sweep(make_sweep((ALPHAS,)), lambda data: asked.append(data) or CARD)
    assert len(asked) == 1


@pytest.mark.parametrize(("prepared", "num_plans"), [(True, 1), (False, 2)])
def test_a_run_plans_once_if_its_data_are_prepared(
    prepared: bool, num_plans: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second time, because keys contain the fingerprints of the data."""
    sweep = make_sweep()
    compute(sweep.base, open_store(tmp_path))
    if not prepared:
        shutil.rmtree(tmp_path / "datasets")
    plans = []

    def counted(*args: Any) -> list[PlannedLineage]:
        plans.append(plan_sweep(*args))
        return plans[-1]

    monkeypatch.setattr("sweep.commands.run.plan_sweep", counted)
    monkeypatch.setattr("sweep.commands.run.conclude", lambda *args: 0)  # no table, no figures
    assert execute(sweep, tmp_path, store=None, address=None, command="sweep run tiny") == 0
    assert len(plans) == num_plans
    assert [x.id for x in plans[-1]] == [x.id for x in plan_in(sweep, open_store(tmp_path))]


def test_auto_precision_is_decided_before_keys_are_made() -> None:
    """On an axis by what a run has decided of the base; before a run they are fp32."""
    grid = {"train.precision": ["auto"]}
    found = [
        plan_sweep(make_sweep((grid,), make_lineage({"train.precision": base})), lambda data: CARD)
        for base in ("auto", "fp32", "bf16")
    ]
    assert [lineages[0].config.train.precision for lineages in found] == ["fp32", "fp32", "bf16"]


def test_fixed_epochs_train_longer_on_a_larger_pool() -> None:
    """The paper's: 2 epochs of 40, 60, 90 images in whole batches of 8 are 10, 14, 22 steps."""
    config = make_lineage({"train.steps": None, "train.epochs": 2, "generations": 3})
    assert [node.num_steps for node in plan_lineage(config, CARD)] == [10, 14, 22]


def test_scaling_by_steps_keeps_the_first_generations_steps() -> None:
    """2 epochs of 40 images."""
    settings = {"train.steps": None, "train.epochs": 2, "train.scaling": "steps"}
    nodes = plan_lineage(make_lineage({**settings, "generations": 3}), CARD)
    assert [node.num_steps for node in nodes] == [10, 10, 10]


def test_scaling_by_images_keeps_the_first_generations_images() -> None:
    """2 epochs of 40 are 80 images: ten batches of 8, whatever the pool."""
    settings = {"train.steps": None, "train.epochs": 2, "train.scaling": "images"}
    nodes = plan_lineage(make_lineage({**settings, "generations": 3}), CARD)
    assert [node.images_seen for node in nodes] == [80, 80, 80]


CONTINUED = {"train.start": "continue", "generations": 3}


def test_a_continued_model_has_its_parent_among_its_inputs() -> None:
    """The model before it; the first has none."""
    nodes = plan_lineage(make_lineage(CONTINUED), CARD)
    assert [node.parent for node in nodes] == ["", nodes[0].key, nodes[1].key]
    assert [node.inputs.get("parent", "") for node in nodes] == [node.parent for node in nodes]


def test_a_model_from_scratch_has_no_parent_in_its_key() -> None:
    """As before it could have one."""
    assert all("parent" not in node.inputs for node in plan_lineage(make_lineage(), CARD))


def test_another_parent_is_another_key() -> None:
    """It is hashed like all other inputs."""
    parents = ("a" * 64, "b" * 64)
    node = plan_lineage(make_lineage(CONTINUED), CARD)[1]
    keys = {digest({**node.inputs, "parent": parent}) for parent in parents}
    assert len(keys) == 2
    assert node.key == digest(node.inputs)


def test_members_continue_their_own_models() -> None:
    """Member by member."""
    nodes = plan_lineage(make_lineage({**CONTINUED, "ensemble.size": 2}), CARD)
    assert [node.parent for node in nodes[2:4]] == [node.key for node in nodes[:2]]


def test_the_gaussian_family_has_no_steps_and_sees_each_image_once() -> None:
    """So a pool smaller than train.batch_size is no error for it."""
    config = make_lineage({"model.family": "gaussian", "train.steps": None, "train.epochs": 1})
    nodes = plan_lineage(config, replace(CARD, num_train=4))
    assert [(node.num_steps, node.images_seen) for node in nodes] == [(0, 4), (0, 6)]


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_what_was_planned_is_what_the_records_say(family: str, tmp_path: Path) -> None:
    """Pools, steps and images of every node."""
    store = open_store(tmp_path)
    config = make_lineage({"model.family": family, "train.steps": None, "train.epochs": 1})
    (lineage,) = plan_in(make_sweep(({},), config), store)
    records = [generation.node for generation in compute(config, store)]
    for node, record in zip(lineage.nodes, records, strict=True):
        assert (node.key, node.num_images) == (record.key, record.num_images)
        assert (node.num_steps, node.images_seen) == (record.num_steps, record.images_seen)


def test_metrics_measure_as_many_images_as_the_reference_has() -> None:
    """Unless told otherwise."""
    counts = [
        getattr(plan_metrics(make_lineage({"metrics.num_images": n}), CARD), "num_images", None)
        for n in (None, 16)
    ]
    assert counts == [CARD.num_reference, 16]


@pytest.mark.parametrize(
    ("pool", "seen"),
    [
        ({"pool.rule": "grow"}, [None, None, None]),
        ({"pool.rule": "grow", "pool.initial_images": 10}, [10, 10, 10]),
        ({"pool.rule": "replace", "pool.alpha": None, "pool.initial_images": 10}, [10, 10, 10]),
        ({"pool.rule": "subsample", "pool.alpha": None, "pool.initial_images": 10}, [10, 10, 10]),
        ({"pool.rule": "fresh", "pool.initial_images": 10}, [10, 20, 30]),
    ],
)
def test_copies_are_of_the_real_images_that_pools_have_held(pool, seen) -> None:
    """One specification for all generations; an image that left the pool was there to copy."""
    changes = {**pool, "metrics.names": ["memorization"], "generations": 3}
    nodes = plan_lineage(make_lineage(changes), CARD)
    assert [node.metrics[0].num_seen for node in nodes] == seen
    assert len({node.metrics[0].spec for node in nodes}) == 1


def test_without_metrics_nothing_is_measured() -> None:
    """And no reference is needed."""
    config = make_lineage({"metrics.names": []})
    assert plan_metrics(config, replace(CARD, num_reference=0)) is None


def test_a_class_without_training_images_matters_to_a_probe_alone() -> None:
    """Other metrics need none, and unknown counts are no reason to refuse."""
    lost = replace(CARD, train_class_counts=[40, 0])
    others = make_lineage({"metrics.names": ["kid", "memorization"]})
    probing = make_lineage({"metrics.names": ["classes"]})
    assert plan_metrics(others, lost) is not None
    assert plan_metrics(probing, CARD) is not None


def test_a_limit_that_leaves_a_class_out_is_an_error_of_the_plan() -> None:
    """Of the real digits, before they are loaded: 8 training images cannot be of all ten."""
    config = make_lineage({"data.train_limit": 8, "metrics.names": ["classes"]})
    with pytest.raises(ValueError, match=r"a probe's images must include every class, got none"):
        plan_metrics(config, expected_card(config.data))


@pytest.mark.parametrize(
    ("changes", "card", "message"),
    [
        ({"pool.alpha": None}, {}, "pool.alpha must be set with pool.rule=grow, got None"),
        ({"pool.focal_classes": ["two"]}, {}, "got 'two'; it has zero, one"),
        (
            {"pool.focal_classes": ["two"]},
            {"class_names": [], "num_classes": 0},
            "it has no classes",
        ),
        ({"pool.concentration": 0.5}, {}, "pool.focal_classes must name at least one class"),
        ({"train.steps": None, "train.epochs": 1}, {"num_train": 4}, "train.batch_size must be"),
        ({}, {"num_train": 1}, "generation 1's pool must have at least 2 images, got 1"),
        (
            {"data.split": "keras_80_20", "ensemble.size": 2, "ensemble.data": "shard"},
            {},
            "data.split must be stratified, official_train or all with ensemble.data=shard, got "
            "'keras_80_20'; the train images of keras_80_20 are the official splits, "
            "one after the other",
        ),
        (
            {"data.split": "official_trainval", "pool.initial_images": 20},
            {},
            "data.split must be stratified, official_train or all with pool.initial_images=20",
        ),
        ({}, {"num_reference": 1}, "data.split must leave a reference for the metrics"),
        ({"metrics.kid_subset_size": 17}, {}, "metrics.kid_subset_size must be at most the 16"),
        ({"metrics.names": ["kid", "is"]}, {}, "metrics.names must be one of kid, "),
        (
            {"metrics.names": ["kid", "classes"]},
            {"train_class_counts": [40, 0]},
            "metrics.names must not have 'classes' here: a probe's images must include every "
            "class, got none of one; give more images, or leave metrics of classes out",
        ),
        (
            {"metrics.names": ["class_recall"]},
            {"num_train": 2, "train_class_counts": [1, 1]},
            "metrics.names must not have 'class_recall' here: a probe's images must be more than "
            "its 2 classes, got 2;",
        ),
        (
            {"metrics.names": ["class_kid"]},
            {"num_train": 40, "num_classes": 102, "class_names": []},
            "a probe's images must be more than its 102 classes, got 40;",
        ),
        (
            {"metrics.names": ["classes"]},
            {"class_names": ["zero"], "num_classes": 1, "train_class_counts": [40]},
            "a probe's classes must be at least 2, got 1;",
        ),
        ({"metrics.extractor": "pixel"}, {}, "did you mean 'pixels'?"),
        (
            {"model.family": "vae", "model.latent_dim": 65},
            {},
            "model.latent_dim must be at most the 64 pixels of an image",
        ),
        ({"model.family": "gausian"}, {}, "did you mean 'gaussian'?"),
        (
            {"model.widths": [4, 4, 4, 8], "train.drop_last": False},
            {"num_train": 41},
            "train.drop_last must leave no batch of one image with a pool of 41",
        ),
        (
            {"model.widths": [4, 4, 4, 8], "train.batch_size": 1},
            {},
            "train.batch_size must leave no batch of one image with a pool of 40",
        ),
        (
            {"train.select": "best_kid", "data.validation_fraction": 0.01},
            {"num_validation": 1},
            "data.validation_fraction must leave at least 2 images to select by",
        ),
    ],
)
def test_what_does_not_fit_is_an_error_of_the_plan(changes, card, message) -> None:
    """Before anything is trained."""
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared)
        plan(make_sweep(({},), make_lineage(changes)), replace(CARD, **card))
    assert message in str(error.value)
