"""Facts of the results folder: what may be extended, where each lineage stands, what is copied."""

import os
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest
from tiny_sweep import compute, make_lineage, make_sweep, plan, plan_in

from analysis.reading.results import load_results
from sweep.config import SweepConfig
from sweep.files import RecordError, complete, dump_json, read_json
from sweep.finished import lineage_status, look_up
from sweep.planning.lineages import PlannedLineage
from sweep.presets.table import preset_of
from sweep.records import load_lineages, load_sweep
from sweep.results_folder import check_out, extend, fill, read_sweep, write_sweep
from sweep.store.store import Store, open_store

GRID = ({"pool.alpha": [0.5, 2.0]},)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with two lineages of two generations, in no results folder."""
    store = open_store(tmp_path_factory.mktemp("store"))
    for _, config in make_sweep(GRID).points():
        compute(config, store)
    return store


@pytest.fixture
def lineages(store: Store) -> list[PlannedLineage]:
    return plan_in(make_sweep(GRID), store)


def written(out: Path, sweep: SweepConfig | None = None) -> Path:
    write_sweep(out, sweep or make_sweep(GRID), "sweep run tiny --out x")
    return out


def snapshot(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def changed(**changes) -> SweepConfig:
    return make_sweep(GRID, make_lineage({k.replace("__", "."): v for k, v in changes.items()}))


def test_a_new_folder_extends_to_the_sweep_itself(tmp_path: Path) -> None:
    """There is nothing to join."""
    assert extend(make_sweep(GRID), tmp_path / "new") == make_sweep(GRID)


def test_the_same_sweep_again_is_the_folders(tmp_path: Path) -> None:
    """Grids are not repeated."""
    assert extend(make_sweep(GRID), written(tmp_path)) == make_sweep(GRID)


def test_grids_are_joined(tmp_path: Path) -> None:
    """The old points stay."""
    joined = extend(make_sweep(({"pool.alpha": [4.0]},)), written(tmp_path))
    assert [config.pool.alpha for _, config in joined.points()] == [0.5, 2.0, 4.0]


@pytest.mark.parametrize(("asked", "expected"), [(5, 5), (1, 2)])
def test_generations_may_grow_and_never_shrink(asked: int, expected: int, tmp_path: Path) -> None:
    """What is there stays."""
    joined = extend(changed(generations=asked), written(tmp_path))
    assert joined.base.generations == expected


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [
        ("train.lr", 0.001, 0.002),
        ("sample.steps", 2, 3),
        ("metrics.num_images", 16, 8),
        ("model.widths", [4, 8], [8, 8]),
        ("seed", 0, 1),
        ("data.train_limit", 40, 30),
    ],
)
def test_a_base_setting_that_differs_is_an_error_that_names_it(name, before, now, tmp_path) -> None:
    """With both values, and two ways out."""
    written(tmp_path)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        extend(changed(**{name.replace(".", "__"): now}), tmp_path)
    assert str(error.value) == (
        f"{name} must be {before!r} as in {tmp_path / 'sweep.json'}, got {now!r}; "
        f"use another --out, or --axis {name}=... to add points beside the old ones"
    )


def test_a_base_setting_that_every_grid_overrides_may_differ(tmp_path: Path) -> None:
    """It is in no lineage; the old one is kept."""
    joined = extend(changed(pool__alpha=1.0), written(tmp_path))
    assert joined.base.pool.alpha == 0.5


def test_resources_may_differ(tmp_path: Path) -> None:
    """They change no number; the new ones hold."""
    sweep = make_sweep(GRID)
    faster = replace(sweep, resources=replace(sweep.resources, max_concurrent=3))
    assert extend(faster, written(tmp_path)).resources.max_concurrent == 3


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [
        ("train.command_seconds", 60.0, 90.0),
        ("train.command_resumes", False, True),
        ("sample.command_seconds", None, 30.0),
        ("model.program", (), (__file__,)),
    ],
)
def test_what_a_folder_may_be_resumed_with_is_new(name, before, now, tmp_path: Path) -> None:
    """For example another time limit; the files of a program are then compared by their content."""
    family = {"model.family": "command", "train.command": "x {images} {out} {num_images}"}
    old, new = (make_sweep(GRID, make_lineage({**family, name: each})) for each in (before, now))
    written(tmp_path, old)
    assert attrgetter(name)(extend(new, tmp_path).base) == now


def test_auto_precision_is_the_one_the_folder_was_made_with(tmp_path: Path) -> None:
    """The command that made it says auto again when it resumes."""
    written(tmp_path, changed(train__precision="bf16"))
    assert extend(changed(train__precision="auto"), tmp_path).base.train.precision == "bf16"


def test_a_truncated_sweep_json_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Nothing is written over it."""
    path = written(tmp_path) / "sweep.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecordError, match=rf"{path} must be a whole JSON file"):
        extend(make_sweep(GRID), tmp_path)
    assert len(path.read_bytes()) == 100


def test_a_sweep_json_with_wrong_settings_is_an_error_that_names_it(tmp_path: Path) -> None:
    """As after editing it by hand."""
    record = load_sweep(written(tmp_path))
    replace(record, base={**record.base, "seed": -1}).save(tmp_path / "sweep.json")
    with pytest.raises(RecordError, match=r"sweep.json must hold a sweep's settings: seed must"):
        read_sweep(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("base", 3, "SweepRecord: Expected `object`, got `int` - at `$.base`"),
        ("base", {"train": 3}, "train must be a table of settings, got 3"),
        ("grids", 3, "SweepRecord: Expected `array`, got `int` - at `$.grids`"),
        ("grids", [{"seed": 3}], "SweepRecord: Expected `array`, got `int` - at `$.grids[0][...]`"),
        ("resources", [], "SweepRecord: Expected `object`, got `array` - at `$.resources`"),
        ("evaluations", 3, "SweepRecord: Expected `array`, got `int` - at `$.evaluations`"),
        ("evaluations", [3], "SweepRecord: Expected `object`, got `int` - at `$.evaluations[0]`"),
    ],
)
def test_a_sweep_json_of_another_form_is_an_error_that_names_it(
    field: str, value: object, message: str, tmp_path: Path
) -> None:
    """Whatever a field holds in the place of what it should."""
    record = load_sweep(written(tmp_path))
    replace(record, **{field: value}).save(tmp_path / "sweep.json")
    with pytest.raises(RecordError, match=r"sweep.json must ") as raised:
        read_sweep(tmp_path)
    assert message in str(raised.value)


def test_a_sweep_comes_back_from_its_folder(tmp_path: Path) -> None:
    """Settings, grids and resources."""
    assert read_sweep(written(tmp_path, preset_of("paper"))) == preset_of("paper")


def test_commands_are_kept_oldest_first_without_repeats(tmp_path: Path) -> None:
    """What made and extended the folder."""
    for command in ("a", "b", "a"):
        write_sweep(tmp_path, make_sweep(GRID), command)
    assert load_sweep(tmp_path).commands == ["a", "b"]


def test_files_that_set_steps_or_images_mean_no_epochs() -> None:
    """The default of 40 epochs would be a second length."""
    assert complete({"train": {"steps": 3}}) == {"train": {"steps": 3, "epochs": None}}
    assert complete({"train": {"lr": 1.0}}) == {"train": {"lr": 1.0}}


def test_out_may_be_new_empty_or_a_sweeps(tmp_path: Path) -> None:
    """Or what a killed first run left before its sweep.json."""
    (tmp_path / "killed" / "datasets").mkdir(parents=True)
    (tmp_path / "killed" / "work").mkdir()
    (tmp_path / "empty").mkdir()
    written(tmp_path / "sweep")
    for name in ("new", "new/deep", "empty", "killed", "sweep"):
        check_out(tmp_path / name)


def test_out_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    """It names the file."""
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(ValueError, match=rf"--out must be a folder, got the file {path}"):
        check_out(path)


def test_out_that_holds_something_else_is_an_error(tmp_path: Path) -> None:
    """A thesis is not mixed with results."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"must be new, empty or a sweep's folder.*thesis.tex"):
        check_out(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Nor can what would have to be made in it."""
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="--out must be in a folder that can be written"):
        check_out(tmp_path / "new")


def test_a_lineage_without_models_is_pending(tmp_path: Path) -> None:
    """Nothing is done."""
    (lineage,) = plan(make_sweep())
    record = lineage_status(lineage, look_up(open_store(tmp_path), [lineage]), error=None)
    assert (record.status, record.num_done) == ("pending", 0)


def test_a_lineage_with_all_models_and_numbers_is_done(store, lineages) -> None:
    """And no error of an earlier attempt is left."""
    record = lineage_status(lineages[0], look_up(store, [lineages[0]]), error="the worker was lost")
    assert (record.status, record.num_done, record.error) == ("done", 2, None)


def test_a_lineage_that_shares_its_first_model_has_one_done(store: Store) -> None:
    """The next is still to come."""
    (lineage,) = plan_in(make_sweep(({"pool.alpha": [4.0]},)), store)
    record = lineage_status(lineage, look_up(store, [lineage]), error=None)
    assert (record.status, record.num_done) == ("pending", 1)


def test_a_lineage_that_stopped_with_an_error_has_failed(store: Store) -> None:
    """The error is kept."""
    (lineage,) = plan_in(make_sweep(({"pool.alpha": [4.0]},)), store)
    record = lineage_status(lineage, look_up(store, [lineage]), error="the worker was lost")
    assert (record.status, record.error) == ("failed", "the worker was lost")


def test_a_lineage_without_its_numbers_is_not_done(store: Store) -> None:
    """Under the specification that is asked for, though all its models are trained."""
    base = make_lineage({"metrics.names": ["fid"]})
    (lineage,) = plan_in(make_sweep(({},), base), store)
    record = lineage_status(lineage, look_up(store, [lineage]), error=None)
    assert (record.status, record.num_done) == ("unmeasured", 2)


def test_a_record_lists_one_node_for_each_generation(store, lineages) -> None:
    """Those not computed yet included."""
    record = lineage_status(lineages[0], look_up(store, [lineages[0]]), error=None)
    assert record.nodes == [[node.key] for node in lineages[0].nodes]


def test_filling_again_changes_nothing(store, lineages, tmp_path: Path) -> None:
    """Not a byte, and no record is written anew."""
    first = fill(tmp_path, lineages, store)
    before = snapshot(tmp_path)
    inodes = [path.stat().st_ino for path in sorted((tmp_path / "lineages").iterdir())]
    assert fill(tmp_path, lineages, store) == first
    assert snapshot(tmp_path) == before
    assert [p.stat().st_ino for p in sorted((tmp_path / "lineages").iterdir())] == inodes


def test_filling_again_changes_nothing_where_an_axis_is_a_tuple(store, tmp_path: Path) -> None:
    """JSON has lists only."""
    lineages = plan_in(make_sweep(({"model.widths": [[4, 8]]},)), store)
    (record,) = fill(tmp_path, lineages, store)
    assert load_lineages(tmp_path) == [record]


def test_a_store_elsewhere_leaves_what_analysis_needs(store, lineages, tmp_path: Path) -> None:
    """Two lineages of two generations, with the numbers the store has, and no weights."""
    out = tmp_path / "out"
    written(out)
    fill(out, lineages, store)
    table = load_results([out])
    assert len(table) == 4
    spec = lineages[0].own_spec
    for _, row in table.iterrows():
        metrics = store.read_metrics(row["node"], spec)
        assert metrics is not None
        assert row["kid/pixels"] == metrics.values["kid/pixels"]
    names = {path.name for path in out.rglob("*")}
    assert {"preview.png", "curves.npz", "card.json", "record.json"} <= names
    assert not {"model.safetensors", "images.npy", "arrays.npz", "streams"} & names


def test_a_copied_folder_is_enough_for_analysis(store, lineages, tmp_path: Path) -> None:
    """Without the store."""
    written(tmp_path / "out")
    fill(tmp_path / "out", lineages, store)
    (tmp_path / "out").rename(tmp_path / "copy")
    assert load_results([tmp_path / "copy"])["status"].tolist() == ["done"] * 4


def test_a_store_in_the_folder_is_not_copied(tmp_path: Path) -> None:
    """Its nodes are there already."""
    store = open_store(tmp_path)
    (lineage,) = plan_in(make_sweep(), store)
    compute(lineage.config, store)
    before = snapshot(tmp_path)
    fill(tmp_path, [lineage], store)
    assert set(snapshot(tmp_path)) - set(before) == {f"lineages/{lineage.id}.json"}


def test_a_setting_newer_than_sweep_json_is_as_it_was_before(tmp_path: Path) -> None:
    """Its key_default, not today's default, so that an old folder resumes with its own keys."""
    out = written(tmp_path)
    data = read_json(out / "sweep.json")
    del data["base"]["train"]["adam_eps_form"], data["checksum"]
    (out / "sweep.json").write_bytes(dump_json(data))
    assert read_sweep(out).base.train.adam_eps_form == "torch"


def test_lineage_records_say_what_newer_settings_were(store, lineages) -> None:
    record = lineage_status(lineages[0], look_up(store, [lineages[0]]), error=None)
    assert record.key_defaults["train.adam_eps_form"] == "torch"
