"""The page's variance gains, paths and error ledger, beside figures and tables of the same."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_requests import figures
from measured_gains import write_forecast, write_gains
from report_pages import HOSTILE, Parsed, parse
from results_folder import rewrite, write_folder
from scipy import stats

from analysis.__main__ import PROGRAM
from analysis.reading.results import load_results
from analysis.report import gains
from analysis.statistics.paths import path_pairs, summarize_path

STEPS = ("--step", "low:alpha=0.5", "--step", "high:alpha=1")
DIRECTIONS = np.arange(1, 41)


def run(*args) -> int:
    return PROGRAM.run([str(arg) for arg in args])


def report(folder: Path, *args) -> Parsed:
    path = folder.parent / "report.html"
    assert run("report", folder, *args, "--out", path) == 0
    return parse(path)


def ids(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "lineages").glob("*.json"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_gains(tmp_path_factory.mktemp("gains") / "run", generations=2)


@pytest.fixture(scope="module")
def forecast(folder) -> Path:
    """Of the lineages with alpha 0.5 alone."""
    lineages = [name for name in ids(folder) if name.startswith("alpha-0.5")]
    return write_forecast(folder.parent / "forecast.json", lineages, generations=2)


@pytest.fixture(scope="module")
def page(folder, forecast) -> Parsed:
    return report(folder, "--forecast", forecast, *STEPS)


def test_gains_are_means_over_seeds_with_their_t_intervals(page):
    """The noise has mean 1 and deviation .1: +- t .1 / sqrt(3) of the mean."""
    (column,) = page.data["gains"]["columns"]
    assert [setting["name"] for setting in column["settings"]] == ["alpha = 0.5", "alpha = 1"]
    assert column["source"] == "95% t interval over seeds 0, 1, 2"
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    for setting in column["settings"]:
        assert [line["generation"] for line in setting["generations"]] == [1, 2]
        for line in setting["generations"]:
            expected = (DIRECTIONS / 10) ** (line["generation"] / 4)
            np.testing.assert_allclose(line["mean"], expected, rtol=1e-5)
            np.testing.assert_allclose(line["half"], half * expected, rtol=1e-5)


def test_a_setting_has_its_training_images_and_bands(page):
    """Of shares .2 x .8^(k - 1): 1 - .8^4 = .59 and 1 - .8^11 = .91."""
    for setting in page.data["gains"]["columns"][0]["settings"]:
        np.testing.assert_allclose(setting["train"], 1 + 0.1 / DIRECTIONS, rtol=1e-5)
        assert setting["ends"] == [4.5, 11.5]


def test_a_forecast_is_relative_to_the_reference(page):
    """The forecast times the gain of the training images, where a lineage has one."""
    forecast, without = page.data["gains"]["columns"][0]["settings"]
    assert [line["said"] for line in without["generations"]] == [None, None]
    for line in forecast["generations"]:
        expected = 0.9 ** line["generation"] * (1 + 0.1 / DIRECTIONS[:30])
        np.testing.assert_allclose(line["said"][:30], expected, rtol=1e-5)
        assert line["said"][30:] == [None] * 10


def test_the_page_has_the_figures_numbers(page, folder, forecast):
    """Solid lines are gains, dashed ones forecasts, and dotted ones training images."""
    from analysis.statistics.forecasts import load_forecasts

    (figure,) = figures([folder], "gain", forecasts=load_forecasts(forecast))
    settings = page.data["gains"]["columns"][0]["settings"]
    for axes, setting in zip(figure.axes, settings, strict=True):
        drawn = [line for line in axes.get_lines() if len(np.asarray(line.get_xdata())) > 2]
        lines = {
            style: np.array([line.get_ydata() for line in drawn if line.get_linestyle() == style])
            for style in ("-", "--", ":")
        }
        shown = {
            "-": [line["mean"] for line in setting["generations"]],
            "--": [line["said"][:30] for line in setting["generations"] if line["said"]],
            ":": [setting["train"]],
        }
        for style, expected in lines.items():
            np.testing.assert_allclose(np.array(shown[style]), expected, rtol=1e-5)


def test_settings_beyond_the_limit_are_left_out_with_a_note(folder, monkeypatch):
    """A setting has three seeds of two generations."""
    monkeypatch.setattr(gains, "MOST_MODELS", 11)
    shown = report(folder).data["gains"]
    assert [setting["name"] for setting in shown["columns"][0]["settings"]] == ["alpha = 0.5"]
    assert shown["left"].startswith("The first 1 of 2 settings are shown; ")


def test_a_forecast_of_settings_that_are_left_out_is_no_mistake(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(gains, "MOST_MODELS", 11)
    last = [name for name in ids(folder) if name.startswith("alpha-1")]
    forecast = write_forecast(tmp_path / "forecast.json", last, generations=2)
    (setting,) = report(folder, "--forecast", forecast).data["gains"]["columns"][0]["settings"]
    assert [line["said"] for line in setting["generations"]] == [None, None]


def test_gains_of_bands_alone_have_no_section(tmp_path):
    """As directions are left out if one of their numbers is not finite."""
    folder = write_gains(tmp_path / "run", alphas=(1.0,), seeds=(0,), generations=1)
    for path in folder.glob("generations/*/metrics/*.json"):
        rewrite(path, directions={})
    assert report(folder).data["gains"]["columns"] == []


def test_without_gains_there_is_no_section_of_them(tmp_path):
    page = report(write_folder(tmp_path / "run"))
    assert page.data["gains"]["columns"] == []
    assert page.data["ledger"] == []
    hidden = [attrs["id"] for tag, attrs in page.tags if tag == "section" and "hidden" in attrs]
    assert {"paths", "gains", "ledger"} <= set(hidden)


def test_a_diverged_setting_has_no_mean(tmp_path):
    diverged = tuple((1.0, seed, 2) for seed in (0, 1, 2))
    folder = write_gains(tmp_path / "run", diverged=diverged, generations=2)
    _, setting = report(folder).data["gains"]["columns"][0]["settings"]
    assert [line["generation"] for line in setting["generations"]] == [1]


def test_one_seed_has_the_interval_from_its_images(tmp_path):
    """+- 1.96 errors of a tenth of the gain."""
    folder = write_gains(tmp_path / "run", alphas=(1.0,), seeds=(1,), generations=1)
    (column,) = report(folder).data["gains"]["columns"]
    assert column["source"] == "95% interval from the images (not over seeds), seed 1"
    (line,) = column["settings"][0]["generations"]
    expected = stats.norm.ppf(0.975) / 10 * np.asarray(line["mean"])
    np.testing.assert_allclose(line["half"], expected, rtol=1e-5)


def test_numbers_of_different_numbers_of_images_are_not_mixed(tmp_path):
    """Their gains are not drawn, and a sentence says so."""
    one = write_gains(tmp_path / "a", alphas=(0.5,), generations=1)
    other = write_gains(tmp_path / "b", alphas=(1.0,), generations=1, num_generated=30)
    page = report(one, other)
    assert page.data["gains"]["columns"] == []
    assert "gain is not drawn by direction: gain must have the same numbers" in page.text


def test_the_ledger_is_that_of_analysis_ledger(page, folder, forecast, capsys):
    capsys.readouterr()
    words = ["ledger", folder, *STEPS, "--forecast", forecast, "--format", "csv"]
    assert run(*words) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    ledgers = page.data["ledger"]
    assert [ledger["name"] for ledger in ledgers] == ["gain head", "gain middle", "gain tail"]
    for ledger, (_, rows) in zip(ledgers, table.groupby("metric", sort=False), strict=True):
        terms = rows.groupby("term", sort=False)
        assert [term["name"] for term in ledger["terms"]] == ["sampler", "low", "high", "total"]
        for term, (_, expected) in zip(ledger["terms"], terms, strict=True):
            assert ledger["generations"] == expected["generation"].tolist()
            np.testing.assert_allclose(term["mean"], expected["mean"], rtol=1e-5, atol=1e-12)
            np.testing.assert_allclose(term["half"], expected["half_width"], rtol=1e-5, atol=1e-12)
            assert term["n"] == expected["n"].tolist()
    assert "Each term is the difference of its arm from the one above" in page.text


def test_the_ledger_is_of_the_metrics_that_a_user_names(folder):
    page = report(folder, *STEPS, "--metric", "gain_tail")
    assert [ledger["name"] for ledger in page.data["ledger"]] == ["gain tail"]


def test_a_forecast_is_of_gains_alone(folder, forecast, tmp_path):
    """KID has no term of the sampler."""
    frame = load_results([folder])
    assert frame["kid/pixels"].notna().all()
    from analysis.report.ledger import read_ledger
    from analysis.statistics.forecasts import load_forecasts
    from analysis.tables.ledger import parse_step

    _, ledgers = read_ledger(
        frame.assign(**{"kid_floor/pixels": 0.1}),
        ["kid/pixels", "gain_head"],
        [parse_step("low:alpha=0.5")],
        confidence=0.95,
        forecasts=load_forecasts(forecast),
    )
    terms = [[term["name"] for term in ledger["terms"]] for ledger in ledgers]
    assert terms == [["low", "total"], ["sampler", "low", "total"]]


def test_names_of_terms_are_shown_and_do_nothing(folder):
    page = report(folder, "--step", f"{HOSTILE}:alpha=0.5")
    assert page.data["ledger"][0]["terms"][0]["name"] == HOSTILE
    assert [tag for tag, _ in page.tags].count("script") == 4
    assert HOSTILE in page.text


def first_path(page: Parsed) -> list[str]:
    metrics = page.data["curves"]["metrics"]
    return [metrics[position]["column"] for position in page.data["curves"]["path"]]


def test_the_first_path_is_the_figures(tmp_path):
    """Precision against recall, or the two metrics that a user names."""
    folder = write_folder(tmp_path / "run", generations=2)
    assert first_path(report(folder)) == ["pixel_std", "kid/pixels"]
    named = report(folder, "--metric", "kid", "pixel_std")
    assert first_path(named) == ["kid/pixels", "pixel_std"]
    for path in folder.glob("generations/*/metrics/*.json"):
        values = json.loads(path.read_text())["values"]
        rewrite(path, values=values | {"precision/pixels": 0.5, "recall/pixels": 0.25})
    assert first_path(report(folder)) == ["recall/pixels", "precision/pixels"]


def test_a_path_has_the_figures_points(page, folder):
    frame = load_results([folder])
    ((x, y),) = path_pairs(["pixel_std", "kid/pixels"], [])
    points, _ = summarize_path(frame, [x, y], by=["pool.alpha"], confidence=0.95)
    metrics = {metric["column"]: metric["lines"] for metric in page.data["curves"]["metrics"]}
    for position, (_, rows) in enumerate(points.groupby("pool.alpha")):
        for metric, axis in ((x, "x"), (y, "y")):
            line = metrics[metric][position]
            assert line["generations"] == rows["generation"].tolist()
            np.testing.assert_allclose(line["mean"], rows[axis], rtol=1e-5)
            np.testing.assert_allclose(line["half"], rows[f"half_{axis}"], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}", "--forecast", "{other}"], "--forecast must have the lineages of DIR, got no "),
        (["{run}", "--forecast", "{none}"], "--forecast must have the lineages of DIR, got no "),
        (["{run}", "--forecast", "{bad}"], "--forecast must hold what `sweep plan --forecast"),
        (["{plain}", "--forecast", "{other}"], "DIR must have the metric gain, got none"),
        (["{run}", "--step", "low"], "--step must be NAME:AXIS=VALUE,"),
        (["{run}", "--step", "low:alpha=3"], "the value of --step pool.alpha must be one of"),
        (["{run}", "--step", "low:alpha=1,generation=3"], "the value of --step generation must"),
        (["{run}", "--step", "all:seed=0"], "--step all must leave one lineage for each seed"),
        (["{plain}", "--step", "low:alpha=1"], "--metric must be one of"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(folder, tmp_path, capsys, words, message):
    places = {
        "run": folder,
        "plain": write_folder(tmp_path / "plain", generations=1),
        "other": write_forecast(tmp_path / "other.json", ["other"], generations=1),
        "none": write_forecast(tmp_path / "none.json", [], generations=1),
        "bad": tmp_path / "bad.json",
    }
    places["bad"].write_text("{}")
    out = ["--out", tmp_path / "report.html"]
    assert run("report", *[word.format(**places) for word in words], *out) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
