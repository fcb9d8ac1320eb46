"""Figures of the variance gain: what is drawn, beside the records."""

import numpy as np
import pytest
from figure_requests import check_texts, figures, words
from matplotlib.axes import Axes
from measured_gains import write_gains
from scipy import stats

from analysis.figures.drawing.style import save_figure
from analysis.reading.results import load_direction_results
from analysis.widths import COLUMN, PAGE


def points_of(axes: Axes) -> list[np.ndarray]:
    """(n, 2) points of each line."""
    return [np.asarray(line.get_xydata()) for line in axes.get_lines()]


def test_lines_are_means_over_seeds_and_the_band_is_their_t_interval(tmp_path):
    """The noise has mean 1 and deviation .1: +- t .1 / sqrt(3) of the mean."""
    folder = write_gains(tmp_path / "run", alphas=(0.5, 1.0), seeds=(0, 1, 2), generations=3)
    (figure,) = figures([folder], "gain")
    check_texts(figure)
    assert "95% t interval over seeds 0, 1, 2" in words(figure)
    directions = np.arange(1, 41)
    half = stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert len(figure.axes) == 2
    for axes in figure.axes:
        drawn = [points for points in points_of(axes) if len(points) == 40]
        expected = [(directions / 10) ** (n / 4) for n in (1, 2, 3)]
        for y in expected:
            assert any(np.allclose(points, np.stack([directions, y], axis=1)) for points in drawn)
        (band,) = axes.collections
        corners = np.asarray(band.get_paths()[0].vertices)
        for ends in (expected[-1] * (1 + half), expected[-1] * (1 - half)):
            assert np.isin(np.round(ends, 9), np.round(corners[:, 1], 9)).all()


def test_a_band_from_images_has_the_recorded_errors(tmp_path):
    """With one seed: +- 1.96 errors of a tenth of the gain."""
    folder = write_gains(tmp_path / "run", alphas=(1.0,), seeds=(1,), generations=2)
    (figure,) = figures([folder], "gain")
    assert "interval from the images (not over seeds), seed 1" in words(figure)
    (axes,) = figure.axes
    (band,) = axes.collections
    top = (np.arange(1, 41) / 10) ** 0.5 * (1 + stats.norm.ppf(0.975) / 10)
    corners = np.asarray(band.get_paths()[0].vertices)
    assert np.isin(np.round(top, 9), np.round(corners[:, 1], 9)).all()


def test_bands_of_directions_end_where_half_and_nine_tenths_are_explained(tmp_path):
    """Of shares .2 x .8^(k - 1): 1 - .8^4 = .59 and 1 - .8^11 = .91."""
    folder = write_gains(tmp_path / "run", alphas=(1.0,), seeds=(1,), generations=1)
    (figure,) = figures([folder], "gain")
    (axes,) = figure.axes
    vertical = [x[0, 0] for x in points_of(axes) if len(x) == 2 and x[0, 0] == x[1, 0]]
    assert sorted(vertical) == [4.5, 11.5]


@pytest.mark.parametrize("width", [COLUMN, PAGE])
def test_many_settings_have_a_panel_each(tmp_path, width):
    """With all texts inside the figure, apart from each other."""
    alphas = (0.25, 0.5, 1.0, 2.0, 4.0)
    folder = write_gains(tmp_path / "run", alphas=alphas, seeds=(0, 1), generations=4)
    (figure,) = figures([folder], "gain", width=width)
    assert len(figure.axes) == 5
    check_texts(figure)
    save_figure(figure, tmp_path / "gain.png")


def test_a_single_direction_is_drawn(tmp_path):
    folder = write_gains(tmp_path / "run", 1, alphas=(1.0,), seeds=(1,), generations=2)
    (figure,) = figures([folder], "gain")
    check_texts(figure)


def test_selected_lineages_are_drawn_alone(tmp_path):
    folder = write_gains(tmp_path / "run", alphas=(0.5, 1.0), seeds=(0, 1), generations=2)
    (figure,) = figures([folder], "gain", where=["alpha=1"])
    assert len(figure.axes) == 1


def test_a_forecast_is_dashed_and_relative_to_the_reference(tmp_path):
    """What it says of V_n times the gain of the training images, where a lineage has one."""
    folder = write_gains(tmp_path / "run", alphas=(0.5, 1.0), seeds=(0, 1), generations=2)
    lineages = load_direction_results([folder]).set_index("pool.alpha")["lineage"]
    said = [{"directions": [0.9**n] * 30} for n in (1, 2)]
    forecasts = dict.fromkeys(lineages[0.5].unique(), said)
    (figure,) = figures([folder], "gain", forecasts=forecasts)
    assert "dashed: forecast" in words(figure)
    check_texts(figure)
    directions = np.arange(1, 31)
    drawn = [
        [line for line in axes.get_lines() if line.get_linestyle() == "--"] for axes in figure.axes
    ]
    assert [len(lines) for lines in drawn] == [2, 0]
    for n, line in enumerate(drawn[0], start=1):
        expected = 0.9**n * (1 + 0.1 / directions)
        np.testing.assert_allclose(
            np.asarray(line.get_xydata()), np.stack([directions, expected], axis=1)
        )


def test_a_forecast_of_other_lineages_is_refused(tmp_path):
    folder = write_gains(tmp_path / "run", alphas=(1.0,), seeds=(0,), generations=1)
    with pytest.raises(ValueError, match="--forecast must have the lineages of DIR, got no "):
        figures([folder], "gain", forecasts={"other": [{"directions": [1.0]}]})


def test_the_table_of_directions_has_a_row_for_each(tmp_path):
    """Numbered from 1, in the order of the record."""
    folder = write_gains(tmp_path / "run", 3, alphas=(1.0,), seeds=(1,), generations=1)
    frame = load_direction_results([folder])
    assert frame["direction"].tolist() == [1, 2, 3]
    assert frame["gain"].tolist() == pytest.approx([0.1**0.25, 0.2**0.25, 0.3**0.25])
