"""Facts of generations of several models: what is measured, recorded and shown of them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from figure_requests import figure_request
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_sweep import compute, make_lineage, make_run, make_sweep, numbers_of, plan_in

from analysis.figures.kinds import draw_figures
from analysis.reading.columns import MIXTURE
from analysis.reading.integrity import inspect_folder
from analysis.reading.results import load_results
from analysis.tables.build import COMPOSITION, build_tables
from model.config import MetricsConfig
from model.metrics.table import RealImages, evaluate_images
from sweep.commands.evaluate import missing_measurements
from sweep.commands.plan import look_ahead
from sweep.config import SweepConfig
from sweep.finished import lineage_status, look_up
from sweep.lineage.datasets import find_card
from sweep.lineage.run import LineageRun
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.planning.nodes import by_generation
from sweep.records import LineageRecord
from sweep.results_folder import fill, write_sweep
from sweep.status.report import print_status
from sweep.store.store import Store, open_store
from sweep.tensorboard import write_boards

MEMBERS = {
    "model.family": "gaussian",
    "ensemble.members": ["share=0.75", "share=0.25 data=shard", "model.family=ddim share=0"],
}
"""Two kinds of models; the third adds nothing."""
DIVERGING = {"ensemble.members": ["", "train.lr=1e30 train.steps=40"]}


def sweep_of(**changes) -> SweepConfig:
    return make_sweep(({},), make_lineage({**MEMBERS, **changes}))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder, complete, with boards."""
    out = tmp_path_factory.mktemp("out")
    store = open_store(out)
    sweep = sweep_of()
    (lineage,) = plan_in(sweep, store)
    compute(lineage.config, store)
    write_sweep(out, sweep, "sweep run tiny")
    write_boards(out, fill(out, [lineage], store))
    return out


@pytest.fixture(scope="module")
def lineage(out: Path) -> PlannedLineage:
    return plan_in(sweep_of(), open_store(out))[0]


@pytest.fixture(scope="module")
def run(out: Path, lineage: PlannedLineage) -> LineageRun:
    return make_run(lineage.config, open_store(out))


def status_of(lineage: PlannedLineage, store: Store) -> LineageRecord:
    return lineage_status(lineage, look_up(store, [lineage]), error=None)


def test_what_is_measured_of_a_mixture_are_the_images_that_enter(run: LineageRun) -> None:
    """16 as 3 : 1, the first twelve of one stream and the first four of the other."""
    first, second = run.nodes[:2]
    (plan,) = first.mixture
    record = run.store.read_metrics(first.key, plan.spec)
    parts = [(first.stream, 12), (second.stream, 4)]
    images = np.concatenate([run.store.read_block(key, 0)[:n] for key, n in parts])
    real = RealImages(reference=run.data.images[run.data.reference])
    assert record is not None
    assert record.values == evaluate_images(images, real, run.config.metrics).values
    assert record.num_images == 16


def test_the_mixtures_images_are_the_next_pools_first(run: LineageRun) -> None:
    """Of each member as many first ones as the smaller of both numbers."""
    first, second = run.nodes[:2]
    entered = run.sources.images(first.new + second.new)
    assert len(first.new + second.new) == 2
    measured = run.sources.images(first.mixture[0].images)
    assert np.array_equal(entered[:12], measured[:12])
    assert np.array_equal(entered[15 : 15 + 4], measured[12:])


def test_a_models_numbers_are_its_own_and_the_mixtures_apart(run: LineageRun) -> None:
    """What is reported of V_1's first member is not what is measured of all that enters."""
    first, second = list(run.generations())[:2]
    (own,), (mixture,) = first.metrics, first.mixture
    assert own.stream == run.nodes[0].stream
    assert own.values != mixture.values
    assert (second.mixture, second.num_members) == ((), 3)


def test_the_pool_of_a_member_is_its_part_of_all_images(run: LineageRun) -> None:
    """The second of three shards: real images 14 to 26, and a third of each stream."""
    node = by_generation(run.nodes)[1][1]
    real = run.data.images[run.data.train][14:27]
    drawn = [
        run.store.read_block(n.stream, 0)[a:b]
        for n, a, b in zip(run.nodes[:2], (5, 1), (10, 3), strict=True)
    ]
    assert np.array_equal(run.sources.images(node.pool), np.concatenate([real, *drawn]))


def test_a_lineages_record_lists_the_members_of_each_generation(out, lineage) -> None:
    """Their keys, in order; and it is done when all are."""
    record = status_of(lineage, open_store(out))
    generations = by_generation(lineage.nodes)
    assert record.nodes == [[node.key for node in members] for members in generations]
    assert [len(keys) for keys in record.nodes] == [3, 3]
    assert (record.status, record.num_done) == ("done", 2)


def test_a_generation_is_done_when_all_its_members_are(lineage, tmp_path: Path) -> None:
    """Trained, all three of them."""
    store = open_store(tmp_path)
    fresh = make_run(lineage.config, store)
    for node in fresh.nodes[:2]:
        fresh.ensure_node(node)
    assert status_of(lineage, store).num_done == 0
    fresh.ensure_node(fresh.nodes[2])
    assert status_of(lineage, store).num_done == 1


def test_the_table_has_a_row_for_each_member_and_the_mixture(out: Path) -> None:
    """Of each generation."""
    table = load_results([out])
    rows = zip(table.generation, table.member.astype(str), strict=True)
    assert sorted(rows) == [(n, name) for n in (1, 2) for name in ("0", "1", "2", MIXTURE)]
    assert table["kid/pixels"].notna().all()


def test_the_mixtures_row_has_its_own_number(out: Path, run: LineageRun) -> None:
    """That of its record."""
    table = load_results([out])
    row = table[(table.member == MIXTURE) & (table.generation == 1)].iloc[0]
    (plan,) = run.nodes[0].mixture
    record = run.store.read_metrics(run.nodes[0].key, plan.spec)
    assert record is not None
    assert row["kid/pixels"] == record.values["kid/pixels"]
    assert row["metric_num_images"] == 16


def test_a_mixture_has_no_pool_and_no_preview_of_its_own(out: Path, tmp_path: Path) -> None:
    """The table of pools and the grids of previews show models alone."""
    table = load_results([out])
    (composition,) = build_tables(table, [COMPOSITION], by=[], confidence=0.95)
    assert [row[0] for row in composition.rows] == ["0", "1", "2"]
    names = [path.name for path in draw_figures(figure_request([out], tmp_path), ["grids"])]
    assert "grid-member-0.png" in names
    assert not any(MIXTURE in name for name in names)


def test_a_folder_of_ensembles_is_whole(out: Path) -> None:
    """`analysis check` finds every file, the mixtures' numbers among them."""
    found = inspect_folder(out)
    assert (found.num_nodes, found.problems) == (6, [])


def test_a_missing_mixture_is_a_problem(out: Path, run: LineageRun, tmp_path: Path) -> None:
    """Of a finished generation."""
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    (plan,) = run.nodes[0].mixture
    (path,) = (copy / "generations").rglob(f"{plan.spec}.json")
    path.unlink()
    assert len(inspect_folder(copy).problems) == 1


def test_a_member_that_diverges_stops_the_lineage(tmp_path: Path) -> None:
    """Its sibling is trained, nothing is measured, and no V_2 is."""
    store = open_store(tmp_path)
    sweep = make_sweep(({},), make_lineage(DIVERGING))
    (planned,) = plan_in(sweep, store)
    found = compute(planned.config, store)
    assert [g.node.status for g in found] == ["done", "diverged"]
    assert [g.metrics for g in found] == [(), ()]
    record = status_of(planned, store)
    assert (record.status, record.num_done) == ("diverged", 0)
    assert record.error is not None
    assert record.error.startswith("V_1 (member 1) diverged: ")


def test_a_diverged_member_is_in_the_table(tmp_path: Path) -> None:
    """Beside its sibling, which is not measured, and without a mixture."""
    store = open_store(tmp_path)
    sweep = make_sweep(({},), make_lineage(DIVERGING))
    (planned,) = plan_in(sweep, store)
    compute(planned.config, store)
    write_sweep(tmp_path, sweep, "sweep run tiny")
    fill(tmp_path, [planned], store)
    table = load_results([tmp_path])
    first = table[table.generation == 1]
    assert first.set_index("member").status.to_dict() == {0: "unmeasured", 1: "diverged"}


def test_ensembles_repeat_in_another_store(lineage: PlannedLineage, tmp_path: Path) -> None:
    """Bit for bit."""
    found = [
        [numbers_of(g) for g in compute(lineage.config, open_store(tmp_path / name))]
        for name in "ab"
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 6


def test_members_are_on_boards_of_their_own(out: Path, lineage: PlannedLineage) -> None:
    """And so is the mixture."""
    folder = out / "tensorboard" / lineage.id
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["member-0", "member-1", "member-2", "mixture"]
    events = EventAccumulator(str(folder / "mixture"))
    events.Reload()
    assert [event.step for event in events.Scalars("kid/pixels")] == [1, 2]


def test_a_plan_lists_every_member(capsys: pytest.CaptureFixture[str]) -> None:
    """With its pool."""
    look_ahead(sweep_of()).print()
    text = capsys.readouterr().out
    sizes = {
        name: next(line.split()[-7:-6] for line in text.splitlines() if f"  {name}" in line)
        for name in ("V_1, member 0", "V_1, member 1", "V_2, member 1")
    }
    assert sizes == {
        "V_1, member 0": ["40"],
        "V_1, member 1": ["13"],
        "V_2, member 1": ["20"],
    }
    assert "6 unique of 6 without sharing" in text


def test_a_status_counts_generations_not_members(out, capsys) -> None:
    """Two of two."""
    print_status(out, store=None)
    assert "2 of 2" in capsys.readouterr().out


def replanned(sweep: SweepConfig, store: Store) -> list[PlannedLineage]:
    return plan_sweep(sweep, lambda data: find_card(data, store))


@pytest.fixture
def evaluation() -> Callable[[SweepConfig], SweepConfig]:
    """A sweep with one more metric."""
    more = MetricsConfig(names=("precision",), extractor="pixels", num_images=16)
    return lambda sweep: replace(sweep, evaluations=(more,))


def test_an_evaluation_measures_every_member_and_the_mixture(out, evaluation, tmp_path) -> None:
    """One piece of work for each generation; afterwards nothing is missing."""
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    store = open_store(copy)
    lineages = replanned(evaluation(sweep_of()), store)
    work = missing_measurements(lineages, look_up(store, lineages), store)
    assert work == [(lineages[0].id, 1), (lineages[0].id, 2)]
    again = make_run(lineages[0].config, store, evaluations=evaluation(sweep_of()).evaluations)
    for _, generation in work:
        again.measure(generation)
    assert missing_measurements(lineages, look_up(store, lineages), store) == []
    write_sweep(copy, evaluation(sweep_of()), "sweep evaluate")
    fill(copy, lineages, store)
    assert load_results([copy])["precision/pixels"].notna().sum() == 8


def test_an_evaluation_leaves_out_a_generation_with_a_diverged_member(evaluation, tmp_path) -> None:
    """A run does not measure it either: the mixture would need images of the diverged member."""
    store = open_store(tmp_path)
    sweep = make_sweep(({},), make_lineage(DIVERGING))
    (planned,) = plan_in(sweep, store)
    compute(planned.config, store)
    lineages = replanned(evaluation(sweep), store)
    assert len(lineages[0].nodes[0].all_metrics) > 0
    assert missing_measurements(lineages, look_up(store, lineages), store) == []


def test_mixtures_of_a_shared_model_are_all_measured(evaluation, tmp_path: Path) -> None:
    """Two concentrations share V_1, but not what enters their pools."""
    store = open_store(tmp_path)
    settings = {"model.family": "gaussian", "data.train_limit": 200, "filter.extractor": "pixels"}
    base = make_lineage({**settings, "pool.focal_classes": ["1"], "generations": 1})
    sweep = make_sweep(({"pool.concentration": [0.3, 0.6]},), base)
    for planned in plan_in(sweep, store):
        compute(planned.config, store)
    lineages = replanned(evaluation(sweep), store)
    assert lineages[0].nodes[0].key == lineages[1].nodes[0].key
    assert missing_measurements(lineages, look_up(store, lineages), store) == [
        (planned.id, 1) for planned in lineages
    ]
