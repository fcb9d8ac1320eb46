"""Facts of the error ledger: its terms are differences within a seed, and add up."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_requests import check_texts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from results_folder import write_folder

from analysis.__main__ import PROGRAM
from analysis.figures.drawing.style import styled
from analysis.figures.ledger import draw_ledger
from analysis.reading.results import load_results
from analysis.statistics.forecasts import load_forecasts
from analysis.statistics.seeds import t_interval
from analysis.tables.ledger import Step, build_ledger, parse_step
from analysis.widths import COLUMN, PAGE
from model.errors import UsageError

GAIN = "gain_head"
QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart"
NOISE = (0.3, -0.1, 0.05)
STEPS = (Step("fit", ("alpha=0.5",)), Step("network", ("alpha=2",)))


def gain(alpha: float, seed: int, generation: int) -> float:
    """Falls with generation, faster with alpha; all settings of a seed share its noise."""
    return 1 + NOISE[seed] - 0.1 * generation * alpha


@pytest.fixture
def frame(tmp_path) -> pd.DataFrame:
    frame = load_results([write_folder(tmp_path / "a", alphas=(0.5, 1.0, 2.0), value=gain)])
    return frame.rename(columns={"kid/pixels": GAIN})


def terms(frame: pd.DataFrame, **more) -> pd.DataFrame:
    """Means by term and generation."""
    (table,) = build_ledger(frame, [GAIN], STEPS, confidence=0.95, **more)
    return table.summary.set_index(["term", "generation"])["mean"].astype(float).unstack("term")


def test_terms_are_differences_within_a_seed(frame) -> None:
    """What the arms of a seed share is in the first term alone."""
    (table,) = build_ledger(frame, [GAIN], STEPS, confidence=0.95)
    rows = table.summary.set_index(["term", "generation"])
    fit, network = rows.loc[("fit", 3)], rows.loc[("network", 3)]
    expected = t_interval([gain(0.5, seed, 3) - 1 for seed in range(3)], 0.95)
    assert (fit["mean"], fit["half_width"], fit["n"]) == pytest.approx(expected)
    assert network["mean"] == pytest.approx(0.1 * 3 * (0.5 - 2))
    assert network["half_width"] == pytest.approx(0, abs=1e-12)
    assert table.header == ["term", "V1", "V2", "V3"]


def test_terms_add_up_to_the_total(frame) -> None:
    found = terms(frame)
    np.testing.assert_allclose(found["fit"] + found["network"], found["total"], rtol=1e-12)
    real = np.mean([gain(2, seed, 3) - 1 for seed in range(3)])
    assert found["total"][3] == pytest.approx(real)


@pytest.mark.parametrize(("alpha", "term"), [(0.5, "fit"), (2, "network")])
def test_an_error_of_one_arm_is_in_its_own_term(frame, alpha: float, term: str) -> None:
    """An error that stays in later arms, as that of a fit in its networks, is in no other one."""
    worse = frame.assign(**{GAIN: frame[GAIN] - 0.25 * (frame["pool.alpha"] >= alpha)})
    change = terms(worse) - terms(frame)
    other = {"fit": "network", "network": "fit"}[term]
    np.testing.assert_allclose(change[term], -0.25)
    np.testing.assert_allclose(change[other], 0, atol=1e-12)
    np.testing.assert_allclose(change["total"], -0.25)


@pytest.mark.parametrize(("first", "second"), [(0.5, 1), (1, 0.5)])
def test_an_interaction_is_in_the_term_of_the_later_arm(frame, first, second) -> None:
    """Two errors that each multiply the gain: the later term is that of its error times the first.

    The settings with alpha 0.5 and 1 have one error each, and those with alpha 2 have both.
    """
    gains = {0.5: 0.8, 1: 0.7}
    both = gains[0.5] * gains[1]
    injected = frame.assign(**{GAIN: frame["pool.alpha"].map({**gains, 2: both})})
    steps = [Step("first", (f"alpha={first}",)), Step("both", ("alpha=2",))]
    (table,) = build_ledger(injected, [GAIN], steps, confidence=0.95)
    found = table.summary[table.summary["generation"] == 1].set_index("term")["mean"]
    assert found["first"] == pytest.approx(gains[first] - 1)
    alone, interaction = gains[second] - 1, both - gains[0.5] - gains[1] + 1
    assert found["both"] == pytest.approx(alone + interaction)
    assert found["total"] == pytest.approx(both - 1)
    assert found["first"] + found["both"] == pytest.approx(found["total"], rel=1e-12)


def test_seeds_without_all_arms_are_left_out(frame) -> None:
    rest = frame[(frame["pool.alpha"] != 2) | (frame["seed"] != 1)].reset_index(drop=True)
    (table,) = build_ledger(rest, [GAIN], STEPS, confidence=0.95)
    assert set(table.summary["n"]) == {2}
    np.testing.assert_allclose(
        terms(rest)["fit"] + terms(rest)["network"], terms(rest)["total"], rtol=1e-12
    )


def test_the_floor_is_what_real_images_have(frame) -> None:
    other = frame.rename(columns={GAIN: "kid/pixels"}).assign(**{"kid_floor/pixels": 0.125})
    (table,) = build_ledger(other, ["kid/pixels"], STEPS, confidence=0.95)
    rows = table.summary.set_index(["term", "generation"])
    assert rows.loc[("fit", 2), "mean"] == pytest.approx(
        np.mean([gain(0.5, seed, 2) for seed in range(3)]) - 0.125
    )


def test_a_forecast_is_the_samplers_term(frame, tmp_path) -> None:
    """With it, the first step adds what the forecast does not know."""
    said = {"head": 0.9, "middle": 0.8, "tail": 0.7, "directions": [0.9]}
    lineages = [
        {"lineage": name, "generations": [{**said, "generation": n} for n in (1, 2, 3)]}
        for name in frame["lineage"].unique()
    ]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"forecast": lineages}))
    found, without = terms(frame, forecast=load_forecasts(path)), terms(frame)
    np.testing.assert_allclose(found["sampler"], -0.1)
    np.testing.assert_allclose(found["sampler"] + found["fit"], without["fit"])
    np.testing.assert_allclose(found["total"], without["total"])


@pytest.mark.parametrize("width", [COLUMN, PAGE])
def test_bars_are_the_terms_of_each_generation(frame, width: float) -> None:
    tables = build_ledger(frame, [GAIN], STEPS, confidence=0.95)
    summary = tables[0].summary
    with styled():
        figure = draw_ledger([summary], width=width)
        FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    named = zip(axes.containers[::2], ("fit", "network", "total"), strict=True)
    for bars, name in named:
        heights = [bar.get_height() for bar in bars]
        assert heights == pytest.approx(summary[summary["term"] == name]["mean"].tolist())
    check_texts(figure)


def test_only_a_figure_of_ours_is_replaced(tmp_path, capsys) -> None:
    other = tmp_path / "mine.png"
    other.write_bytes(b"a photograph")
    words = ["ledger", str(QUICKSTART), "--metric", "kid", "--step", "network:alpha=2"]
    assert PROGRAM.run([*words, "--figure", str(other)]) == 2
    assert "--figure must be new" in capsys.readouterr().err
    assert other.read_bytes() == b"a photograph"
    nothing = ["ledger", str(tmp_path / "none"), "--step", "network:alpha=2"]
    assert PROGRAM.run([*nothing, "--figure", str(tmp_path / "bars.gif")]) == 2  # before it loads
    assert "the ending of --figure must be one of .png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [Step("all", ("seed=0",))],
            "--step all must leave one lineage for each seed, got several",
        ),
        ([Step("fit", ("alpha=9",))], "the value of --step pool.alpha must be one of 0.5, 1, 2"),
    ],
)
def test_what_is_no_arm_is_refused(frame, steps, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_ledger(frame, [GAIN], steps, confidence=0.95)


@pytest.mark.parametrize("text", ["fit", "fit:", ":alpha=1", "fit:alpha", "fit:alpha=1,,"])
def test_a_step_is_a_name_and_settings(text: str) -> None:
    with pytest.raises(UsageError, match=r"--step must be NAME:AXIS=VALUE,AXIS=VALUE,\.\.\., got"):
        parse_step(text)


def test_a_metric_without_a_floor_is_refused(frame) -> None:
    with pytest.raises(UsageError, match="--metric final_loss must have a floor"):
        build_ledger(frame, ["final_loss"], STEPS, confidence=0.95)


def test_the_command_prints_a_table(tmp_path, capsys) -> None:
    folder = write_folder(tmp_path / "a", alphas=(0.5, 2.0), value=gain)
    words = ["ledger", str(folder), "--metric", "kid", "--step", "fit:alpha=0.5"]
    assert PROGRAM.run(words) == 2
    assert "must have a floor" in capsys.readouterr().err
