"""Real shares against damage, class shares and trees: what is drawn, beside the table."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from figure_requests import check_texts, figure_request, figures, words
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color, to_hex, to_rgb, to_rgba
from results_folder import NUM_REAL, rewrite, write_folder
from scipy import stats

from analysis.__main__ import PROGRAM
from analysis.figures.drawing.style import PALETTE
from analysis.figures.kinds import FIGURES
from analysis.figures.trees import find_colours
from analysis.reading.columns import CLASS, setting_axes
from analysis.reading.labels import Labels
from analysis.reading.results import load_class_results, load_results
from analysis.reading.trees import find_lines, grow_tree
from analysis.tables.comparisons import build_comparisons
from analysis.widths import COLUMN, PAGE

RUNS = Path(__file__).parent.parent / "experiments"
KID = "kid/efficientnet-lite0-64"
CLASSES = ("a", "b", "c")
COUNTS = [10, 6, 4]
"""Reference images of each class."""


def plan(kind: str, *folders: Path, **changes) -> list:
    return list(FIGURES[kind](figure_request(folders, Path("unused"), **changes)))


def write_classes(folder: Path, **settings) -> Path:
    """A results folder with class shares 1/6, 2/6 and 3/6, whose reference has other ones."""
    write_folder(folder, classes=CLASSES, **settings)
    rewrite(
        folder / "datasets" / "data0" / "card.json",
        class_names=list(CLASSES),
        num_classes=3,
        reference_class_counts=COUNTS,
    )
    return folder


def paths_of(axes) -> dict[str, np.ndarray]:
    """Colour -> the points of each setting."""
    lines = [line for line in axes.get_lines() if len(line.get_xydata()) > 1]
    return {
        to_hex(line.get_color()): np.asarray(line.get_xydata())
        for line in lines
        if line.get_marker() not in ("None", "")
    }


def test_real_shares_and_differences_within_a_seed_are_the_points(tmp_path):
    """The level of a seed cancels: V_n - V_1 = alpha (n - 1) (1 + noise)."""
    noise = {0: 0.0, 1: 0.1, 2: -0.1}
    folder = write_folder(
        tmp_path / "a", value=lambda a, s, n: 10 * s + a * (n - 1) * (1 + noise[s])
    )
    (figure,) = figures([folder], "real-share")
    (axes,) = figure.axes
    for alpha, colour in ((0.5, PALETTE[0]), (1.0, PALETTE[1])):
        sizes = [NUM_REAL * (1 + alpha) ** (n - 1) for n in (1, 2, 3)]
        expected = [[NUM_REAL / round(size), alpha * n] for n, size in enumerate(sizes)]
        assert paths_of(axes)[to_hex(colour)] == pytest.approx(np.array(expected))
    quantile = stats.t.ppf(0.975, 2)
    bars = [
        bar
        for bars in axes.collections
        if isinstance(bars, LineCollection)
        and same_color(tuple(np.asarray(bars.get_edgecolor())[0]), (*to_rgb(PALETTE[1]), 0.7))
        for bar in np.asarray(bars.get_segments())
    ]
    halves = sorted((top - bottom) / 2 for (_, bottom), (_, top) in bars if top > bottom)
    assert halves == pytest.approx([quantile * 0.1 * n / math.sqrt(3) for n in (1, 2)])
    assert axes.xaxis_inverted()
    check_texts(figure)


@pytest.mark.parametrize("run", ["rules", "budget"])
def test_real_share_shows_the_numbers_of_the_table_against_v1(run):
    (figure,) = figures([RUNS / run], "real-share", metrics=[KID])
    drawn = sorted(
        float(y) for axes in figure.axes for path in paths_of(axes).values() for y in path[1:, 1]
    )
    (table,) = build_comparisons(
        load_results([RUNS / run]),
        [KID],
        against="V1",
        confidence=0.95,
        margin=None,
        generations=(2, 3, 4),
    )
    assert drawn == pytest.approx(sorted(table.summary["difference"]))


def test_real_share_needs_a_model_after_v1(tmp_path):
    folder = write_folder(tmp_path / "a", generations=1)
    with pytest.raises(ValueError, match="--kind real-share must have kid/pixels of V1 and of a"):
        plan("real-share", folder)


@pytest.mark.parametrize("kind", ["real-share", "trees"])
def test_a_kind_that_needs_a_metric_names_the_command_that_takes_it(tmp_path, kind):
    with pytest.raises(ValueError, match=f"--kind {kind} must have a metric.*`sweep evaluate DIR"):
        plan(kind, write_folder(tmp_path / "a"), metrics=[])


def test_a_setting_far_from_the_others_leaves_the_axes_and_is_named(tmp_path):
    folder = write_folder(
        tmp_path / "a",
        alphas=(0.5, 1.0, 2.0, 4.0),
        seeds=(0,),
        value=lambda a, s, n: (1000 if a == 4 else a) * (n - 1),
    )
    (figure,) = figures([folder], "real-share")
    assert figure.axes[0].get_ylim()[1] < 10
    assert "alpha = 4: up to 2e+03, outside" in words(figure)
    check_texts(figure)


def test_class_shares_are_lines_beside_the_reference(tmp_path):
    folder = write_classes(tmp_path / "a")
    (figure,) = figures([folder], "shares")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(CLASSES)
    for axes, weight, count in zip(figure.axes, (1, 2, 3), COUNTS, strict=True):
        dotted = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
        heights = [np.asarray(line.get_ydata()).tolist() for line in dotted]
        assert heights == [[count / sum(COUNTS)] * 2]
        drawn = paths_of(axes)
        assert set(drawn) == {PALETTE[0].lower(), PALETTE[1].lower()}
        for line in drawn.values():
            assert line == pytest.approx(np.array([[n, weight / 6] for n in (1, 2, 3)]))
        assert axes.get_ylim()[0] == 0
    check_texts(figure)


@pytest.mark.slow
@pytest.mark.parametrize("width", [COLUMN, PAGE])
def test_class_shares_of_a_committed_run_are_those_of_the_table(width):
    dirs = [RUNS / "concentration"]
    frame = load_class_results(dirs)
    share = "class_share/efficientnet-lite0-64"
    drawn = figures(dirs, "shares", width=width)
    assert len(drawn) == 2  # member 0, and the images of all members
    for figure, member in zip(drawn, (0, "mixture"), strict=True):
        check_texts(figure)
        for name, axes in zip("0123456789", figure.axes, strict=True):
            rows = frame[(frame[CLASS] == name) & (frame["member"] == member)]
            means = rows.groupby(["pool.concentration", "generation"])[share].mean()
            ours = [y for line in paths_of(axes).values() for y in line[:, 1]]
            assert sorted(ours) == pytest.approx(sorted(means))


def test_settings_of_other_data_have_lines_for_their_own_classes(tmp_path):
    first = write_classes(tmp_path / "a", alphas=(0.5,), seeds=(0,))
    second = write_folder(tmp_path / "b", alphas=(1.0,), seeds=(0,), classes=("b", "z"))
    (figure,) = figures([first, second], "shares")
    lines = {axes.get_title(loc="left"): len(paths_of(axes)) for axes in figure.axes}
    assert lines == {"a": 1, "b": 2, "c": 1, "z": 1}
    assert len(figure.legends[0].get_texts()) == 2
    check_texts(figure)


def test_shares_need_metrics_per_class(tmp_path):
    with pytest.raises(
        ValueError, match=r"got none; `sweep evaluate DIR --metrics\.names classes`"
    ):
        plan("shares", write_folder(tmp_path / "a"))


def test_more_settings_than_lines_have_a_figure_each(tmp_path):
    folder = write_classes(tmp_path / "a", alphas=tuple(range(1, 10)), seeds=(0,), generations=2)
    drawings = plan("shares", folder)
    assert len(drawings) == 8
    assert len({tuple(drawing.name) for drawing in drawings}) == 8


def models_of(axes) -> dict[tuple[float, float], tuple]:
    """Place -> marker and colour of each model."""
    return {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])): (
            line.get_marker(),
            to_rgba(line.get_markerfacecolor()),
        )
        for line in axes.get_lines()
        if len(line.get_xdata()) == 1
    }


def test_a_tree_has_a_circle_for_each_model_in_the_colour_of_its_metric(tmp_path):
    """V_1 does not depend on alpha: it is one model amid its two branches."""
    folder = write_folder(tmp_path / "a", seeds=(0,), value=lambda a, s, n: 0 if n == 1 else a * n)
    (figure,) = figures([folder], "trees")
    colours = find_colours([0, 1.0, 1.5, 2.0, 3.0], "kid/pixels")
    expected = {(1, 0.5): 0.0, (2, 0): 1.0, (3, 0): 1.5, (2, 1): 2.0, (3, 1): 3.0}
    assert models_of(figure.axes[0]) == {
        place: ("o", pytest.approx(colours.of(number))) for place, number in expected.items()
    }
    assert r"$\alpha$ = 0.5" in words(figure)
    assert r"$\alpha$ = 1" in words(figure)
    check_texts(figure)


def test_a_tree_of_some_generations_keeps_their_names(tmp_path):
    folder = write_folder(tmp_path / "a", seeds=(0,))
    (figure,) = figures([folder], "trees", **selected(folder, "generation=1", "generation=3"))
    assert set(models_of(figure.axes[0])) == {(1, 0.5), (3, 0), (3, 1)}
    edges = [line.get_xydata() for line in figure.axes[0].get_lines()]
    assert sorted({float(np.asarray(x)[0, 0]) for x in edges if len(np.asarray(x)) == 4}) == [1.0]


def test_a_seed_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="--seed must be one of 0, 1, 2, got 7"):
        plan("trees", write_folder(tmp_path / "a"), seed=7)


def test_all_seeds_have_the_colours_of_one_scale(tmp_path):
    folder = write_folder(tmp_path / "a", seeds=(0, 1), value=lambda a, s, n: 10 * s + n)
    drawn = figures([folder], "trees")
    assert [figure.axes[1].get_xlim() for figure in drawn] == [(1, 13), (1, 13)]
    (only,) = figures([folder], "trees", seed=1)
    assert only.axes[1].get_xlim() == (11, 13)


def test_diverged_models_are_crosses_and_unmeasured_ones_white(tmp_path):
    folder = write_folder(
        tmp_path / "a", seeds=(0,), diverged=((0.5, 0, 2),), pending=((1.0, 0, 3),)
    )
    (figure,) = figures([folder], "trees")
    models = models_of(figure.axes[0])
    assert models[2, 0][0] == "x"
    assert models[3, 1] == ("o", to_rgba("white"))
    assert "crosses: diverged; white: without a number" in words(figure)


def test_a_node_has_the_number_of_each_of_its_lineages():
    """Lineages of `mechanism` share V_1, but sample it in different ways."""
    frame = load_results([RUNS / "mechanism"])
    axes, labels = setting_axes(frame), Labels(frame)
    lines = list(find_lines(frame, axes, labels))
    grown = grow_tree(lines, labels, None, axes=axes)
    assert len({node.key for node in grown.nodes}) < len(grown.nodes)
    for line, path in zip(lines, grown.paths, strict=True):
        drawn = [grown.nodes[i].row for i in path]
        assert frame[KID].iloc[line.rows].tolist() == frame[KID].iloc[drawn].tolist()


def test_a_worse_model_is_darker_whichever_way_a_metric_goes():
    """Brightness falls as KID rises and as recall falls, so that it can be read in grey."""
    numbers = [0.0, 0.25, 0.5, 0.75, 1.0]
    for metric, better_first in (("kid/pixels", numbers), ("recall/pixels", numbers[::-1])):
        colours = find_colours(numbers, metric)
        grey = [np.dot(colours.of(x)[:3], (0.299, 0.587, 0.114)) for x in better_first]
        assert all(a > b + 0.05 for a, b in pairwise(grey))


def test_an_outlier_does_not_flatten_the_colours():
    colours = find_colours([1.0, 2.0, 3.0, 100.0], "kid/pixels")
    assert (colours.norm.vmin, colours.norm.vmax, colours.extend) == (1.0, 3.0, "max")
    assert colours.of(100.0) == colours.of(3.0)


def test_a_large_tree_says_how_to_leave_branches_out(tmp_path):
    folder = write_folder(
        tmp_path / "a", alphas=tuple(range(1, 32)), epochs=(20, 40), seeds=(0,), generations=2
    )
    notes: list[str] = []
    assert plan("trees", folder, note=notes.append) == []
    assert notes == [
        "no tree of seed 0, because 62 branches are more than 60; --where pool.alpha=VALUE leaves "
        "fewer"
    ]
    assert len(plan("trees", folder, **selected(folder, "epochs=40"))) == 1


def selected(folder: Path, *where: str) -> dict:
    from analysis.reading.rows import keep_rows

    return {"frame": keep_rows(load_results([folder]), where), "where": where}


def test_the_command_draws_the_rows_selected(tmp_path, capsys):
    folder, out = write_folder(tmp_path / "a"), tmp_path / "figures"
    words = ["figure", str(folder), "--out", str(out), "--kind", "trees", "--where", "seed=1"]
    assert PROGRAM.run(words) == 0
    assert capsys.readouterr().out == f"{out / 'trees-kid-pixels.png'}\n"


def test_shares_are_of_the_rows_selected(tmp_path):
    folder = write_classes(tmp_path / "a")
    (figure,) = figures([folder], "shares", **selected(folder, "alpha=1"))
    assert all(len(paths_of(axes)) == 1 for axes in figure.axes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["real-share", "shares", "trees"])
@pytest.mark.parametrize("width", [COLUMN, PAGE])
@pytest.mark.parametrize("run", ["rules", "grid-digits", "mechanism"])
def test_no_text_of_the_committed_runs_covers_another_one(run, width, kind):
    for figure in figures([RUNS / run], kind, metrics=[KID], width=width):
        check_texts(figure)
