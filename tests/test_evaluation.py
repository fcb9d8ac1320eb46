"""Facts of `sweep evaluate`: further numbers of finished models, and nothing trained for them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from figure_requests import figures
from running_sweep import copy_results, finished_nodes, results, run_sweep

from analysis.reading.integrity import inspect_folder
from analysis.reading.results import load_class_results, load_results
from model.config import MetricsConfig
from sweep.commands.evaluate import additional
from sweep.config import SweepConfig
from sweep.records import load_lineages, load_metrics, load_sweep
from sweep.results_folder import read_sweep

KID = MetricsConfig(names=("kid",), extractor="pixels")
PRECISION = ("--metrics.extractor", "pixels", "--metrics.names", "precision", "classes")


def written(out: Path, pattern: str) -> dict[str, int]:
    """Inode of every file that matches, by its path."""
    return {str(p.relative_to(out)): p.stat().st_ino for p in out.glob(pattern)}


@pytest.fixture(scope="module")
def evaluated(finished, tmp_path_factory):
    """The finished run and an evaluation of a copy of it."""
    out = copy_results(finished.out, tmp_path_factory.mktemp("evaluated") / "out")
    run = run_sweep("evaluate", "out", *PRECISION, cwd=out.parent)
    assert run.returncode == 0, run.stderr
    return out, run


@pytest.mark.slow
@pytest.mark.ray
def test_it_measures_every_finished_model_once(evaluated):
    """Two lineages share V_1: three models, three lines."""
    _, run = evaluated
    lines = [line for line in run.stderr.splitlines() if not line.endswith(" ...")]  # stages

    assert [line.split("]")[0] for line in lines] == ["[1 of 3", "[2 of 3", "[3 of 3"]
    assert all(line.endswith("measured") for line in lines)


@pytest.mark.slow
@pytest.mark.ray
def test_it_trains_and_samples_nothing(evaluated, finished):
    """Weights, streams, curves and the numbers that were there are the same, bit for bit."""
    out, _ = evaluated
    before, after = results(finished.out), results(out)

    assert {name: after[name] for name in before} == before
    new = set(after) - set(before)
    assert len(new) == 3
    assert all("/metrics/" in name for name in new)


@pytest.mark.slow
@pytest.mark.ray
def test_its_numbers_are_columns_of_the_table(evaluated, finished):
    """Beside those of the run itself, with the extractor in their names."""
    out, run = evaluated
    before, after = load_results([finished.out]), load_results([out])

    assert after["precision/pixels"].between(0, 1).all()
    assert after["class_tv/pixels"].between(0, 1).all()
    assert after["kid/pixels"].tolist() == before["kid/pixels"].tolist()
    assert "**precision/pixels**" in run.stdout


@pytest.mark.slow
@pytest.mark.ray
def test_another_number_of_images_is_noted_and_in_the_name(finished, tmp_path):
    """The table of what was measured has them all the same."""
    out = copy_results(finished.out, tmp_path / "out")
    run = run_sweep("evaluate", "out", *PRECISION, "--metrics.num-images", "11", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "note: 11 images of each model are measured, and the run measured 359;" in run.stderr
    assert "**precision/pixels@11**" in run.stdout
    assert load_results([out])["precision/pixels@11"].between(0, 1).all()


@pytest.mark.slow
@pytest.mark.ray
def test_numbers_per_class_are_a_table_of_their_own(evaluated):
    """A row for each of the ten digits of each model; shares sum to one."""
    out, _ = evaluated
    frame = load_class_results([out])
    shares = frame.groupby(["lineage", "node"])["class_share/pixels"].sum()

    assert len(frame) == 2 * 2 * 10
    assert shares.round(9).eq(1).all()


@pytest.mark.slow
@pytest.mark.ray
def test_gains_and_nearest_images_of_finished_models(finished, tmp_path):
    """The table shows each band of gains, whose names have no extractor, and figures are drawn."""
    out = copy_results(finished.out, tmp_path / "out")
    names = ("--metrics.names", "gain", "nearest", "--metrics.extractor", "pixels")
    run = run_sweep("evaluate", "out", *names, cwd=tmp_path)

    assert run.returncode == 0, run.stderr
    for column in ("gain_head", "gain_middle", "gain_tail", "closest_distance/pixels"):
        assert f"**{column}**" in run.stdout
    assert (load_results([out])["gain_head"] > 0).all()
    assert inspect_folder(out).problems == []
    assert len(figures([out], "gain")) == 1
    assert len(figures([out], "neighbours", width=6.75)) == 2


@pytest.mark.slow
@pytest.mark.ray
def test_the_same_evaluation_again_measures_nothing(evaluated):
    out, _ = evaluated
    before = written(out, "generations/*/metrics/*.json")
    run = run_sweep("evaluate", "out", *PRECISION, cwd=out.parent)

    assert (run.returncode, run.stderr) == (
        0,
        "nothing to measure: all metrics exist\n",
    )
    assert written(out, "generations/*/metrics/*.json") == before


@pytest.mark.slow
@pytest.mark.ray
def test_features_are_extracted_once(evaluated, tmp_path):
    """Another metric of the same extractor reads those that are there, and adds none."""
    source, _ = evaluated
    out = copy_results(source, tmp_path / "out")
    before = written(out, "features/*/*")
    words = ("--metrics.extractor", "pixels", "--metrics.names", "recall")
    run = run_sweep("evaluate", "out", *words, cwd=tmp_path)

    assert run.returncode == 0
    assert before
    assert written(out, "features/*/*") == before


@pytest.mark.slow
@pytest.mark.ray
def test_a_longer_run_is_measured_so_as_well(evaluated, tmp_path):
    """The evaluation is part of the folder's sweep: a new generation gets its numbers too."""
    source, _ = evaluated
    out = copy_results(source, tmp_path / "out")
    (kept,) = {spec for line in load_lineages(out) for spec in line.evaluation_specs}
    run = run_sweep("run", out / "sweep.json", "--out", "out", "--generations", "3", cwd=tmp_path)

    assert run.returncode == 0, run.stderr
    for lineage in load_lineages(out):
        assert lineage.evaluation_specs == [kept]
        assert all(load_metrics(out, key, kept) for (key,) in lineage.nodes)
    assert len(finished_nodes(out)) == 5


@pytest.mark.ray
def test_a_copy_without_samples_and_weights_is_one_line(finished, tmp_path):
    """It says what is missing, and nothing is quarantined or trained."""
    out = copy_results(finished.out, tmp_path / "out")
    shutil.rmtree(out / "streams")
    for path in out.glob("generations/*/model.safetensors"):
        path.unlink()
    before = finished_nodes(out)
    run = run_sweep("evaluate", "out", *PRECISION, cwd=tmp_path)

    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert "must hold the samples or weights of" in line
    assert finished_nodes(out) == before
    assert load_sweep(out).evaluations == []


@pytest.mark.slow
@pytest.mark.ray
def test_samples_are_drawn_where_there_are_too_few(finished, tmp_path):
    """More images than were measured before; the columns carry their number."""
    out = copy_results(finished.out, tmp_path / "out")
    words = ("--metrics.extractor", "pixels", "--metrics.names", "kid")
    run = run_sweep("evaluate", "out", *words, "--metrics.num-images", "700", cwd=tmp_path)
    frame = load_results([out])

    assert run.returncode == 0, run.stderr
    assert frame["kid/pixels@700"].notna().all()
    assert (frame["kid/pixels@700"] != frame["kid/pixels"]).all()


def sweep_of(*evaluations: MetricsConfig) -> SweepConfig:
    """A sweep that measures KID on pixels, and has been evaluated further."""
    from tiny_sweep import make_lineage, make_sweep

    base = replace(make_lineage(), metrics=KID)
    return replace(make_sweep(base=base), evaluations=evaluations)


def test_what_is_measured_already_is_left_out():
    """KID is the sweep's own, recall was evaluated before; precision is new."""
    recall = replace(KID, names=("recall",))
    asked = replace(KID, names=("kid", "precision", "recall"))

    assert additional(sweep_of(recall), asked) == replace(KID, names=("precision",))
    assert additional(sweep_of(recall), replace(KID, names=("recall", "kid"))) is None


def test_another_extractor_or_number_of_images_is_another_evaluation():
    for asked in (replace(KID, extractor="random-conv"), replace(KID, num_images=50)):
        assert additional(sweep_of(), asked) == asked


def test_one_name_is_never_measured_in_two_ways():
    """A column of two settings would mix them."""
    first = replace(KID, names=("precision",))
    message = (
        r"metrics.nearest_k must be 5, with which precision/pixels was measured before, got 3; "
        "leave it out, or evaluate a copy of the run"
    )
    with pytest.raises(ValueError, match=message):
        additional(sweep_of(first), replace(first, nearest_k=3))


def test_an_evaluation_survives_the_file(tmp_path):
    """sweep.json gives back the evaluations that were written."""
    from sweep.results_folder import write_sweep

    sweep = sweep_of(replace(KID, names=("precision", "recall"), nearest_k=3))
    write_sweep(tmp_path, sweep, "sweep evaluate")

    assert read_sweep(tmp_path).evaluations == sweep.evaluations


def test_a_sweep_json_from_before_evaluations_has_none(tmp_path):
    from sweep.results_folder import write_sweep

    write_sweep(tmp_path, sweep_of(), "sweep run")
    path = tmp_path / "sweep.json"
    data = json.loads(path.read_text())
    del data["evaluations"], data["checksum"]
    path.write_text(json.dumps(data))

    assert read_sweep(tmp_path).evaluations == ()
