"""What a run needs is checked before it starts, and training never waits for a measurement."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import files_of
from tiny_sweep import compute, finish, make_lineage, make_run, make_sweep, plan_in, write_noise

from model.config import DataConfig, MetricsConfig
from model.data.datasets import dataset_key, describe, load_dataset
from model.errors import MissingFileError, UsageError
from model.features import extractors, ready
from model.features.ready import check_ready
from sweep.finished import lineage_status, look_up
from sweep.lineage import feature_blocks
from sweep.records import LineageRecord, load_lineages, load_sweep
from sweep.results_folder import fill, read_sweep, write_sweep
from sweep.store.store import Store, open_store

INCEPTION = ("--metrics.extractor", "inception")
PIXELS = ("--metrics.extractor", "pixels", "--metrics.names", "fid")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the weights of Inception that cannot download them."""
    from cleanfid import downloads_helper

    def refuse(folder: str) -> str:
        raise OSError("Network is unreachable")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads_helper, "check_download_inception", refuse)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return finish(tmp_path / "run", make_sweep())


@pytest.mark.parametrize("word", ["plan", "run"])
def test_float_images_need_an_extractor_of_any_range(word, ask, tmp_path):
    """Known before anything is trained, with the ways out."""
    path = write_noise(tmp_path / "noise.npz", num_images=60, shape=(1, 8, 8))
    data = ("--data.name", "npz", "--data.path", path, "--data.dtype", "float32")
    out = () if word == "plan" else ("--out", tmp_path / "run")
    code, said = ask("sweep", word, "quickstart", *out, *data, "--model.family", "gaussian")
    assert code == 2
    assert said.startswith("error: metrics.extractor must be pixels for float images without a")
    assert "--data.float-range unit" in said
    assert not (tmp_path / "run" / "sweep.json").exists()


def test_float_images_are_bounded_if_the_user_says_so(tmp_path):
    """Which is checked, and is part of the data set's identity."""
    images, path = np.random.default_rng(0).random((5, 1, 4, 4), np.float32), tmp_path / "x.npz"
    np.savez(path, images=images)
    config = DataConfig(
        name="npz",
        path=str(path),
        image_size=4,
        split="all",
        dtype="float32",
        float_range="unit",
    )
    data = load_dataset(config)
    np.testing.assert_array_equal(data.images, images)
    assert data.bounded
    assert describe(config).bounded
    assert dataset_key(config) != dataset_key(replace(config, float_range="any"))
    np.savez(path, images=images + np.float32(0.5))
    with pytest.raises(UsageError, match=r"must be in \[0, 1\] with data.float_range=unit, got 0"):
        load_dataset(config)


def test_a_filter_has_the_same_need(ask, tmp_path):
    path = write_noise(tmp_path / "noise.npz", num_images=60, shape=(1, 8, 8))
    data = ("--data.name", "npz", "--data.path", path, "--data.dtype", "float32")
    words = ("--metrics.extractor", "pixels", "--filter.name", "typicality")
    code, said = ask("sweep", "plan", "quickstart", *data, *words, "--filter.candidates", "2")
    assert code == 2
    assert said.startswith("error: filter.extractor must be pixels")


@pytest.mark.usefixtures("offline")
def test_a_run_without_weights_is_refused_before_anything_is_written(ask, tmp_path):
    out = tmp_path / "run"
    code, said = ask("sweep", "run", "quickstart", "--out", out, *INCEPTION)
    assert code == 2
    assert said.startswith("error: metrics.weights must be a file if inception-2015-12-05.pt")
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.usefixtures("offline")
def test_a_plan_says_what_will_be_downloaded(ask):
    code, said = ask("sweep", "plan", "quickstart", *INCEPTION)
    assert code == 0
    assert "note: the weights of metrics.extractor inception are not here" in said
    code, said = ask("sweep", "plan", "larger-data")
    assert code == 0
    assert "note: the images of data.name cifar10 are not here; sweep run downloads them" in said


@pytest.mark.parametrize("extractor", ["inception", "efficientnet-lite0", "dinov2", "clip"])
def test_a_missing_package_is_known_before(extractor, monkeypatch):
    monkeypatch.setattr(ready, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=f"metrics.extractor {extractor} needs the package"):
        check_ready(MetricsConfig(extractor=extractor), fetch=False)


@pytest.mark.parametrize("fetch", [False, True])
def test_weights_that_a_user_names_must_be_there(fetch, tmp_path):
    config = MetricsConfig(extractor="inception", weights=str(tmp_path / "none.pt"))
    with pytest.raises(MissingFileError, match=r"metrics\.weights must be a file"):
        extractors.weights_digest(config)
    (tmp_path / "none.pt").write_bytes(b"no network")
    if fetch:
        with pytest.raises(UsageError, match=r"metrics\.weights must be a TorchScript Inception"):
            check_ready(config, fetch=True)


@pytest.mark.usefixtures("offline")
def test_an_evaluation_that_cannot_be_made_leaves_the_run_as_it_was(ask, out):
    before = files_of(out)
    code, said = ask("sweep", "evaluate", out, *INCEPTION)
    assert code == 2
    assert said.startswith("error: metrics.weights must be a file if")
    assert files_of(out) == before
    assert "2 of 2" in ask("sweep", "status", out)[1]
    assert "nothing to compute" in ask("sweep", "run", out / "sweep.json", "--out", out)[1]


def evaluated(out: Path, metrics: MetricsConfig) -> Path:
    """A finished run to which an evaluation was added that has not been made."""
    sweep = replace(read_sweep(out), evaluations=(metrics,))
    store = open_store(out)
    lineages = plan_in(sweep, store)
    write_sweep(out, sweep, "sweep evaluate", lineages=lineages)
    fill(out, lineages, store)
    return out


def test_a_trained_lineage_without_a_measurement_is_unmeasured(ask, out):
    evaluated(out, MetricsConfig(names=("fid",), extractor="pixels"))
    (record,) = load_lineages(out)
    assert (record.status, record.num_done) == ("unmeasured", 2)
    assert record.error == "V_1 lacks fid with pixels"
    assert "unmeasured  2 of 2" in ask("sweep", "status", out)[1]


def test_an_evaluation_is_removed_and_its_numbers_stay(ask, out):
    evaluated(out, MetricsConfig(names=("fid", "recall"), extractor="pixels"))
    assert ask("sweep", "evaluate", out, "--remove", *PIXELS)[0] == 0
    assert [each.names for each in read_sweep(out).evaluations] == [("recall",)]
    words = ("--metrics.extractor", "pixels", "--metrics.names", "recall")
    assert ask("sweep", "evaluate", out, "--remove", *words)[0] == 0
    (record,) = load_lineages(out)
    assert (load_sweep(out).evaluations, record.status) == ([], "done")


def test_only_an_added_evaluation_can_be_removed(ask, out):
    evaluated(out, MetricsConfig(names=("fid",), extractor="pixels"))
    code, said = ask("sweep", "evaluate", out, "--remove", "--metrics.extractor", "inception")
    assert code == 2
    assert "--remove must name metrics that sweep evaluate added (fid/pixels), got" in said


@pytest.mark.usefixtures("offline")
def test_a_run_that_an_evaluation_stops_names_the_way_out(ask, out):
    evaluated(out, MetricsConfig(names=("kid",), extractor="inception"))
    code, said = ask("sweep", "run", out / "sweep.json", "--out", out)
    assert code == 2
    assert "sweep evaluate --remove drops metrics that sweep evaluate added" in said


@pytest.mark.parametrize("gone", ["generations", "one model"])
def test_lost_models_are_not_taken_for_measured_ones(gone, ask, out):
    """Absence is never completeness: the records stay, and the command fails."""
    folders = [out / "generations"]
    if gone == "one model":
        (record,) = load_lineages(out)
        folders = [out / "generations" / record.nodes[1][0]]
    for folder in folders:
        shutil.rmtree(folder)
    before = files_of(out)
    code, said = ask("sweep", "evaluate", out, *PIXELS)
    assert code == 2
    assert f"{out} must hold the trained models of {out}, got no V_" in said
    assert files_of(out) == before


def test_without_a_trained_model_nothing_is_measured(ask, tmp_path, monkeypatch):
    monkeypatch.setattr("sweep.commands.evaluate.run_analysis", lambda *words: True)
    out, sweep = tmp_path / "run", make_sweep()
    lineages = plan_in(sweep, open_store(out))
    write_sweep(out, sweep, "sweep run", lineages=lineages)
    fill(out, lineages, open_store(out))
    code, said = ask("sweep", "evaluate", out, *PIXELS)
    assert code == 1
    assert "no model of" in said


def status_of(store: Store, error: str | None = None) -> LineageRecord:
    (lineage,) = plan_in(make_sweep(), store)
    return lineage_status(lineage, look_up(store, [lineage]), error=error)


def test_training_does_not_wait_for_a_measurement_that_fails(tmp_path, monkeypatch):
    """Every model is trained; the error comes at the end, and only the numbers are made later."""
    store, config = open_store(tmp_path), make_lineage()
    extract = feature_blocks.extract_features

    def fail(*arguments: object, **settings: object) -> None:
        raise RuntimeError("the extractor's own bug")

    monkeypatch.setattr(feature_blocks, "extract_features", fail)
    generations = make_run(config, store).generations()
    steps = [next(generations), next(generations)]
    with pytest.raises(RuntimeError, match="the extractor's own bug"):
        next(generations)
    assert [step.problem for step in steps] == ["RuntimeError: the extractor's own bug"] * 2
    assert (status_of(store).status, status_of(store).num_done) == ("unmeasured", 2)
    assert status_of(store, "the extractor's own bug").error == "the extractor's own bug"
    monkeypatch.setattr(feature_blocks, "extract_features", extract)
    trained = [step.node.weights_sha256 for step in steps]
    again = compute(config, store)
    assert [step.node.weights_sha256 for step in again] == trained
    assert status_of(store).status == "done"
