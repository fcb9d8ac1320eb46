"""Facts of the split of the data as a second source of randomness beside the seed."""

import math
import re

import numpy as np
import pytest
from figure_requests import figure_request
from results_folder import write_folder

from analysis.figures.kinds import draw_figures
from analysis.reading.results import load_results
from analysis.statistics.seeds import crossed_interval, t_interval
from analysis.tables.build import build_tables
from analysis.tables.table import Table

DRAWS = 1000
"""Simulated tables per design and coverage; the standard error of 95 % is 0.7 %."""

FULL = [(i, j) for i in range(3) for j in range(4)]
DESIGNS = {
    "3 x 4": FULL,
    "5 x 3": [(i, j) for i in range(5) for j in range(3)],
    "10 of 3 x 4": [unit for unit in FULL if unit not in ((2, 3), (0, 1))],
    "each once": [(i, i) for i in range(4)],
    "one split": [(i, 0) for i in range(4)],
}
"""Seeds and splits of the values that are averaged."""

SDS = [(1, 0, 0.01), (0, 1, 0.01), (0, 0, 1), (1, 1, 1), (0.2, 1, 1), (0.25, 0.2, 0.2)]
"""Standard deviations of seeds, splits, and the rest. The last ones are those of KID on digits."""


def build(folder, **changes) -> Table:
    settings = {"by": (), "confidence": 0.95, **changes}
    (table,) = build_tables(load_results([folder]), ["kid/pixels"], **settings)
    return table


@pytest.mark.parametrize("design", DESIGNS)
def test_the_interval_covers_the_mean(design):
    """Of 95 % intervals, 90 to 98 % contain it, whatever varies most.

    Intervals over one split estimate the mean of that split, so its effect is left out there.
    """
    units = DESIGNS[design]
    rows, columns = zip(*units, strict=True)
    rng = np.random.default_rng(0)
    for row_sd, column_sd, rest_sd in SDS:
        by_row = rng.normal(0, row_sd, (DRAWS, 5))[:, rows]
        by_column = rng.normal(0, column_sd, (DRAWS, 5))[:, columns]
        rest = rng.normal(0, rest_sd, (DRAWS, len(units)))
        values = by_row + rest + (0 if design == "one split" else by_column)
        found = [crossed_interval(v, rows, columns, 0.95)[:2] for v in values.tolist()]
        coverage = np.mean([abs(mean) <= half_width for mean, half_width in found])
        assert 0.90 <= coverage <= 0.98, (row_sd, column_sd, rest_sd)


def test_values_taken_as_independent_would_not_be_covered():
    """With equal deviations of seeds, splits and the rest, 12 values of 3 x 4 count as fewer."""
    rows, columns = zip(*FULL, strict=True)
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(DRAWS, 3))[:, rows] + rng.normal(size=(DRAWS, 4))[:, columns]
    values = effects + rng.normal(size=(DRAWS, 12))
    found = [t_interval(v, 0.95)[:2] for v in values.tolist()]
    assert np.mean([abs(mean) <= half_width for mean, half_width in found]) < 0.8


def test_one_split_has_the_t_interval_over_seeds():
    values = [1.0, 2.5, 3.0]
    expected = t_interval(values, 0.95)
    assert crossed_interval(values, [0, 1, 2], [0, 0, 0], 0.95) == pytest.approx(expected)
    assert crossed_interval(values, [0, 1, 2], [0, 1, 2], 0.95) == pytest.approx(expected)
    assert crossed_interval(values, [0, 0, 0], [0, 1, 2], 0.95) == pytest.approx(expected)


def test_the_interval_of_two_by_two_can_be_computed_by_hand():
    """Each row has the values 0 and 2, so only columns differ.

    The deviations of a column sum up to 2, so C = (2^2 + 2^2) / 4^2 * 2 = 1, and E = 4 / 4^2 * 4/3
    = 1/3. The variance is max(0 + 1 - 1/3, 1) = 1, with one degree of freedom: tan(0.475 pi).
    """
    mean, half_width, n = crossed_interval([0, 2, 0, 2], [0, 0, 1, 1], [0, 1, 0, 1], 0.95)
    assert (mean, n) == (1, 4)
    assert half_width == pytest.approx(math.tan(0.475 * math.pi))


def test_equal_values_have_no_width():
    assert crossed_interval([2.0] * 4, [0, 0, 1, 1], [0, 1, 0, 1], 0.95) == (2.0, 0.0, 4)


def test_a_row_is_averaged_over_seeds_and_splits(tmp_path):
    """1 + seed / 10 + split / 10 of seeds 0, 1, 2 and splits 0, 1, 2, 3: 1 + 0.1 + 0.15."""
    table = build(write_folder(tmp_path / "a", splits=(0, 1, 2, 3)))
    assert table.header == ["pool.alpha", "V1", "V2", "V3"]
    assert table.summary["mean"].iloc[0] == pytest.approx(1.25)
    assert table.summary[["n", "num_seeds", "num_splits"]].iloc[0].tolist() == [12, 3, 4]
    assert all(re.fullmatch(r"\S+ \+- \S+ \(3 x 4\)", cell) for cell in table.rows[0][1:])


def test_n_is_that_of_the_words(tmp_path):
    """Three lineages of twelve are missing, and another one diverged in V_2."""
    folder = write_folder(tmp_path / "a", splits=(0, 1, 2, 3), diverged=((1.0, 2, 2),))
    for path in (folder / "lineages").glob("*alpha-1.0*seed-2-split-[012].json"):
        path.unlink()
    table = build(folder)
    assert table.rows[1][2].endswith("(2 x 4); diverged 1/9")
    assert table.rows[1][1].endswith("(9 of 3 x 4)")


@pytest.mark.parametrize(
    ("splits", "seeds", "by", "words"),
    [
        ((), (0, 1), (), "t interval over seeds (n seeds), for one split of the data;"),
        ((7,), (0, 1), (), "over seeds (n seeds), for one split of the data (split_seed 7);"),
        ((0, 1), (0, 1), (), "over seeds and splits of the data (seeds x splits); split_seed 0, 1"),
        ((0, 1), (5,), (), "over splits of the data (seeds x splits), for one seed; split_seed 0"),
        (
            (0, 1),
            (0, 1),
            ("pool.alpha", "data.split_seed"),
            "over seeds (n seeds), for one split of the data in each row (split_seed 0, 1);",
        ),
    ],
)
def test_the_caption_says_what_is_held_fixed(tmp_path, splits, seeds, by, words):
    table = build(write_folder(tmp_path / "a", splits=splits, seeds=seeds), by=by)
    assert words in table.caption


def test_a_split_can_name_rows(tmp_path):
    table = build(
        write_folder(tmp_path / "a", alphas=(1.0,), splits=(0, 1)), by=["data.split_seed"]
    )
    assert [row[:2] for row in table.rows] == [["0", "1.10 +- 0.25 (3)"], ["1", "1.20 +- 0.25 (3)"]]


def test_runs_of_different_splits_are_averaged(tmp_path):
    folders = [write_folder(tmp_path / str(split), splits=(split,)) for split in (0, 1)]
    frame = load_results(folders)
    (table,) = build_tables(frame, ["kid/pixels"], by=(), confidence=0.95)
    assert [row[0] for row in table.rows] == ["0.5", "1"]
    assert table.rows[0][1].endswith("(3 x 2)")


def test_contraction_compares_models_of_one_split(tmp_path):
    """pixel_std of V_n is 0.2 / n in each lineage, so V_2 keeps a half."""
    frame = load_results([write_folder(tmp_path / "a", splits=(0, 1))])
    (table,) = build_tables(frame, ["contraction"], by=(), confidence=0.95)
    assert table.rows[0][2].startswith("0.5 +- 0 (3 x 2)")


def test_figures_name_the_splits_and_draw_a_line_for_each_model(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0, 1), splits=(0, 1, 2))
    request = figure_request([folder], tmp_path / "figures", image_format="svg")
    paths = draw_figures(request, ["curves", "grids"])
    names = ["curves-kid-pixels.svg", "grid-real.svg", "grid-v1.svg", "grid-alpha-1.svg"]
    assert [path.name for path in paths] == names
    text = paths[0].read_text()
    assert "seeds 0, 1; split_seed 0, 1, 2" in text
    assert "seed 0, split_seed 0" in paths[3].read_text()
    assert text.count("stroke-opacity: 0.55") == 6


def test_the_sweep_draws_new_splits_for_new_split_seeds():
    """So that the axis varies what the caption says: which images are held out."""
    from model.config import DataConfig
    from model.data.splits import split_images

    references = [
        split_images(DataConfig(split_seed=seed), 50, labels=None, parts=None).reference.tolist()
        for seed in (0, 1)
    ]
    assert references[0] != references[1]
