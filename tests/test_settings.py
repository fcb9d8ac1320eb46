"""Facts of settings that vary a few at a time: rows, lines and files are named by their changes."""

from pathlib import Path

import pandas as pd
import pytest
from figure_requests import figure_request
from results_folder import write_folder

from analysis.figures.kinds import draw_figures
from analysis.reading.labels import Labels
from analysis.reading.results import load_results
from analysis.reading.settings import Usual, find_usual
from analysis.tables.build import build_tables

AXES = ("sample.steps", "train.loss", "train.steps")
BASE = (20, "mae", 1000)


def settings(*rows: tuple) -> pd.DataFrame:
    """Two seeds of each setting."""
    return pd.DataFrame([row for row in rows for _ in range(2)], columns=list(AXES))


ONE_AT_A_TIME = settings(BASE, (5, "mae", 1000), (20, "mse", 1000), (20, "mae", 500))


def usual_of(frame: pd.DataFrame, axes: tuple[str, ...]) -> Usual | None:
    """The usual values of a table."""
    return find_usual(frame, axes, Labels(frame))


def test_settings_changed_one_at_a_time_have_a_base() -> None:
    """The commonest value of each."""
    usual = usual_of(ONE_AT_A_TIME, AXES)
    assert usual is not None
    assert usual.values == dict(zip(AXES, BASE, strict=True))
    assert usual.describe() == "base: sample.steps = 20, train.loss = mae, train.steps = 1000"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (BASE, "base"),
        ((5, "mae", 1000), "sample.steps = 5"),
        ((5, "mse", 1000), "sample.steps = 5, train.loss = mse"),
    ],
)
def test_a_setting_is_named_by_its_changes(values, name) -> None:
    """In full, so that the names can be typed as flags."""
    usual = usual_of(ONE_AT_A_TIME, AXES)
    assert usual is not None
    assert usual.name(dict(zip(AXES, values, strict=True))) == name


def test_a_grid_has_no_base() -> None:
    """Nor has one without a corner, nor two axes."""
    grid = [(steps, loss, length) for steps in (5, 20) for loss in "ab" for length in (1, 2)]
    assert usual_of(settings(*grid), AXES) is None
    assert usual_of(settings(*grid[:-1]), AXES) is None
    assert usual_of(ONE_AT_A_TIME, AXES[:2]) is None


def test_what_has_no_commonest_value_is_always_said() -> None:
    """Here four losses, each once."""
    rows = [(20, "a", 1000), (20, "b", 1000), (5, "c", 1000), (20, "d", 500)]
    usual = usual_of(settings(*rows), AXES)
    assert usual is not None
    assert "train.loss" not in usual.values
    assert [usual.name(dict(zip(AXES, row, strict=True))) for row in rows] == [
        "train.loss = a",
        "train.loss = b",
        "sample.steps = 5, train.loss = c",
        "train.loss = d, train.steps = 500",
    ]


def test_what_changes_together_is_one_factor() -> None:
    """Two runs that differ in two settings, at two lengths each: a grid of two by two."""
    rows = [(5, "a", 1), (5, "a", 2), (20, "b", 1), (20, "b", 2)]
    assert usual_of(settings(*rows), AXES) is None


def test_joined_runs_keep_their_columns(tmp_path) -> None:
    """And figures of their own, as their numbers of images differ."""
    folders = []
    for name, size, num in (("digits", 8, 20), ("flowers", 64, 100)):
        data = {"data": {"name": name, "image_size": size}, "train": {"lr": 1 / size}}
        folder = tmp_path / name
        folders.append(write_folder(folder, num_reference=num, settings=data))
    frame = load_results(folders)
    tables = build_tables(frame, ["final_loss"], by=(), confidence=0.95)
    assert {"pool.alpha", "data.name", "data.image_size", "train.lr"} < set(tables[0].header)
    paths = draw_figures(figure_request(folders, tmp_path), ["curves"])
    assert len(paths) == 2


@pytest.fixture
def folders(tmp_path) -> list[Path]:
    """Four folders, each with other settings of alpha 1."""
    changes = ({}, {"sample": {"steps": 5}}, {"train": {"loss": "mse"}}, {"train": {"lr": 1.0}})
    usual = {"sample": {"steps": 20}, "train": {"loss": "mae", "lr": 0.5}}
    folders = []
    for index, change in enumerate(changes):
        merged = {name: {**part, **change.get(name, {})} for name, part in usual.items()}
        folder = tmp_path / str(index)
        folders.append(write_folder(folder, alphas=(1.0,), settings=merged))
    return folders


@pytest.fixture
def frame(folders) -> pd.DataFrame:
    """Their table."""
    return load_results(folders)


def test_a_table_has_one_column_of_changes_the_base_first(frame) -> None:
    """The caption says what the base is."""
    (table,) = build_tables(frame, ["kid/pixels"], by=(), confidence=0.95)
    assert table.header == ["setting", "V1", "V2", "V3"]
    names = [row[0] for row in table.rows]
    assert names[0] == "base"
    assert set(names[1:]) == {"sample.steps = 5", "train.loss = mse", "train.lr = 1"}
    assert table.caption.endswith("; base: sample.steps = 20, train.loss = mae, train.lr = 0.5.")


def test_its_csv_keeps_a_column_for_each_setting(frame) -> None:
    """For a program, which needs no names."""
    (table,) = build_tables(frame, ["kid/pixels"], by=(), confidence=0.95)
    assert {"sample.steps", "train.loss", "train.lr"} < set(table.summary.columns)


def test_axes_that_are_asked_for_have_columns(frame) -> None:
    """All three, as ever."""
    by = ["sample.steps", "train.loss", "train.lr"]
    (table,) = build_tables(frame, ["kid/pixels"], by=by, confidence=0.95)
    assert table.header[:3] == by


def test_curves_are_in_one_figure(folders, tmp_path) -> None:
    """A line for each change."""
    paths = draw_figures(figure_request(folders, tmp_path, image_format="svg"), ["curves"])
    assert [path.name for path in paths] == ["curves-kid-pixels.svg"]
    text = paths[0].read_text()
    assert all(
        f">{name}<" in text or f"<!-- {name} -->" in text
        for name in ("base", "steps = 5", "loss = mse", "lr = 1")
    )


def test_a_long_name_is_broken_in_the_legend(tmp_path) -> None:
    """Where it did not fit, matplotlib would warn and draw the legend over the lines."""
    usual, unusual = {"steps": 1000, "lr": 3e-3}, {"steps": 14, "lr": 4e-7}
    base = {"model": {"widths": [16, 48, 96], "block_depth": 2}, "train": usual}
    other = {"model": {"widths": [8, 8, 8, 8], "block_depth": 7}, "train": unusual}
    longer = {**base, "train": {"steps": 2000, "lr": 3e-3}}
    wider = {**base, "model": {"widths": [64, 64, 64], "block_depth": 2}}
    folders = [
        write_folder(tmp_path / str(i), alphas=(1.0,), settings={**s, "sample": {"steps": i // 3}})
        for i, s in enumerate((base, longer, wider, other))
    ]
    request = figure_request(folders, tmp_path, image_format="svg")
    (path,) = draw_figures(request, ["curves"])
    assert "block_depth = 7" in path.read_text()
