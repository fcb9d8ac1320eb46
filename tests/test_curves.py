"""Curves as pictures: sizes, names, intervals and what is far from the rest."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_requests import check_texts, figure_request, figures, words
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import Collection
from PIL import Image
from results_folder import SPEC, node_key, rewrite, write_folder
from scipy import stats

from analysis.figures.drawing.end_labels import spread_out
from analysis.figures.drawing.limits import BEYOND, Spread, fit_limits
from analysis.figures.drawing.lines import MAX_BANDS, MAX_LINES, MAX_PANELS, arrange_lines
from analysis.figures.drawing.style import PALETTE
from analysis.figures.kinds import FIGURES, draw_figures
from analysis.reading.labels import Labels
from analysis.reading.results import load_results
from analysis.widths import COLUMN, PAGE

RUNS = Path(__file__).parent.parent / "experiments"
COMMITTED = {
    "paper-digits": [RUNS / f"paper-digits-seed{seed}" for seed in range(3)],
    **{
        path.parent.name: [path.parent]
        for path in sorted(RUNS.glob("*/sweep.json"))
        if not path.parent.name.startswith("paper-digits")
    },
}


def add_numbers(
    folder: Path,
    numbers: dict[str, float],
    *,
    alpha: float = 1.0,
    generations: Sequence[int] = (1, 2, 3),
) -> None:
    """Add numbers to the metrics of seed 0."""
    for n in generations:
        path = folder / "generations" / node_key(alpha, 40, 0, n) / "metrics" / f"{SPEC}.json"
        rewrite(path, values={**json.loads(path.read_text())["values"], **numbers})


def heights(band: Collection) -> tuple[float, float]:
    """The lowest and the highest point of a band."""
    _, low, _, high = band.get_paths()[0].get_extents().extents
    return low, high


@pytest.mark.parametrize(
    ("image_format", "width"), [("png", 2.0), ("png", PAGE), ("pdf", COLUMN), ("svg", 5.123)]
)
def test_files_have_the_width_in_inches(tmp_path, image_format, width):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), generations=2)
    request = figure_request([folder], tmp_path / "figures", width=width, image_format=image_format)
    for path in draw_figures(request, ["curves", "grids"]):
        content = path.read_bytes()
        if image_format == "png":
            with Image.open(path) as image:
                # PNG knows pixels per metre, as whole numbers
                inches = image.width / image.info["dpi"][0]
        elif image_format == "pdf":
            inches = float(re.findall(rb"MediaBox \[ 0 0 ([\d.]+)", content)[0]) / 72
        else:
            inches = float(re.findall(rb'width="([\d.]+)pt"', content)[0]) / 72
        assert inches == pytest.approx(width, rel=5e-3), path


@pytest.mark.slow
@pytest.mark.parametrize("width", [COLUMN, PAGE])
@pytest.mark.parametrize("alphas", [(1.0,), (0.5, 1.0, 2.0), (1, 2, 3, 4, 5, 6), tuple(range(9))])
def test_no_text_covers_another_one_or_is_cut(tmp_path, alphas, width):
    folder = write_folder(tmp_path / "a", alphas=alphas, value=lambda alpha, seed, n: n + seed)
    for figure in figures([folder], width=width):
        check_texts(figure)


@pytest.mark.slow
@pytest.mark.parametrize("width", [COLUMN, PAGE])
@pytest.mark.parametrize("run", COMMITTED)
def test_no_text_of_the_committed_runs_covers_another_one(run, width):
    known = load_results(COMMITTED[run]).columns
    metrics = [f"{name}/efficientnet-lite0-64" for name in ("kid", "class_tv")]
    used = [metric for metric in metrics if metric in known]
    for figure in figures(COMMITTED[run], metrics=used, width=width):
        check_texts(figure)
    for figure in figures(COMMITTED[run], "grids", width=width, note=lambda _: None):
        check_texts(figure)
    if "recall/efficientnet-lite0-64" in known:
        for figure in figures(COMMITTED[run], "paths", width=width):
            check_texts(figure)


def test_a_setting_far_from_the_others_is_clipped_and_its_number_named(tmp_path):
    """Kid of alpha 2 ends at 30, that of the others at 3: their range is a fifteenth."""
    folder = write_folder(
        tmp_path / "a",
        alphas=(0.5, 1.0, 2.0),
        seeds=(0,),
        value=lambda alpha, seed, n: n * (10.0 if alpha == 2 and n == 3 else 1.0),
    )
    (figure,) = figures([folder])
    (axes,) = figure.axes
    assert axes.get_ylim() == pytest.approx((1 - 0.05 * 2, 3 + 0.05 * 2))
    assert "(up to 30 at V3)" in words(figure)
    arrows = [
        line for line in axes.get_lines() if line.get_marker() == "^" and not line.get_clip_on()
    ]
    assert [line.get_xdata() for line in arrows if line.get_ydata() == [1]]


@pytest.mark.slow
def test_confidence_does_not_flatten_the_other_filters():
    """The committed run: KID 25 at V_4, of the others 2.2 to 2.8."""
    metric = "kid/efficientnet-lite0-64"
    figure = figures([RUNS / "filters"], metrics=[metric])[0]
    assert all(axes.get_ylim()[1] < 5 for axes in figure.axes)
    assert "confidence (up to 24.6 at V4)" in words(figure)
    check_texts(figure)


@pytest.mark.parametrize(
    ("highs", "top"),
    [
        ((2, 3, 40), 3),  # without the last, a range of 2 and not 39
        ((2, 3, 9), 9),  # without the last, a quarter
        ((2, 40), 40),  # of two lines, neither is the rest
        ((2, 3, 40, 41), 41),  # one of four may be clipped, and that leaves 40
        ((2, 3, 2, 3, 2, 3, 40, 41), 3),  # two of eight
    ],
)
def test_at_most_a_quarter_of_the_settings_is_clipped(highs, top):
    spreads = [Spread(1, high, 1, high) for high in highs]
    limits = fit_limits(spreads, log=False)
    assert limits.top == pytest.approx(top + 0.05 * (top - 1))


def test_a_logarithmic_axis_clips_by_factors():
    """A factor of 20 beside one of 3 is no outlier there."""
    spreads = [Spread(1, high, 1, high) for high in (2, 3, 20)]
    assert fit_limits(spreads, log=False).top < 4
    assert fit_limits(spreads, log=True).top == pytest.approx(20 * 20**0.05)


def test_an_interval_extends_the_axis_no_further_than_three_quarters_of_the_values():
    limits = fit_limits([Spread(1, 3, -9, 3.5)], log=False)
    assert limits[:2] == pytest.approx((1 - BEYOND * 2 - 0.1, 3.5 + 0.1))
    assert limits.is_cut_off


def test_a_single_seed_has_intervals_from_images(tmp_path):
    """Of 1.96 standard errors at 95 %, and named as such."""
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    add_numbers(folder, {"kid_se/pixels": 0.25})
    (figure,) = figures([folder])
    (band,) = figure.axes[0].collections
    assert heights(band)[0] == pytest.approx(1 - stats.norm.ppf(0.975) * 0.25)
    assert "bands: 95% interval from the images (not over seeds), seed 0" in words(figure)


def test_several_seeds_have_t_intervals_alone(tmp_path):
    """Although kid_se is known of one of them, and alpha 2 has a single seed."""
    folder = write_folder(tmp_path / "a", alphas=(1.0,))
    other = write_folder(tmp_path / "b", alphas=(2.0,), seeds=(0,), value=lambda a, s, n: n + 0.1)
    add_numbers(folder, {"kid_se/pixels": 0.25})
    add_numbers(other, {"kid_se/pixels": 0.25}, alpha=2.0)
    (figure,) = figures([folder, other])
    text = words(figure)
    assert "bands: 95% t interval over seeds 0, 1, 2; thin lines: seeds" in text
    assert "images (not" not in text
    band, none = figure.axes[0].collections
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert heights(band) == pytest.approx((1.1 - half, 3.1 + half))
    assert not none.get_paths()


def test_an_error_over_subsets_is_no_interval_from_images(tmp_path):
    """With kid_subset_size, kid_se is the error of a mean over subsets of the same images."""
    settings = {"metrics": {"kid_subset_size": 10}}
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), settings=settings)
    add_numbers(folder, {"kid_se/pixels": 0.25})
    (figure,) = figures([folder])
    assert "interval" not in words(figure)


def test_numbers_of_real_images_are_a_line(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    add_numbers(folder, {"class_tv/pixels": 0.3, "class_tv_held_out/pixels": 0.1})
    (figure,) = figures([folder], metrics=["class_tv/pixels"])
    dotted = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == ":"]
    assert [np.asarray(line.get_ydata()).tolist() for line in dotted] == [[0.1, 0.1]]
    assert "real images" in words(figure)
    assert figure.axes[0].get_ylim()[0] < 0.1


def test_a_path_has_recall_and_precision_of_each_generation(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    add_numbers(folder, {"recall/pixels": 0.5, "precision/pixels": 0.75})
    add_numbers(folder, {"recall/pixels": 0.25}, generations=(3,))
    (figure,) = figures([folder], "paths")
    (axes,) = figure.axes
    path = np.asarray(axes.get_lines()[0].get_xydata())
    assert path.tolist() == [[0.5, 0.75], [0.5, 0.75], [0.25, 0.75]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recall", "precision")
    check_texts(figure)


def test_paths_of_two_metrics_are_of_the_second_against_the_first(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), value=lambda a, s, n: 2.0 * n)
    add_numbers(folder, {"pixel_std": 0.25})
    (figure,) = figures([folder], "paths", metrics=["pixel_std", "kid/pixels"])
    (axes,) = figure.axes
    path = np.asarray(axes.get_lines()[0].get_xydata())
    assert path.tolist() == [[0.25, 2.0], [0.25, 4.0], [0.25, 6.0]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("pixel_std", "kid")
    check_texts(figure)


def test_paths_have_a_figure_for_each_extractor(tmp_path):
    """Two extractors are not two metrics."""
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,))
    of_other = {f"{name}/other": 0.5 for name in ("kid", "recall", "precision")}
    add_numbers(folder, {"recall/pixels": 0.5, "precision/pixels": 0.75, "pixel_std": 0.25})
    add_numbers(folder, of_other)
    both = ["kid/other", "kid/pixels"]
    for metrics, name in ((both, "recall"), (["pixel_std", *both], "pixel_std")):
        drawn = figures([folder], "paths", metrics=metrics)
        assert [figure.axes[0].get_xlabel() for figure in drawn] == [name, name]


def test_paths_need_precision_and_recall(tmp_path):
    folder = write_folder(tmp_path / "a", seeds=(0,))
    with pytest.raises(ValueError, match="--kind paths must have precision and recall, got runs"):
        figures([folder], "paths")


def test_a_logarithmic_axis_needs_values_above_0(tmp_path):
    folder = write_folder(tmp_path / "a", seeds=(0,), value=lambda alpha, seed, n: n - 2.5)
    with pytest.raises(ValueError, match="--log must be used with values above 0, got kid/pixels"):
        figures([folder], log=True)


def test_a_logarithmic_axis_is_one(tmp_path):
    folder = write_folder(tmp_path / "a", seeds=(0,), value=lambda alpha, seed, n: 10.0**n)
    (figure,) = figures([folder], log=True)
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    ticks = [text.get_text() for text in axes.get_yticklabels() if text.get_text()]
    assert {"10", "100", "1000"} <= set(ticks)
    check_texts(figure)


def rows(alphas: Sequence[float | None], rules: Sequence[str]) -> pd.DataFrame:
    """A table with the axes of some settings."""
    pairs = {"pool.alpha": list(alphas), "pool.rule": list(rules)}
    return pd.DataFrame(pairs, dtype=object)


def arrange(frame: pd.DataFrame):
    return arrange_lines(frame, list(frame.columns), Labels(frame))


def test_one_axis_names_settings_if_it_tells_them_apart():
    """Alpha is 1 under every rule but one, which has none."""
    ((panel,),) = arrange(rows([1, 1, 1, None], ["mix", "grow", "fresh", "replace"]))
    assert {line.label for line in panel.lines} == {"grow", "fresh", "mix", "replace"}


def test_the_second_setting_has_panels_if_they_can_have_bands():
    """And a setting looks the same in all of them."""
    frame = rows([1, 2, 3, 2, 3], ["a", "a", "a", "b", "b"])
    ((first, second),) = arrange(frame)
    assert (first.title, second.title) == ("a", "b")
    looks = {line.label: (line.colour, line.marker) for line in first.lines}
    assert {line.label: (line.colour, line.marker) for line in second.lines} == {
        label: look for label, look in looks.items() if label != "alpha = 1"
    }
    assert max(len(first.lines), len(second.lines)) <= MAX_BANDS


def test_up_to_seven_settings_of_one_panel_look_different():
    """By colour and marker, or by colour and dashes, so that they can be told apart in grey."""
    frame = rows([1, 1, 1, 1, 1, 1, 2], list("abcdefa"))
    ((panel,),) = arrange(frame)
    assert len({(x.marker, x.dashes) for x in panel.lines}) == len(panel.lines) == MAX_LINES
    assert len({x.colour for x in panel.lines}) == 6


def test_more_settings_are_compared_with_the_first_or_the_unfiltered_one():
    for names, expected in ((list("abcdefgh"), "a"), ([*"abcdefg", "none"], "none")):
        (panels,) = arrange(rows([1] * 8, names))
        assert {panel.lines[0].label for panel in panels} == {expected}
        assert {panel.lines[0].colour for panel in panels} == {PALETTE[0]}
        assert [panel.title for panel in panels] == [n for n in names if n != expected]


def test_a_figure_has_at_most_24_panels(tmp_path):
    names = [f"rule{i:02}" for i in range(30)]
    pages = arrange(rows([1] * 30, names))
    assert [len(panels) for panels in pages] == [MAX_PANELS, 29 - MAX_PANELS]
    folder = write_folder(tmp_path / "a", alphas=tuple(range(27)), seeds=(0,), generations=2)
    request = figure_request([folder], tmp_path / "figures")
    drawings = [drawing.name for drawing in FIGURES["curves"](request)]
    assert [name[-1] for name in drawings] == ["part-1", "part-2"]


def test_the_images_of_all_members_have_figures_of_their_own():
    """What enters a pool is not a model's own samples, and its KID is far from theirs."""
    request = figure_request(
        [RUNS / "concentration"], Path("unused"), metrics=["kid/efficientnet-lite0-64"]
    )
    names = [drawing.name for drawing in FIGURES["curves"](request)]
    assert [name[1:] for name in names] == [["member-0"], ["member-mixture"]]


def test_every_figure_of_the_experiments_is_drawn_by_the_script():
    """And none that the script draws is missing."""
    from benchmarks.figures import CURVES, GRIDS, KINDS, OF_WHY, WHY_LEDGER

    text = (RUNS.parent / "EXPERIMENTS.md").read_text()
    shown = set(re.findall(r"experiments/figures/([^)]+)\.png", text))
    drawn = {*CURVES, *GRIDS, *KINDS, *OF_WHY, WHY_LEDGER}
    assert shown <= drawn
    assert {path.stem for path in (RUNS / "figures").glob("*.png")} == drawn


def test_the_base_is_black():
    frame = rows([1, 1, 1], ["a", "none", "b"])
    ((panel,),) = arrange(frame)
    assert {line.label: line.colour for line in panel.lines}["none"] == "#000000"


SIZES = st.lists(st.tuples(st.floats(-0.2, 1.2), st.floats(0.01, 0.3)), min_size=1, max_size=8)


@given(SIZES)
def test_labels_are_moved_apart_in_their_order(labels):
    wanted, sizes = (np.array(column) for column in zip(*labels, strict=True))
    places = spread_out(wanted, sizes)
    order = np.argsort(wanted, kind="stable")
    lower, upper = (places - sizes / 2)[order], (places + sizes / 2)[order]
    assert (lower[1:] >= upper[:-1] - 1e-9).all()
    if sizes.sum() <= 1:
        assert lower.min() >= -1e-9
        assert upper.max() <= 1 + 1e-9


def test_labels_that_do_not_overlap_stay():
    wanted = np.array([0.9, 0.1, 0.5])
    assert spread_out(wanted, np.full(3, 0.2)).tolist() == pytest.approx(wanted.tolist())


def test_labels_at_one_height_are_centred_on_it():
    places = spread_out(np.full(3, 0.5), np.full(3, 0.1))
    assert places.tolist() == pytest.approx([0.4, 0.5, 0.6])
