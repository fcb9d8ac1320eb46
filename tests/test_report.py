"""Facts of what `sweep plan` and `sweep status` print: counts, bytes, time, where lineages are."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_sweep import compute, make_lineage, make_sweep, plan, plan_in

from model.blocks import SAMPLE_BATCH
from model.commands.output import pasteable
from sweep.commands.plan import look_ahead
from sweep.config import SweepConfig
from sweep.estimate.sizes import format_bytes, node_size, planned_bytes
from sweep.planning.keys import block_size
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import unique_nodes
from sweep.presets.table import preset_of
from sweep.records import load_sweep
from sweep.results_folder import fill, write_sweep
from sweep.status.drivers import run_key
from sweep.status.report import print_status
from sweep.store.store import Store, open_store

GRID = ({"pool.alpha": [0.5, 2.0]},)


@pytest.fixture
def said(capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """What a plan prints."""

    def run(sweep: SweepConfig, out: Path | None = None) -> str:
        look_ahead(sweep, out=out).print()
        return capsys.readouterr().out

    return run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A sweep of two lineages, one of which is done."""
    out = tmp_path / "out"
    store = open_store(out)
    lineages = plan_in(make_sweep(GRID), store)
    write_sweep(out, make_sweep(GRID), "sweep run tiny")
    compute(lineages[0].config, store)
    return out


def line(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name))


def bytes_on_disk(store: Store) -> int:
    return sum(p.stat().st_size for p in Path(store.location).rglob("*") if p.is_file())


def total(lineages: list[PlannedLineage]) -> int:
    return planned_bytes(lineages, list(unique_nodes(x.nodes for x in lineages).values()))


def scratch(lineage: PlannedLineage) -> int:
    """Two saved states of a running training."""
    return 2 * node_size(lineage.nodes[0], lineage.card).state_bytes


def test_a_streams_block_is_a_batch_of_the_sampler() -> None:
    """The plan's number, which it has without torch, is the sampler's."""
    assert block_size(None) == SAMPLE_BATCH


def test_plans_and_evaluations_need_no_torch() -> None:
    """So that they answer at once."""
    code = "import sys, sweep.commands.plan, sweep.commands.evaluate; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"]


@pytest.mark.parametrize(
    "changes",
    [
        {"model.widths": [16, 32], "train.steps": 60},
        {"model.widths": [16, 32], "pool.alpha": 8.0},
        {"model.widths": [16, 32], "metrics.sample_steps": 3},
        {"model.widths": [16, 32], "data.dtype": "float32", "metrics.names": []},
        {
            "model.widths": [16, 32],
            "filter.name": "farthest-point",
            "filter.candidates": 20.0,
            "filter.extractor": "pixels",
        },
        {"model.widths": [16, 32], "ensemble.size": 2},
    ],
)
@pytest.mark.slow
def test_planned_bytes_are_within_a_fifth_of_what_is_written(changes, tmp_path: Path) -> None:
    """What a run leaves, without the states of running trainings; it never takes more in all."""
    store = open_store(tmp_path)
    config = make_lineage(changes)
    (lineage,) = plan_in(make_sweep(({},), config), store)
    before, peak = bytes_on_disk(store), [0]

    def look(position: dict) -> None:
        peak[0] = max(peak[0], bytes_on_disk(store))

    compute(config, store, on_progress=look, checkpoint_seconds=1e-9)
    written = bytes_on_disk(store) - before
    assert total([lineage]) - scratch(lineage) == pytest.approx(written, rel=0.2)
    assert peak[0] - before <= total([lineage])


def test_a_shared_model_is_counted_once() -> None:
    """A second alpha adds one model of two."""
    one, two = total(plan(make_sweep(GRID[:1]))), total(plan(make_sweep()))
    assert two < one < 2 * two


def test_nothing_missing_is_nothing_to_write() -> None:
    """Nor any state."""
    assert planned_bytes(plan(make_sweep()), []) == 0


def test_a_plan_counts_lineages_models_steps_and_images(said) -> None:
    """Two alphas of two generations: 3 of 4 models, 4 steps of 8 images each; 80 enter pools."""
    text = said(make_sweep(GRID))
    assert line(text, "lineages").split() == ["lineages", "2"]
    assert "3 unique of 4 without sharing; 0 done, 3 to train" in line(text, "models")
    assert "12 steps, 96 images" in line(text, "training")
    assert "80 images enter pools" in line(text, "sampling")


def test_a_plan_says_what_the_data_are(said) -> None:
    """Size, type and splits."""
    assert "digits, 8x8x1 uint8: 40 train, 359 reference, 0 validation images" in said(make_sweep())


def test_a_plan_says_steps_images_views_and_what_is_left_of_the_averages_start(said) -> None:
    """The paper, literally: 640 steps, 40,800 images, 40 views, .999^640 = 52.7 %."""
    text = said(preset_of("paper-literal"))
    row = next(line for line in text.splitlines() if line.startswith("  V_1 "))
    assert row.split() == ["V_1", "1,020", "640", "40,800", "40.0", "52.7%", "to", "do"]


def test_a_plan_of_a_folder_says_what_is_done(said, out: Path) -> None:
    """And plans what the folder's grids hold."""
    text = said(make_sweep(GRID), out)
    assert "3 unique of 4 without sharing; 2 done, 1 to train" in line(text, "models")


def test_a_plan_of_an_extended_folder_joins_the_grids(said, out: Path) -> None:
    """As the run would."""
    text = said(make_sweep(({"pool.alpha": [4.0]},)), out)
    assert "4 unique of 6 without sharing; 2 done, 2 to train" in line(text, "models")


def test_a_plan_writes_nothing(said, tmp_path: Path) -> None:
    """Not even its folder."""
    said(make_sweep(GRID), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_time_is_unknown_until_a_model_is_timed(said) -> None:
    """No number is made up."""
    assert "unknown; train one model" in line(said(make_sweep()), "time")


def test_a_plan_times_what_is_missing_by_what_is_done(said, out: Path) -> None:
    """One model of four steps is missing, and two of them were timed."""
    text = said(make_sweep(GRID), out)
    lines = text.splitlines()
    (device,) = [i for i, row in enumerate(lines) if row.startswith("cpu (")]
    assert lines[device].endswith("), 1 thread, 2 timings:")
    assert lines[device + 1].split()[0] == "1"


def test_a_plan_says_that_auto_is_timed_as_fp32(said) -> None:
    """What it will be is known where it runs."""
    text = said(make_sweep(base=make_lineage({"train.precision": "auto"})))
    assert "train.precision=auto is timed as fp32" in text


def test_no_trial_at_once_is_an_error() -> None:
    """Nothing would ever end."""
    with pytest.raises(ValueError, match="--slots must be at least 1, got 0"):
        look_ahead(make_sweep(), slots=(4, 0)).print()


def test_nothing_is_left_to_time_when_all_is_done(said, out: Path) -> None:
    """Though the folder has timings."""
    compute(make_lineage({"pool.alpha": 2.0}), open_store(out))
    assert line(said(make_sweep(GRID), out), "time").endswith("nothing to train")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2e6, "2 MB"), (12.34e9, "12.3 GB")],
)
def test_bytes_are_printed_with_three_digits(count: float, text: str) -> None:
    """In powers of ten, as disks are sold."""
    assert format_bytes(int(count)) == text


def test_a_setting_without_effect_in_any_lineage_is_noted(capsys) -> None:
    """One that some filter of the grid uses is not."""
    base = make_lineage({"filter.decay": 0.5, "filter.choices": 3, "filter.candidates": 2.0})
    filters = {"filter.name": ["random", "threshold-decay"]}
    look_ahead(make_sweep((filters,), base)).print()
    note = (
        "note: filter.choices has no effect with filter.name=random or filter.name=threshold-decay"
    )
    assert capsys.readouterr().err.splitlines() == [note]


def test_what_one_member_uses_is_not_noted(capsys) -> None:
    """Though the lineage's own filter does not."""
    members = ["filter.name=typicality", "filter.name=none"]
    base = make_lineage({"filter.candidates": 2.0, "filter.nearest_k": 7})
    base = replace(base, ensemble=replace(base.ensemble, members=tuple(members)))
    look_ahead(make_sweep(base=base)).print()
    assert capsys.readouterr().err == ""


def test_status_says_where_each_lineage_stands(out: Path, capsys) -> None:
    """One is done, the other shares a model with it."""
    print_status(out, store=None)
    text = capsys.readouterr().out
    assert "tiny: 2 of 3 models done" in text
    rows = [row.split()[1:5] for row in text.splitlines() if row.startswith("grow-")]
    assert rows == [["done", "2", "of", "2"], ["pending", "1", "of", "2"]]


def test_status_needs_no_plan_once_the_lineages_are_recorded(out: Path, capsys) -> None:
    """It shows the same, though the data and the settings may no longer be what they were."""
    print_status(out, store=None)
    planned = capsys.readouterr().out
    store = open_store(out)
    lineages = plan_in(make_sweep(GRID), store)
    fill(out, lineages, store)
    write_sweep(out, make_sweep(GRID), "sweep run tiny", lineages=lineages)
    shutil.rmtree(out / "datasets")
    print_status(out, store=None)
    assert capsys.readouterr().out == planned


def test_status_knows_of_an_evaluation_that_is_not_yet_in_the_records(out: Path, capsys) -> None:
    """`sweep evaluate` records it in the lineages at its end."""
    store = open_store(out)
    lineages = plan_in(make_sweep(GRID), store)
    fill(out, lineages, store)
    added = replace(lineages[0].config.metrics, names=("recall",))
    sweep = replace(make_sweep(GRID), evaluations=(added,))
    write_sweep(out, sweep, "sweep run tiny", lineages=plan_in(sweep, store))
    print_status(out, store=None)
    (row,) = [r for r in capsys.readouterr().out.splitlines() if r.startswith(lineages[0].id)]
    assert "unmeasured" in row
    assert "V_1 lacks recall with pixels" in row


def test_status_says_why_a_lineage_failed(out: Path, capsys) -> None:
    """As the last run recorded it."""
    store = open_store(out)
    lineages = plan_in(make_sweep(GRID), store)
    fill(out, lineages, store, errors={lineages[1].id: "the worker was lost"})
    print_status(out, store=None)
    (row,) = [r for r in capsys.readouterr().out.splitlines() if "alpha2-" in r]
    assert "failed" in row
    assert "the worker was lost" in row


def test_a_long_error_is_whole_below_the_table(out: Path, capsys) -> None:
    """A row remains a line of a screen; characters that move a cursor are escaped."""
    store = open_store(out)
    lineages = plan_in(make_sweep(GRID), store)
    error = "the worker\x1b[2J\nwas lost, " + "because " * 20
    fill(out, lineages, store, errors={lineages[1].id: error})
    print_status(out, store=None)
    text = capsys.readouterr().out
    (row,) = [r for r in text.splitlines() if "alpha2-" in r and "1 of 2" in r]
    assert len(row) < 130
    assert row.endswith("...")
    whole = error.strip().replace("\x1b", "\\x1b").replace("\n", " ")
    assert f"{lineages[1].id}: {whole}" in text


def test_status_says_that_nobody_works_and_how_to_resume(out: Path, capsys) -> None:
    print_status(out, store=None)
    assert capsys.readouterr().out.endswith(
        f"not running; resume with: {pasteable('sweep run tiny')}\n"
    )


def test_status_tells_what_runs_from_what_waits(out: Path, capsys) -> None:
    """A driver has started one lineage; the other waits for a free trial."""
    sweep = make_sweep(({"pool.alpha": [0.5, 2.0, 4.0]},))
    write_sweep(out, sweep, "sweep run tiny")
    store = open_store(out)
    _, second, third = plan_in(sweep, store)
    claim = store.claims.take(f"{run_key(out, sweep)}-test")
    assert claim is not None
    with claim:
        claim.heartbeat({"lineages": [third.id]})
        print_status(out, store=None)
    text = capsys.readouterr().out
    states = {row.split()[0]: row.split()[1] for row in text.splitlines() if row.endswith(" of 2")}
    assert (states[second.id], states[third.id]) == ("queued", "running")
    assert "not running" not in text


def test_a_damaged_claim_does_not_end_status(out: Path, capsys) -> None:
    """Its process is named in the place of its progress."""
    store = open_store(out)
    (lineage, _) = plan_in(make_sweep(GRID), store)
    claim = store.claims.take(lineage.nodes[0].key)
    assert claim is not None
    with claim:
        claim.heartbeat({"lineage": "x", "step": "many", "num_steps": None})
        print_status(out, store=None)
    assert f"running now:\n  process {os.getpid()} on " in capsys.readouterr().out


def test_status_says_what_runs_now(out: Path, capsys) -> None:
    """A live claim with its progress."""
    store = open_store(out)
    (lineage, _) = plan_in(make_sweep(GRID), store)
    claim = store.claims.take(lineage.nodes[0].key)
    assert claim is not None
    with claim:
        claim.heartbeat({"lineage": "x", "generation": 2, "generations": 3, "stage": "train"})
        print_status(out, store=None)
    assert "running now:\n  x  V_2 of 3  train" in capsys.readouterr().out


def test_status_is_json_for_programs(out: Path, capsys) -> None:
    """While a trial trains; a loss that is no number is null."""
    store = open_store(out)
    lineages = plan_in(make_sweep(GRID), store)
    claim = store.claims.take(lineages[1].nodes[1].key)
    assert claim is not None
    progress = {"lineage": lineages[1].id, "stage": "train", "step": 3, "loss": math.nan}
    with claim:
        claim.heartbeat(progress)
        print_status(out, store=None, as_json=True)
    facts = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (facts["num_models_done"], facts["num_models"], facts["is_running"]) == (2, 3, True)
    assert [(each["id"], each["status"]) for each in facts["lineages"]] == [
        (lineages[0].id, "done"),
        (lineages[1].id, "running"),
    ]
    assert [each["num_generations_done"] for each in facts["lineages"]] == [2, 1]
    (trial,) = facts["trials"]
    assert trial["pid"] == os.getpid()
    assert {name: trial[name] for name in progress} == progress | {"loss": None}
    assert facts["resume"] == "sweep run tiny"


def test_a_plan_is_json_for_programs(out: Path, capsys) -> None:
    """Its numbers are those of the text, and the models are those of the plan."""
    sweep = make_sweep(GRID)
    look_ahead(sweep, out=out).print()
    text = capsys.readouterr().out
    facts = look_ahead(sweep, out=out, slots=(1, 2)).to_json()
    json.dumps(facts, allow_nan=False)
    assert (
        f"models       {facts['num_models']} unique of {facts['num_models_without_sharing']} "
        f"without sharing; {facts['num_models_done']} done, 1 to train"
    ) in text
    assert f"training     {facts['num_steps']:,} steps, {facts['images_seen']:,} images" in text
    assert [row["num_slots"] for row in facts["times"]] == [1, 2]
    lineages = plan_in(sweep, open_store(out))
    assert [each["id"] for each in facts["lineages"]] == [lineage.id for lineage in lineages]
    models = [model for each in facts["lineages"] for model in each["models"]]
    nodes = [node for lineage in lineages for node in lineage.nodes]
    assert [model["key"] for model in models] == [node.key for node in nodes]
    assert [model["is_done"] for model in models] == [True, True, True, False]
    assert [model["reason"] is None for model in models] == [True, True, True, False]


def test_status_leaves_the_folder_as_it_is(out: Path, capsys) -> None:
    """Reading changes nothing."""
    before = load_sweep(out)
    files = sorted(p for p in out.rglob("*") if p.is_file())
    print_status(out, store=None)
    assert (load_sweep(out), sorted(p for p in out.rglob("*") if p.is_file())) == (before, files)


def test_status_of_a_folder_that_is_no_sweep_is_an_error(tmp_path: Path) -> None:
    """It names the missing file."""
    with pytest.raises(ValueError, match=r"sweep.json must exist; is its folder the --out"):
        print_status(tmp_path, store=None)
