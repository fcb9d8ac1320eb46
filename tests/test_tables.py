"""Tables over seeds."""

import csv
import io
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from results_folder import write_folder

from analysis.reading.labels import Labels
from analysis.reading.results import load_results
from analysis.tables.build import COMPOSITION, build_tables, format_interval
from analysis.tables.render import render_tables, render_tidy
from analysis.tables.table import Table


def build(folder, *, metrics=("kid/pixels",), by=()) -> list[Table]:
    return build_tables(load_results([folder]), metrics, by=by, confidence=0.95)


def test_rows_are_settings_and_columns_generations(tmp_path):
    (table,) = build(write_folder(tmp_path / "a"))
    assert table.header == ["pool.alpha", "V1", "V2", "V3"]
    assert [row[0] for row in table.rows] == ["0.5", "1"]


def test_a_cell_is_mean_half_width_and_n(tmp_path):
    """Seeds give n, n + 0.1 and n + 0.2: mean n + 0.1, t(0.975, 2) 0.1 / sqrt(3) = 0.248."""
    (table,) = build(write_folder(tmp_path / "a"))
    assert table.rows[0][1:] == ["1.10 +- 0.25 (3)", "2.10 +- 0.25 (3)", "3.10 +- 0.25 (3)"]


def test_one_seed_stands_alone_and_is_said_once(tmp_path):
    (table,) = build(write_folder(tmp_path / "a", seeds=(0,)))
    assert table.rows[0][1:] == ["1", "2", "3"]
    assert table.caption.count("n = 1") == 1


def test_a_generation_nobody_finished_is_a_dash(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), pending=((1.0, 0, 2),))
    (table,) = build(folder)
    assert table.rows == [["1", "1", "-", "-"]]
    assert "1 of 1 lineages running" in table.caption


def test_some_diverged_lineages_stand_beside_the_mean_of_the_others(tmp_path):
    (table,) = build(write_folder(tmp_path / "a", diverged=((1.0, 2, 2),)))
    assert table.rows[1][2] == "2.05 +- 0.64 (2); diverged 1/3"
    assert "means exclude diverged lineages" in table.caption


def test_all_lineages_diverged_is_all_there_is_in_a_cell(tmp_path):
    diverged = tuple((1.0, seed, 2) for seed in range(3))
    (table,) = build(write_folder(tmp_path / "a", diverged=diverged))
    assert table.rows[1][2:] == ["diverged 3/3", "diverged 3/3"]


def test_the_caption_says_what_stands_behind_a_number(tmp_path):
    (table,) = build(write_folder(tmp_path / "a"))
    for words in (
        "20 generated against 20 reference images",
        "feature extractor pixels",
        "95% t interval over seeds",
        "seeds 0, 1, 2",
        "run a",
    ):
        assert words in table.caption


def test_a_warning_of_the_evaluation_stands_under_its_metric(tmp_path):
    warning = "kid/pixels has few images"
    (table,) = build(write_folder(tmp_path / "a", warnings=[warning]))
    assert table.caption.endswith(f"warning: {warning}.")


def test_composition_is_pool_size_and_real_share(tmp_path):
    (table,) = build(write_folder(tmp_path / "a"), metrics=[COMPOSITION])
    assert table.rows[1] == ["1", "100 (100% real)", "200 (50% real)", "400 (25% real)"]


def test_a_setting_not_named_splits_the_table(tmp_path):
    tables = build(write_folder(tmp_path / "a", epochs=(40, 80)), by=["pool.alpha"])
    assert [table.title for table in tables] == [
        "kid/pixels, train.epochs = 40",
        "kid/pixels, train.epochs = 80",
    ]


def nested(folder: Path, axis: str = "train.epochs") -> pd.DataFrame:
    """A table in which the alphas 0.5, 1 and 2 have 40, 80 and 40 of another setting."""
    frame = load_results([write_folder(folder, alphas=(0.5, 1.0, 2.0), epochs=(40, 80))])
    own = np.where(frame["pool.alpha"] == 1, 80, 40)
    return frame[frame["train.epochs"] == own].rename(columns={"train.epochs": axis})


def test_a_setting_that_follows_from_the_rows_is_in_the_caption(tmp_path):
    (table,) = build_tables(nested(tmp_path), ["kid/pixels"], by=["pool.alpha"], confidence=0.95)
    assert (table.title, table.header[:2]) == ("kid/pixels", ["pool.alpha", "V1"])
    assert [row[0] for row in table.rows] == ["0.5", "1", "2"]
    assert table.caption.endswith("; train.epochs = 80 for alpha = 1, otherwise 40.")
    assert dict(zip(table.summary["pool.alpha"], table.summary["train.epochs"], strict=True)) == {
        0.5: 40,
        1: 80,
        2: 40,
    }


def test_rows_that_share_a_value_are_named_together(tmp_path):
    frame, by = nested(tmp_path), ["train.epochs", "pool.alpha"]
    frame["sample.steps"] = frame["pool.alpha"].map({0.5: 5, 1: 5, 2: 20})
    text = Labels(frame).describe_implied(frame, "sample.steps", by)
    assert text == "sample.steps = 20 for alpha = 2, otherwise 5"
    frame["sample.steps"] = frame["seed"].clip(lower=1)
    text = Labels(frame).describe_implied(frame, "sample.steps", ["seed"])
    assert text == "sample.steps = 2 for seed = 2, otherwise 1"
    frame["sample.steps"] = frame["seed"].map({0: 5, 1: 5, 2: 20}) + frame["train.epochs"]
    text = Labels(frame).describe_implied(frame, "sample.steps", ["seed", "train.epochs"])
    assert text == (
        "sample.steps = 60 for seed = 2, epochs = 40, 85 for seed = 0, epochs = 80 or seed = 1, "
        "epochs = 80, 100 for seed = 2, epochs = 80, otherwise 45"
    )
    frame["sample.steps"] = frame["pool.alpha"].map({0.5: 5, 1: 20, 2: 20})
    text = Labels(frame).describe_implied(frame, "sample.steps", ["pool.alpha"])
    assert text == "sample.steps = 5 for alpha = 0.5, otherwise 20"
    frame["sample.steps"] = 5
    assert Labels(frame).describe_implied(frame, "sample.steps", by) == "sample.steps = 5"


@pytest.mark.parametrize("axis", ["data.train_limit", "metrics.seed"])
def test_what_numbers_are_of_splits_even_if_it_follows(tmp_path, axis: str):
    tables = build_tables(
        nested(tmp_path, axis), ["kid/pixels"], by=["pool.alpha"], confidence=0.95
    )
    assert [table.title for table in tables] == [f"kid/pixels, {axis} = {n}" for n in (40, 80)]


def test_seeds_can_be_rows(tmp_path):
    (table,) = build(write_folder(tmp_path / "a", alphas=(1.0,)), by=["seed"])
    assert [row[:2] for row in table.rows] == [["0", "1"], ["1", "1.1"], ["2", "1.2"]]


def test_an_unknown_axis_is_an_error_with_a_suggestion(tmp_path):
    with pytest.raises(ValueError, match=r"--by must be one of .*; did you mean 'pool.alpha'\?"):
        build(write_folder(tmp_path / "a"), by=["pool.alpa"])


def test_one_table_never_mixes_numbers_of_images(tmp_path):
    first = write_folder(tmp_path / "a", alphas=(1.0,), num_reference=20)
    second = write_folder(tmp_path / "b", alphas=(2.0,), num_reference=30)
    with pytest.raises(ValueError, match="must have the same numbers of generated/reference"):
        build_tables(load_results([first, second]), ["kid/pixels"], by=[], confidence=0.95)


def test_leaving_the_axis_out_of_by_gives_a_table_of_each_number(tmp_path):
    first = write_folder(tmp_path / "a", num_reference=20, settings={"sample": {"n": 1}})
    second = write_folder(tmp_path / "b", num_reference=30, settings={"sample": {"n": 2}})
    frame = load_results([first, second])
    tables = build_tables(frame, ["kid/pixels"], by=["pool.alpha"], confidence=0.95)
    assert [table.title for table in tables] == [
        "kid/pixels, sample.n = 1",
        "kid/pixels, sample.n = 2",
    ]


def test_joined_runs_average_over_the_seeds_of_both(tmp_path):
    first = write_folder(tmp_path / "a", seeds=(0, 1))
    second = write_folder(tmp_path / "b", seeds=(1, 2))
    frame = load_results([first, second])
    (table,) = build_tables(frame, ["kid/pixels"], by=[], confidence=0.95)
    assert table.rows[0][1] == "1.10 +- 0.25 (3)"
    assert "seeds 0, 1, 2; runs a, b" in table.caption


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.123456, 0.0123, 3), "0.123 +- 0.012 (3)"),
        ((-0.5, 0.26, 3), "-0.50 +- 0.26 (3)"),
        ((123.4, 12.3, 5), "123 +- 12 (5)"),
        ((1234.0, 456.0, 2), "1234 +- 456 (2)"),
        ((2.0, 0.0, 4), "2 +- 0 (4)"),
        ((0.123456, math.nan, 1), "0.1235"),
        ((math.nan, math.nan, 0), "-"),
    ],
)
def test_half_widths_have_two_digits_and_means_as_many_places(numbers, text):
    assert format_interval(*numbers) == text


def test_markdown_has_one_pipe_table_for_each_metric(tmp_path):
    text = render_tables(
        build(write_folder(tmp_path / "a"), metrics=["kid/pixels", COMPOSITION]), "md"
    )
    assert text.count("\n|:--") == 2
    assert "**kid/pixels**" in text


def test_csv_round_trips_the_numbers(tmp_path):
    tables = build(write_folder(tmp_path / "a"))
    read = pd.read_csv(io.StringIO(render_tables(tables, "csv")))
    expected = tables[0].summary.reset_index(drop=True)
    assert read["mean"].tolist() == expected["mean"].tolist()
    assert read["half_width"].tolist() == expected["half_width"].tolist()
    assert read["pool.alpha"].tolist() == expected["pool.alpha"].tolist()


def test_csv_of_several_metrics_is_one_table(tmp_path):
    tables = build(write_folder(tmp_path / "a"), metrics=["kid/pixels", COMPOSITION])
    lines = list(csv.DictReader(io.StringIO(render_tables(tables, "csv"))))
    assert {line["metric"] for line in lines} == {"kid/pixels", "num_images", "real_share"}
    assert len(lines) == 3 * 2 * 3


def test_latex_environments_and_braces_are_balanced(tmp_path):
    text = render_tables(build(write_folder(tmp_path / "a"), metrics=["final_loss"]), "latex")
    assert re.findall(r"\\begin{(\w+)}", text) == ["table", "tabular"]
    assert re.findall(r"\\end{(\w+)}", text) == ["tabular", "table"]
    assert text.count("{") == text.count("}")
    assert text.count("$") % 2 == 0


def test_latex_sets_intervals_and_generations_in_mathematics(tmp_path):
    text = render_tables(build(write_folder(tmp_path / "a")), "latex")
    assert r"1.10 & $\pm$ \num{0.25}" in text
    assert "it is 3." in text
    assert "$V_{1}$" in text
    assert "+-" not in text


def test_latex_escapes_what_is_special(tmp_path):
    text = render_tables(build(write_folder(tmp_path / "a"), metrics=["final_loss"]), "latex")
    assert r"final\_loss" in text
    assert r"95\%" in text


def test_the_tidy_csv_round_trips_the_whole_table(tmp_path):
    frame = load_results([write_folder(tmp_path / "a", pending=((1.0, 0, 3),))])
    read = pd.read_csv(io.StringIO(render_tidy(frame)))
    assert list(read.columns) == list(frame.columns)
    assert read["kid/pixels"].fillna(-1).tolist() == frame["kid/pixels"].fillna(-1).tolist()
    assert read["node"].tolist() == frame["node"].tolist()
