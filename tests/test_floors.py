"""Facts of floors: the numbers of real training images in place of generated ones."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluating import measured, write_npz
from figure_requests import figures, words
from running_sweep import copy_results, pasted, run_sweep
from tiny_sweep import CARD, compute, finish, make_lineage, make_run, make_sweep, plan_in

from analysis.reading.columns import METRIC_COLUMNS, metric_columns
from analysis.reading.integrity import inspect_folder
from analysis.reading.results import load_results
from analysis.report.curves import curves
from analysis.statistics.seeds import t_interval
from analysis.tables.build import build_tables, format_interval, part_of
from model.config import DataConfig, MetricsConfig
from model.data.datasets import Dataset, load_dataset
from model.metrics.table import METRICS
from sweep.__main__ import PROGRAM
from sweep.commands.floors import missing_floors
from sweep.finished import look_up
from sweep.lineage.feature_blocks import FeatureBlocks
from sweep.lineage.floors import Floors, choose_images, measure_floor
from sweep.lineage.measurement import Measurement
from sweep.planning.measurements import MetricsPlan, plan_metrics
from sweep.records import MetricsRecord
from sweep.results_folder import fill
from sweep.specifications import floor_name, floor_spec
from sweep.store.inventory import item_of
from sweep.store.store import Store, open_store

METRICS_OF = {"metrics.names": ["kid", "recall"], "metrics.num_images": 24, "metrics.nearest_k": 3}


def floor_files(out: Path) -> list[Path]:
    return sorted(out.glob("datasets/*/metrics/*.json"))


def measurement_of(data: Dataset, store: Store) -> Measurement:
    card = replace(CARD, fingerprint=data.fingerprint)
    return Measurement(data=data, features=FeatureBlocks(card=card, data=data, store=store))


def gaussian_floor(folder: Path, seed: int, num_images: int) -> MetricsRecord:
    """The floor of independent standard normal pixels, in four dimensions."""
    images = np.random.default_rng(seed).standard_normal((2 * num_images, 1, 2, 2), np.float32)
    train, reference = np.split(np.arange(2 * num_images), 2)
    data = Dataset(
        name="gaussian",
        images=images,
        labels=None,
        class_names=(),
        train=train,
        reference=reference,
        validation=train[:0],
        bounded=False,
    )
    config = MetricsConfig(names=("kid", "fid"), extractor="pixels")
    plan = MetricsPlan(
        spec="s", inputs={}, config=config, sample=make_lineage().sample, num_images=num_images
    )
    return measure_floor(plan, measurement_of(data, open_store(folder / str(seed))))


def test_floors_of_gaussian_data_have_the_expected_means(tmp_path):
    """KID is unbiased: 0. FID of N and N images of N(0, I) has two parts, to first order in 1 / N.

    From the means D 2 / N; and from the covariances (D^2 + D) / 4 2 / (N - 1), because the squared
    Bures distance of I + A and I + B is |A - B|^2 / 4, and E |A|^2 is (D^2 + D) / (N - 1). Both
    within four standard errors of 20 draws.
    """
    N, D = 400, 4
    floors = [gaussian_floor(tmp_path, seed, N).values for seed in range(20)]
    expected = {"kid/pixels": 0.0, "fid/pixels": D * 2 / N + (D**2 + D) / 4 * 2 / (N - 1)}
    for metric, value in expected.items():
        draws = np.array([floor[metric] for floor in floors])
        assert abs(draws.mean() - value) < 4 * draws.std(ddof=1) / np.sqrt(len(draws)), metric


def test_metrics_that_compare_with_training_images_or_classes_have_no_floor():
    """The table of metrics says so."""
    assert [name for name, metric in METRICS.items() if metric.has_floor] == [
        *("kid", "fid", "precision", "recall", "density", "coverage", "vendi")
    ]


def test_a_floor_is_what_model_evaluate_prints_for_the_images(tmp_path, capsys):
    """To the bit, by hand: 24 of the 40 training images against the reference."""
    run = make_run(make_lineage(METRICS_OF), store := open_store(tmp_path / "store"))
    list(run.generations())
    (plan,) = run.nodes[0].metrics
    floor = store.read_floor(run.card.key, floor_name(plan.inputs))
    assert floor is not None
    train = write_npz(tmp_path / "a.npz", choose_images(run.data, 24, ()))
    reference = write_npz(tmp_path / "b.npz", run.data.reference)
    options = ("--metrics.names", "kid", "recall", "--metrics.nearest_k", 3)
    printed = measured(capsys, "--images", train, "--reference", reference, *options)
    values = {name: number for name, number in floor.values.items() if "/" in name}
    assert values == {name: printed["values"][name] for name in values}
    assert set(values) == {"kid/pixels", "kid_se/pixels", "recall/pixels"}
    assert (floor.num_images, floor.num_reference) == (24, len(run.data.reference))


def test_floors_are_of_a_data_set_and_a_specification(tmp_path):
    """Seeds and samplers share one; a second split has another, and another number of images."""
    grids = ({"seed": [0, 1], "sample.steps": [2, 3]}, {"data.split_seed": [1]})
    out = finish(tmp_path / "out", make_sweep(grids))
    floors = floor_files(out)
    assert len(floors) == len({path.parent for path in floors}) == 2
    first, second = (MetricsRecord.load(path) for path in floors)
    assert first.values != second.values
    compute(make_lineage({"metrics.num_images": 17}), open_store(out))
    assert len(floor_files(out)) == 3


def test_what_says_how_images_are_generated_is_not_in_a_floors_specification():
    plans = [
        plan_metrics(make_lineage(changes), CARD)
        for changes in ({}, {"sample.steps": 3}, {"metrics.sample_steps": 5}, {"pool.alpha": 2.0})
    ]
    separate = plan_metrics(make_lineage({"metrics.images": "separate"}), CARD)
    other = plan_metrics(make_lineage({"metrics.nearest_k": 3}), CARD)
    names = {floor_name(plan.inputs) for plan in (*plans, separate) if plan}
    assert len(names) == 1
    assert other is not None
    assert floor_name(other.inputs) not in names
    assert floor_spec({"metrics": None}) == {"images": "train", "metrics": None}


def test_images_are_from_the_whole_training_split_or_of_the_requested_classes():
    """Evenly spaced, because a split may begin with the images of one official split."""
    data = load_dataset(DataConfig(train_limit=100))
    assert data.labels is not None
    assert choose_images(data, 4, ()).tolist() == data.train[[0, 25, 50, 75]].tolist()
    assert choose_images(data, 500, ()).tolist() == data.train.tolist()
    counts = [3, 0, 2, *[0] * 6, 500]
    chosen = data.labels[choose_images(data, 505, counts)]
    assert np.bincount(chosen).tolist()[:9] == counts[:9]
    assert (chosen == 9).sum() == (data.labels[data.train] == 9).sum()


def test_too_few_images_have_no_numbers(tmp_path):
    """As KID of subsets of 30 has for 20 training images; the reason is a warning."""
    changes = {"data.train_limit": 20, "metrics.num_images": 40, "metrics.kid_subset_size": 30}
    compute(make_lineage(changes), open_store(tmp_path))
    (floor,) = map(MetricsRecord.load, floor_files(tmp_path))
    assert floor.values == {}
    assert floor.warnings == ["the floor needs at least 30 training images, got 20"]


def test_a_metric_that_needs_more_images_than_there_are_fails_no_lineage(tmp_path):
    """Four neighbours of each of four training images do not exist, but those of 16 samples do."""
    changes = {"data.train_limit": 4, "metrics.names": ["recall"], "metrics.nearest_k": 4}
    generations = compute(make_lineage(changes), open_store(tmp_path))
    assert [generation.problem for generation in generations] == ["", ""]
    assert all("recall/pixels" in g.metrics[0].values for g in generations)
    (floor,) = map(MetricsRecord.load, floor_files(tmp_path))
    assert floor.values == {}
    assert floor.warnings[0].startswith("no floor: ")


def test_a_floor_is_measured_once_and_a_damaged_one_again(tmp_path):
    store = open_store(tmp_path)
    compute(make_lineage(), store)
    (path,) = floor_files(tmp_path)
    before, values = path.stat().st_ino, MetricsRecord.load(path).values
    compute(make_lineage({"generations": 3}), store)
    assert path.stat().st_ino == before
    path.write_bytes(b"{")
    compute(make_lineage({"generations": 4}), store)
    assert MetricsRecord.load(path).values == values


def test_a_floor_that_another_process_measures_is_left_to_it(tmp_path):
    """The claim is looked at again with the next model."""
    run = make_run(make_lineage(), store := open_store(tmp_path))
    (plan,) = run.nodes[0].metrics
    floors = Floors(store=store, measurement=measurement_of(run.data, store))
    other = store.claims.take(floors.claim_key(plan))
    assert other is not None
    floors.ensure([plan])
    assert floor_files(tmp_path) == []
    other.release()


def copy_of_records(out: Path, copy: Path) -> Path:
    """As committed: no arrays, weights, samples or features, and here no floors."""
    shutil.copytree(out, copy)
    for name in ("streams", "features", "claims", "work"):
        shutil.rmtree(copy / name, ignore_errors=True)
    for path in [*copy.rglob("*.safetensors"), *copy.glob("datasets/*/*.np?")]:
        path.unlink()
    for path in floor_files(copy):
        path.unlink()
    return copy


def test_a_copy_of_the_records_gets_floors_and_nothing_else(tmp_path, capsys):
    """With equal numbers, from the data set alone."""
    out = finish(tmp_path / "out", make_sweep(({"seed": [0, 1]},)))
    copy = copy_of_records(out, tmp_path / "copy")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert PROGRAM.run(["evaluate", str(copy), "--floors"]) == 0
    assert capsys.readouterr().err == "measured 1 floors; 0 exist\n"
    after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    (path,) = after.keys() - before.keys()
    assert {path: after[path] for path in before} == before
    (original,) = floor_files(out)
    assert path.relative_to(copy) == original.relative_to(out)
    assert MetricsRecord.load(path).values == MetricsRecord.load(original).values
    assert PROGRAM.run(["evaluate", str(copy), "--floors"]) == 0
    assert capsys.readouterr().err == "measured 0 floors; 1 exist\n"


def test_floors_of_a_store_elsewhere_are_copied(tmp_path):
    out, store = tmp_path / "out", open_store(tmp_path / "store")
    sweep = make_sweep()
    lineages = plan_in(sweep, store)
    for lineage in lineages:
        compute(lineage.config, store)
    fill(out, lineages, store)
    (here,), (there,) = floor_files(out), floor_files(tmp_path / "store")
    assert here.read_bytes() == there.read_bytes()


def test_a_missing_floor_is_found_once_its_model_is_measured(tmp_path):
    """That is what a run that was killed between both measures at its end."""
    store = open_store(tmp_path)
    lineages = plan_in(make_sweep(), store)
    assert missing_floors(lineages, look_up(store, lineages), store) == {}
    compute(lineages[0].config, store)
    (path,) = floor_files(tmp_path)
    assert missing_floors(lineages, look_up(store, lineages), store) == {}
    path.unlink()
    ((key, name),) = missing_floors(lineages, look_up(store, lineages), store)
    assert (key, name) == (path.parent.parent.name, path.stem)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_a_finished_run_without_its_floor_gets_it(command, finished, tmp_path):
    """As after a kill between the last measurement and the floor, or of an earlier version.

    A run without anything else to compute leaves the store as it is, and says so.
    """
    out = copy_results(finished.out, tmp_path / "out")
    (path,) = floor_files(out)
    values = MetricsRecord.load(path).values
    path.unlink()
    idle = run_sweep("run", out / "sweep.json", "--out", "out", cwd=tmp_path)
    shown = pasted("sweep evaluate out --floors", tmp_path)
    assert f"note: {shown} measures the floors" in idle.stderr
    assert floor_files(out) == []
    options = {
        "run": ("run", out / "sweep.json", "--out", "out", "--generations", "3"),
        "evaluate": ("evaluate", "out", "--metrics.extractor", "pixels", "--metrics.names", "kid"),
    }
    run = run_sweep(*options[command], cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert MetricsRecord.load(path).values == values
    assert "floor (" in run.stdout


def caption(out: Path, metric: str, **options) -> str:
    (table,) = build_tables(load_results([out]), [metric], by=[], confidence=0.95, **options)
    return table.caption


def test_a_table_says_the_floor_with_its_error_from_images(tmp_path):
    out = finish(tmp_path / "out", make_sweep(({"seed": [0, 1]},)))
    (floor,) = map(MetricsRecord.load, floor_files(out))
    value, error = floor.values["kid/pixels"], floor.values["kid_se/pixels"]
    text = format_interval(value, error, 2, "standard error over images")
    assert f"; floor (16 real training images): {text};" in caption(out, "kid/pixels")
    text = f"; floor (16 real training images): {floor.values['pixel_std']:.4g};"
    assert text in caption(out, "pixel_std")


def test_a_table_says_the_interval_of_floors_over_splits(tmp_path):
    """The seed does not matter: two values, however many lineages."""
    out = finish(tmp_path / "out", make_sweep(({"seed": [0, 1], "data.split_seed": [0, 1, 2]},)))
    values = [MetricsRecord.load(path).values["kid/pixels"] for path in floor_files(out)]
    mean, half, n = t_interval(values, 0.95)
    text = format_interval(mean, half, n, "3 splits")
    assert f"; floor (16 real training images): {text};" in caption(out, "kid/pixels")


def test_a_table_names_the_settings_of_different_floors(tmp_path):
    """By the axis that decides: two limits of the training images, not two alphas."""
    grid = {"data.train_limit": [20, 40], "pool.alpha": [0.5, 1.0], "metrics.num_images": [30]}
    out = finish(tmp_path / "out", make_sweep((grid,)))
    text = caption(out, "pixel_std")
    start = "; floor (20 or 30 real training images, not as many as generated): train_limit = 20: "
    assert start in text
    assert text.count("train_limit = ") == 2


def test_results_without_floors_have_tables_as_before(tmp_path):
    out = finish(tmp_path / "out", make_sweep())
    (path,) = floor_files(out)
    path.unlink()
    assert "floor" not in caption(out, "kid/pixels")
    assert inspect_folder(out).problems == []
    assert not any("floor" in column for column in load_results([out]))


def test_floors_are_the_last_columns_of_the_tidy_table(tmp_path):
    """After those of the metrics, which they are none of."""
    out = finish(tmp_path / "out", make_sweep())
    frame = load_results([out])
    columns = frame.columns.tolist()
    assert columns[columns.index(METRIC_COLUMNS[-1]) + 1 :] == [
        *("floor_images", "floor_images/pixels", "kid_floor/pixels", "kid_floor_se/pixels"),
        *("pixel_mean_floor", "pixel_std_floor"),
    ]
    assert not any("floor" in column for column in metric_columns(frame))
    assert frame["floor_images/pixels"].tolist() == [16, 16]


def test_a_check_reads_floors(tmp_path):
    out = finish(tmp_path / "out", make_sweep())
    assert inspect_folder(out).problems == []
    (path,) = floor_files(out)
    path.write_text(path.read_text().replace('"num_images": 16', '"num_images": 17'))
    (problem,) = inspect_folder(out).problems
    assert str(path) in problem


def test_floors_are_part_of_their_data_set_in_folder_and_bucket():
    """So that `sweep clean` keeps and deletes them together."""
    key, spec = "0123456789abcdef", "fedcba9876543210"
    for path in (f"datasets/{key}/metrics/{spec}.json", f"metrics/{key}/{spec}.json"):
        assert item_of(path) == ("dataset", key)


def test_curves_have_a_line_at_the_floor(tmp_path):
    """And where a logarithmic axis cannot show it, its number at the edge."""
    out = finish(tmp_path / "out", make_sweep())
    (floor,) = map(MetricsRecord.load, floor_files(out))
    (figure,) = figures([out], metrics=["kid/pixels"])
    dotted = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == ":"]
    (value,) = {float(y) for line in dotted for y in np.asarray(line.get_ydata())}
    assert value == floor.values["kid/pixels"]
    assert "real images" in words(figure)


def test_a_floor_below_0_is_outside_a_logarithmic_axis(tmp_path):
    """Its number stands at the edge."""
    out = finish(tmp_path / "out", make_sweep())
    (path,) = floor_files(out)
    floor = MetricsRecord.load(path)
    replace(floor, values=floor.values | {"kid/pixels": -0.5}).save(path)
    (figure,) = figures([out], metrics=["kid/pixels"], log=True)
    assert [line for line in figure.axes[0].get_lines() if line.get_linestyle() == ":"] == []
    assert "real images (-0.5, outside)" in words(figure)


def test_the_reports_curves_have_the_floor(tmp_path):
    """As a line, and in words below the chart."""
    out = finish(tmp_path / "out", make_sweep())
    frame = load_results([out])
    (floor,) = map(MetricsRecord.load, floor_files(out))
    (drawn,) = curves(part_of(frame, [], 0.95), ["kid/pixels"]).data["metrics"]
    assert drawn["floors"] == [floor.values["kid/pixels"]]
    assert drawn["floor"].startswith("floor (16 real training images): ")
