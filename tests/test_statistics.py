"""Intervals over seeds and the summary of a column."""

import math

import pandas as pd
import pytest

from analysis.statistics.seeds import summarize_seeds, t_interval


def test_t_interval_of_1_to_5_is_3_plus_minus_1_963():
    """S is sqrt(2.5) and t(0.975, 4) 2.776 in any table: 2.776 * sqrt(2.5 / 5) = 1.963."""
    mean, half_width, n = t_interval([1, 2, 3, 4, 5], 0.95)
    assert (mean, n) == (3.0, 5)
    assert half_width == pytest.approx(2.776 * math.sqrt(0.5), rel=1e-3)


def test_t_interval_of_two_values_uses_the_cauchy_quantile():
    """With one degree of freedom t(0.975) is tan(0.475 pi); s / sqrt(2) of 0 and 2 is 1."""
    assert t_interval([0.0, 2.0], 0.95)[1] == pytest.approx(math.tan(0.475 * math.pi))


def test_one_value_has_no_half_width():
    mean, half_width, n = t_interval([0.25], 0.95)
    assert (mean, n) == (0.25, 1)
    assert math.isnan(half_width)


def test_no_value_has_no_mean():
    mean, half_width, n = t_interval([], 0.95)
    assert n == 0
    assert math.isnan(mean)
    assert math.isnan(half_width)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_confidence_outside_0_to_1_is_an_error(confidence):
    with pytest.raises(ValueError, match=r"--confidence must be in \(0, 1\), got"):
        t_interval([1.0, 2.0], confidence)


def rows(*cells: tuple[float, int, str, float | None]) -> pd.DataFrame:
    """Rows of (pool.alpha, seed, status, kid), all V1 of one run."""
    columns = ["pool.alpha", "seed", "status", "kid"]
    return pd.DataFrame(cells, columns=pd.Index(columns)).assign(generation=1, run="a")


def test_settings_are_summarised_apart_and_in_order():
    frame = rows((2.0, 0, "done", 5.0), (0.5, 0, "done", 1.0), (0.5, 1, "done", 3.0))
    summary = summarize_seeds(frame, "kid", by=["pool.alpha"], confidence=0.95)
    assert summary["pool.alpha"].tolist() == [0.5, 2.0]
    assert summary["mean"].tolist() == [2.0, 5.0]
    assert summary["n"].tolist() == [2, 1]


def test_a_diverged_lineage_is_counted_and_left_out_of_the_mean():
    frame = rows((1.0, 0, "done", 1.0), (1.0, 1, "diverged", 99.0), (1.0, 2, "done", 3.0))
    summary = summarize_seeds(frame, "kid", by=["pool.alpha"], confidence=0.95)
    row = summary.iloc[0]
    assert (row["mean"], row["n"], row["num_diverged"], row["num_lineages"]) == (2.0, 2, 1, 3)


def test_a_setting_of_none_is_a_setting():
    frame = rows((math.nan, 0, "done", 1.0), (1.0, 0, "done", 2.0))
    summary = summarize_seeds(frame, "kid", by=["pool.alpha"], confidence=0.95)
    assert summary["mean"].tolist() == [2.0, 1.0]


def test_two_nodes_of_one_seed_at_one_place_are_an_error():
    frame = rows((1.0, 0, "done", 1.0), (1.0, 0, "done", 2.0))
    with pytest.raises(ValueError, match=r"pool.alpha=1.0 must have one V1 for each seed, got two"):
        summarize_seeds(frame, "kid", by=["pool.alpha"], confidence=0.95)
