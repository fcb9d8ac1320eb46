"""Facts of hours and money: recorded speeds times planned work, each model once, by device."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_sweep import CARD, compute, make_lineage, make_sweep, plan, plan_in

from model.blocks import SAMPLE_BATCH
from sweep.config import SweepConfig
from sweep.estimate.costs import (
    Prices,
    add_own,
    cost_lines,
    estimate,
    planned_work,
    read_prices,
    two_digits,
)
from sweep.estimate.timings import Machine, Timings, read_timings
from sweep.finished import look_up
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import NodePlan, unique_nodes
from sweep.records import MetricsRecord, NodeRecord
from sweep.store.store import open_store

GPU = Machine(device="NVIDIA A10G", num_threads=4)
GRID = ({"pool.alpha": [0.5, 8.0]},)
"""Two lineages V_1, V_2 that share V_1. Each training sees 4 x 8 images. V_1 of pool 40 owes
8 x 40 = 320 images, which are 3 blocks; the 16 that are measured are among them. V_2 owes the 16
that are measured, 1 block. And every model draws a preview, 1 block."""


def tree_of(lineages: list[PlannedLineage]) -> dict[str, NodePlan]:
    return unique_nodes(lineage.nodes for lineage in lineages)


def node_record(node: NodePlan, *, seconds: float, machine: Machine = GPU) -> NodeRecord:
    """A finished model of a plan, whose training took so long."""
    return NodeRecord(
        key=node.key,
        status="done",
        seed=0,
        generation=node.generation,
        member=0,
        family="ddim",
        num_images=node.num_images,
        origins={},
        num_steps=node.num_steps,
        images_seen=node.images_seen,
        views_per_image=1.0,
        ema_init_left=0.0,
        final_loss=0.0,
        seconds=seconds,
        images_per_second=node.images_seen / seconds,
        device=machine.device,
        num_threads=machine.num_threads,
        precision="fp32",
        weights_sha256="",
        files={},
    )


def metrics_record(
    node: NodePlan, *, seconds: float, num_drawn: int, draw_seconds: float
) -> MetricsRecord:
    """Its numbers."""
    return MetricsRecord(
        spec=node.metrics[0].inputs,
        values={"kid": 0.0},
        num_images=16,
        num_reference=CARD.num_reference,
        stream="",
        images_sha256="",
        seconds=seconds,
        num_drawn=num_drawn,
        draw_seconds=draw_seconds,
        device=GPU.device,
        num_threads=GPU.num_threads,
    )


def timed(sweep: SweepConfig, *, draw: bool = True) -> Timings:
    """V_1 was trained in 320 s (10 s an image), drawn from at 2 images/s and measured in 6 s."""
    node = plan(sweep)[0].nodes[0]
    numbers = metrics_record(node, seconds=70.0, num_drawn=SAMPLE_BATCH, draw_seconds=64.0)
    found = Timings()
    record = node_record(node, seconds=320.0)
    found.add_node(record, node.inputs, shape=CARD.shape, metrics=[numbers] if draw else [])
    return found


def row(lines: list[str]) -> list[str]:
    """The columns of the first row below the device."""
    (device,) = [i for i, x in enumerate(lines) if x.startswith(GPU.device)]
    return re.split(r"  +", lines[device + 1].strip())


def test_a_models_time_is_training_drawing_and_measuring() -> None:
    """V_1: 32 x 10 + (3 + 1) x 128 / 2 + 6 s; V_2: 32 x 10 + (1 + 1) x 128 / 2 + 6 s.

    The floor, measured with V_1, is another measurement of 6 s.
    """
    lineages = plan(make_sweep(GRID))
    found = estimate(planned_work(lineages, tree_of(lineages)), timed(make_sweep(GRID)), GPU)
    v1, v2 = (found.seconds[node.key] for node in lineages[0].nodes)
    assert (v1, v2) == (320 + 256 + 6 + 6, 320 + 128 + 6)
    assert found.untrained == found.untimed == ()


def test_a_shared_model_is_paid_once() -> None:
    """588 + 2 x 454 s in all; two trials at once take 588 + 454."""
    lineages = plan(make_sweep(GRID))
    lines = cost_lines(
        lineages,
        list(tree_of(lineages).values()),
        timed(make_sweep(GRID)),
        slots=(1, 2),
        prices=Prices(per_hour={GPU.device: 3.6}, currency="USD"),
    )
    (device,) = [i for i, x in enumerate(lines) if x.startswith(GPU.device)]
    machine, one, two = (" ".join(x.split()) for x in lines[device : device + 3])
    assert machine == "NVIDIA A10G, 4 threads, 1 timing:"
    assert one == "1 0.42 24 min 56 s 17 min 22 s 1.50 1.50"
    assert two == "2 0.42 17 min 22 s 17 min 22 s 1.50 2.08"
    assert "  busy: price in USD of the trial-hours; rented: price of all trials until the end" in (
        lines
    )


def test_only_what_is_missing_is_paid() -> None:
    """Where V_1 is done, 454 s for each lineage."""
    lineages = plan(make_sweep(GRID))
    missing = [x.nodes[1].key for x in lineages]
    found = estimate(planned_work(lineages, missing), timed(make_sweep(GRID)), GPU)
    assert found.seconds == dict.fromkeys(missing, 454.0)


def test_speeds_are_all_images_by_all_seconds() -> None:
    """32 images in 32 s and 32 in 96 s are half an image a second."""
    nodes = plan(make_sweep())[0].nodes
    timings = Timings()
    for node, seconds in zip(nodes, (32.0, 96.0), strict=True):
        record = node_record(node, seconds=seconds)
        timings.add_node(record, node.inputs, shape=CARD.shape, metrics=())
    (kind,) = [
        k
        for k in planned_work(plan(make_sweep()), [nodes[0].key])[nodes[0].key]
        if k.activity == "train"
    ]
    assert timings.seconds(GPU, kind, 1.0) == 2.0


def test_a_model_in_two_folders_is_timed_once() -> None:
    """A copy is no second measurement."""
    node = plan(make_sweep())[0].nodes[0]
    timings = timed(make_sweep())
    timings.add_node(node_record(node, seconds=1.0), node.inputs, shape=CARD.shape, metrics=())
    lineages = plan(make_sweep())
    assert estimate(planned_work(lineages, [node.key]), timings, GPU).num_timed == 1


def test_a_model_that_diverged_times_nothing() -> None:
    """It may have stopped early."""
    node = plan(make_sweep())[0].nodes[0]
    record = replace(node_record(node, seconds=1.0), status="diverged")
    timings = Timings()
    timings.add_node(record, node.inputs, shape=CARD.shape, metrics=())
    assert timings.machines == []


@pytest.mark.parametrize(
    "changes",
    [
        {"model.widths": [8, 16]},
        {"train.batch_size": 4},
        {"train.precision": "bf16"},
        {"model.family": "flow"},
    ],
)
def test_another_network_batch_or_precision_has_no_hours(changes) -> None:
    """One model of two kinds is untimed: no sum that leaves it out is printed."""
    lineages = plan(make_sweep(base=make_lineage(changes)))
    missing = list(tree_of(lineages).values())
    lines = cost_lines(lineages, missing, timed(make_sweep()))
    assert lines[0].startswith(
        "time         unknown; train one model of each kind, or pass --timings DIR"
    )
    assert "no estimate on NVIDIA A10G with 4 threads: 2 of 2 models have no timing" in lines[1]


def test_images_of_another_shape_are_another_kind() -> None:
    """The same network on larger images is slower."""
    lineages = plan(make_sweep(), replace(CARD, shape=[1, 16, 16]))
    work = planned_work(lineages, tree_of(lineages))
    assert estimate(work, timed(make_sweep()), GPU).untrained == tuple(work)


def test_what_changes_no_work_changes_no_speed() -> None:
    """Another normalisation is another model that takes as long."""
    base = make_lineage({"model.normalization": "half", "train.lr": 0.5, "seed": 3})
    lineages = plan(make_sweep(base=base))
    work = planned_work(lineages, tree_of(lineages))
    assert estimate(work, timed(make_sweep()), GPU).untrained == ()


def test_drawing_and_measuring_that_were_never_timed_are_said_to_be_missing() -> None:
    """The hours are there, and too low."""
    lineages = plan(make_sweep(GRID))
    missing = list(tree_of(lineages).values())
    lines = cost_lines(lineages, missing, timed(make_sweep(GRID), draw=False))
    (note,) = [x for x in lines if "too low" in x]
    assert "drawing images and measuring of this kind has no timing there and is excluded" in note
    assert row(lines)[-1].strip() == "10 min 40 s"  # two trainings of 320 s


def test_another_sampler_is_drawn_from_at_another_speed() -> None:
    """Its time is missing."""
    lineages = plan(make_sweep(base=make_lineage({"sample.steps": 7})))
    work = planned_work(lineages, tree_of(lineages))
    assert estimate(work, timed(make_sweep()), GPU).untimed == ("draw",)


def test_a_priced_device_without_timings_is_named() -> None:
    """And a timed one without a price has none made up."""
    lineages = plan(make_sweep())
    prices = Prices(per_hour={"NVIDIA H100": 2.0})
    missing = list(tree_of(lineages).values())
    lines = cost_lines(lineages, missing, timed(make_sweep()), prices=prices)
    assert "  no timing on NVIDIA H100, which has a price" in lines
    assert [x.strip() for x in row(lines)[-2:]] == ["no price", "no price"]


def test_small_sums_keep_two_digits() -> None:
    """Not 0.00."""
    assert [two_digits(x) for x in (0.0, 0.00123, 0.456, 1234.5)] == [
        "0.00",
        "0.0012",
        "0.46",
        "1,234.50",
    ]


def test_filters_looks_are_said_to_be_missing() -> None:
    """Features of candidates that are not measured."""
    base = make_lineage({"filter.name": "random", "filter.candidates": 2.0})
    lineages = plan(make_sweep(base=base))
    lines = cost_lines(lineages, list(tree_of(lineages).values()), timed(make_sweep()))
    assert "  excluded: images that only filters look at" in lines


def test_candidates_of_a_filter_are_drawn() -> None:
    """Of 20 new images 10 times as many: 200 are 2 blocks, and 1 of the preview."""
    base = make_lineage({"filter.name": "random", "filter.candidates": 10.0})
    lineages = plan(make_sweep(base=base))
    key = lineages[0].nodes[0].key
    work = planned_work(lineages, [key])[key]
    assert sum(v for k, v in work.items() if k.activity == "draw") == 3 * SAMPLE_BATCH


def test_records_of_a_run_time_a_longer_sweep_elsewhere(tmp_path: Path) -> None:
    """Trainings, drawings and measurings of a real folder, all of whose kinds the plan knows."""
    store = open_store(tmp_path)
    metrics = {"metrics.names": ["kid", "memorization"]}
    long = make_sweep(GRID, make_lineage(metrics, generations=4))
    compute(make_lineage(metrics), store)
    timings = Timings()
    read_timings(tmp_path, timings)
    lineages = plan_in(long, open_store(tmp_path))
    work = planned_work(lineages, tree_of(lineages))
    (machine,) = timings.machines
    found = estimate(work, timings, machine)
    assert (found.untrained, found.untimed, found.num_timed) == ((), (), 2)
    assert min(found.seconds.values()) > 0


def test_a_folder_and_its_store_tell_the_same(tmp_path: Path) -> None:
    """Read as a folder, or by the plan's keys."""
    store = open_store(tmp_path)
    lineages = plan_in(make_sweep(), store)
    compute(make_lineage(), store)
    read, own = Timings(), Timings()
    read_timings(tmp_path, read)
    add_own(own, lineages, look_up(store, lineages))
    assert read == own


def test_a_folder_without_models_is_an_error(tmp_path: Path) -> None:
    """It names the folder, and what to do."""
    with pytest.raises(ValueError, match=r"--timings must name a results folder or store with"):
        read_timings(tmp_path, Timings())


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_prices_are_a_table_that_a_user_writes(tmp_path: Path) -> None:
    """A line a device."""
    text = 'currency = "EUR"\n[price_per_hour]\n"NVIDIA A10G" = 1.25\n"cpu (x86_64)" = 0\n'
    found = read_prices(write(tmp_path / "prices.toml", text))
    assert found == Prices(per_hour={"NVIDIA A10G": 1.25, "cpu (x86_64)": 0}, currency="EUR")


def test_the_shipped_table_waits_for_its_prices() -> None:
    """No price is made up."""
    path = Path(__file__).parent.parent / "examples" / "prices.toml"
    assert read_prices(path) == Prices(currency="USD")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("price_per_hour = 3", "price_per_hour must be a table of lines"),
        ('[price_per_hour]\n"A10G" = "1"', "'A10G' must be a number, got '1'"),
        ('[price_per_hour]\n"A10G" = -1', "'A10G' must be a finite number of at least 0, got -1"),
        ('[price_per_hour]\n"A10G" = nan', "'A10G' must be a finite number of at least 0, got nan"),
        ('[prices]\n"A10G" = 1', "must hold only currency and [price_per_hour], got 'prices'"),
        ("currency = 1", "currency must be a string, got 1"),
        ("[", "must be TOML: "),
    ],
)
def test_a_mistake_in_the_table_is_one_line(text, message, tmp_path: Path) -> None:
    """That begins with the file."""
    path = write(tmp_path / "prices.toml", text)
    with pytest.raises(ValueError, match=r"prices\.toml") as caught:
        read_prices(path)
    assert message in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    """It names the file."""
    with pytest.raises(FileNotFoundError, match=r"none\.toml must exist"):
        read_prices(tmp_path / "none.toml")
