"""Rows of the tidy table selected by AXIS=VALUE."""

import pandas as pd
import pytest
from results_folder import write_folder

from analysis.__main__ import PROGRAM
from analysis.reading.results import load_results
from analysis.reading.rows import keep_rows
from model.errors import UsageError


@pytest.fixture
def frame(tmp_path) -> pd.DataFrame:
    return load_results([write_folder(tmp_path / "a", alphas=(0.5, 1.0, 2.0))])


def test_rows_have_all_of_the_values(frame):
    kept = keep_rows(frame, ["alpha=0.5", "generation=3"])
    assert set(kept[["pool.alpha", "generation"]].itertuples(index=False, name=None)) == {(0.5, 3)}
    assert len(kept) == 3  # seeds


def test_an_axis_may_have_several_values(frame):
    kept = keep_rows(frame, ["pool.alpha=0.5", "pool.alpha=2", "seed=1"])
    assert set(kept["pool.alpha"]) == {0.5, 2.0}
    assert set(kept["seed"]) == {1}


def test_true_and_false_may_be_written_as_for_a_run(frame):
    frame.insert(frame.columns.get_loc("pool.alpha"), "train.compile", frame["pool.alpha"] == 2)
    assert set(keep_rows(frame, ["train.compile=true"])["pool.alpha"]) == {2.0}
    assert set(keep_rows(frame, ["train.compile=False"])["pool.alpha"]) == {0.5, 1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["alhpa=1"], "--where must be one of pool.alpha"),
        (["alpha=3"], "the value of --where pool.alpha must be one of 0.5, 1, 2, got '3'"),
        (["alpha"], "--where must be AXIS=VALUE, got 'alpha'"),
    ],
)
def test_an_unknown_axis_or_value_is_one_line(settings, message, frame):
    with pytest.raises(UsageError) as caught:
        keep_rows(frame, settings)
    assert str(caught.value).startswith(message)


def test_two_axes_that_end_in_one_name_must_be_named_in_full(frame):
    frame.insert(frame.columns.get_loc("pool.alpha"), "model.alpha", 1.0)
    with pytest.raises(UsageError, match=r"must name one of model.alpha, pool.alpha in full"):
        keep_rows(frame, ["alpha=1"])


def test_values_that_no_row_has_together_are_one_line(frame):
    lacking = frame[(frame["pool.alpha"] != 2) | (frame["seed"] != 1)]
    with pytest.raises(UsageError, match="--where must leave at least one row, got none with"):
        keep_rows(lacking, ["alpha=2", "seed=1"])
    with pytest.raises(UsageError, match=r"\.\.\. \(2,\d+ characters\)"):
        keep_rows(lacking, ["alpha=2", "seed=1"] * 120)


def test_a_table_shows_only_the_rows_selected(tmp_path, capsys):
    folder = write_folder(tmp_path / "a")
    assert PROGRAM.run(["table", str(folder), "--where", "alpha=1", "generation=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [line.split("|")[1:-1] for line in lines if line.startswith("| ")]
    assert [[cell.strip() for cell in row][:2] for row in cells] == [
        ["pool.alpha", "V2"],
        ["1", "2.10 +- 0.25 (3)"],
        ["pool.alpha", "V2"],
        ["1", "200 (50% real)"],
    ]
