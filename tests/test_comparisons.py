"""Tables of differences from a control within a seed."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from results_folder import write_folder
from scipy import stats

from analysis.__main__ import PROGRAM
from analysis.reading.columns import MIXTURE
from analysis.reading.results import load_results
from analysis.tables.comparisons import build_comparisons
from analysis.tables.render import as_file, is_table, render_tables
from analysis.tables.table import Table
from model.errors import UsageError

KID = "kid/pixels"
NOISE = {0: 0.3, 1: -0.1, 2: 0.05, 3: 0.2}


def number(alpha: float, seed: int, generation: int) -> float:
    """Rises with generation, faster with alpha, and differently in each seed."""
    return 10 * seed + generation * (1 + alpha + NOISE[seed]) ** 2


@pytest.fixture
def frame(tmp_path) -> pd.DataFrame:
    return load_results([write_folder(tmp_path / "a", alphas=(0.5, 1.0, 2.0), value=number)])


def tables_of(frame: pd.DataFrame, against: str, **settings) -> list[Table]:
    return build_comparisons(frame, [KID], against=against, confidence=0.95, **settings)


def test_a_setting_is_compared_with_its_control_within_each_seed(frame):
    """What all settings of a seed share (10 per seed here) is not in the interval."""
    (table,) = tables_of(frame, "alpha=0.5")
    row = table.summary.query("`pool.alpha` == 2 and generation == 3").iloc[0]
    differences = [number(2, seed, 3) - number(0.5, seed, 3) for seed in range(3)]

    assert row["difference"] == pytest.approx(np.mean(differences))
    assert row["p"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert row["n"] == 3
    assert "V1" not in [row[1] for row in table.rows]  # the same model for every alpha


def test_slopes_are_compared_as_well(frame):
    (table,) = tables_of(frame, "alpha=0.5")
    row = table.summary.query("`pool.alpha` == 1 and generation == 'slope'").iloc[0]
    numbers = frame.set_index(["pool.alpha", "seed", "generation"])[KID]
    slopes = [
        np.polyfit([1, 2, 3], numbers[1.0][seed] - numbers[0.5][seed], 1)[0] for seed in range(3)
    ]
    assert row["difference"] == pytest.approx(np.mean(slopes))
    assert row["p"] == pytest.approx(stats.ttest_1samp(slopes, 0).pvalue)


def test_later_generations_are_compared_with_the_first(frame):
    differences, first = tables_of(frame, "V1")
    assert [row[1] for row in differences.rows[:3]] == ["V2", "V3", "slope"]
    assert first.header == ["pool.alpha", "first"]
    assert {row[0] for row in first.rows} == {"0.5", "1", "2"}
    assert len(tables_of(frame, "V1", generations=(3,))) == 1  # V2 might be the first


def test_a_generation_that_is_surely_worse_is_the_first_one(tmp_path):
    value = lambda alpha, seed, n: 1 + 0.01 * NOISE[seed] * n + (5 if n == 3 else 0)  # noqa: E731
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0, 1, 2, 3), value=value)
    _, first = tables_of(load_results([folder]), "V1")
    assert first.rows == [["1", "V3"]]


def test_all_tests_that_are_printed_count_as_looks(frame):
    (table,) = tables_of(frame, "alpha=0.5", generations=(3,))
    p, adjusted = (table.summary[name].astype(float).tolist() for name in ("p", "p_holm"))
    assert max(adjusted) == pytest.approx(max(2 * min(p), max(p)))
    assert "by Holm for all 2 printed here" in table.caption


def test_equivalence_needs_a_margin(frame):
    (table,) = tables_of(frame, "alpha=0.5", margin=1e6)
    assert "p (equal)" in table.header
    assert table.summary["p_equivalence"].astype(float).max() < 0.001
    assert "p (equal)" not in tables_of(frame, "alpha=0.5")[0].header
    with pytest.raises(UsageError, match="--margin must be a finite number above 0, got 0"):
        tables_of(frame, "alpha=0.5", margin=0)


def test_a_seed_without_a_pair_is_named(frame):
    lacking = frame[(frame["pool.alpha"] != 2) | (frame["seed"] != 1)]
    (table,) = tables_of(lacking, "alpha=0.5")
    assert "pool.alpha = 2 has no pair for seed 1" in table.caption
    assert set(table.summary.query("`pool.alpha` == 2")["n"]) == {2}


def test_diverged_lineages_have_no_pair(tmp_path):
    folder = write_folder(tmp_path / "a", value=number, diverged=((1.0, 2, 2),))
    (table,) = tables_of(load_results([folder]), "alpha=0.5")
    assert set(table.summary["n"]) == {2}


def test_a_control_may_differ_in_settings_that_change_with_it(frame):
    """As the number of candidates, which is 1 without a filter."""
    names = {0.5: "none", 1.0: "random", 2.0: "reward"}
    changed = frame.assign(
        **{"pool.alpha": frame["pool.alpha"].map({0.5: 1.0, 1.0: 4.0, 2.0: 4.0})}
    )
    changed.insert(9, "filter.name", frame["pool.alpha"].map(names))
    (table,) = tables_of(changed, "filter.name=none")
    assert {row[1] for row in table.rows} == {"random", "reward"}
    (table,) = tables_of(changed, "random")
    assert {row[1] for row in table.rows} == {"none", "reward"}


def test_a_setting_without_a_control_is_named(frame):
    """A control is of the same member, and only mixtures may be compared with a single model."""
    second = frame[frame["pool.alpha"] == 2].assign(member=1)
    both = pd.concat([frame, second], ignore_index=True)
    (table,) = tables_of(both, "alpha=0.5")
    assert "pool.alpha = 2, member = 1 has no alpha=0.5 to be compared with" in table.caption
    assert set(table.summary["member"]) == {0}


def test_two_controls_of_one_setting_are_refused(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(0.5, 1.0), epochs=(40, 80), value=number)
    frame = load_results([folder])
    odd = frame[(frame["pool.alpha"] != 1) | (frame["train.epochs"] != 40)]
    odd = odd.assign(**{"train.epochs": odd["train.epochs"].where(odd["pool.alpha"] != 1, 160)})
    with pytest.raises(UsageError, match=r"one control for each setting, got 2 that differ in"):
        tables_of(odd, "alpha=0.5")


def test_one_model_with_two_samplers_is_compared(frame):
    """The sampler is no part of a model's key, so V1 of both settings is the same model."""
    varied = frame.assign(**{KID: frame[KID] + frame["pool.alpha"] + frame["seed"] / 10})
    varied[KID] += frame["seed"] * frame["pool.alpha"]
    assert varied.query("generation == 1")["node"].nunique() == 3  # one per seed
    (table,) = tables_of(varied, "alpha=0.5", generations=(1,))
    assert [row[0] for row in table.rows] == ["1", "2"]


def test_a_mixture_is_compared_even_if_it_is_of_the_same_first_model(frame):
    """Its images are chosen, and the filter is no part of the first model's key."""
    mixed = frame.assign(member=MIXTURE, **{KID: frame[KID] + frame["pool.alpha"] ** 2})
    mixed[KID] += mixed["seed"] * mixed["pool.alpha"] / 10
    both = pd.concat([frame, mixed], ignore_index=True)
    (table,) = tables_of(both, "alpha=0.5")
    firsts = table.summary.query("generation == 1")
    assert set(firsts["member"]) == {MIXTURE}
    assert len(firsts) == 2


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("nothing", "--against must be one of V1, base, random, pool.alpha=VALUE, got 'nothing'"),
        ("alhpa=1", "--against must be one of pool.alpha, got 'alhpa'"),
        ("alpha=3", "the value of --against pool.alpha must be one of 0.5, 1, 2, got '3'"),
        ("base", "--against base needs settings that differ from one of them in few values"),
        ("random", "--against must be one of pool.alpha, got 'filter.name'"),
    ],
)
def test_a_control_that_is_not_there_is_one_line(against, message, frame):
    with pytest.raises(UsageError) as caught:
        tables_of(frame, against)
    assert str(caught.value).startswith(message)


def test_nothing_to_compare_is_one_line(tmp_path):
    folder = write_folder(tmp_path / "a", alphas=(1.0,), generations=1)
    with pytest.raises(UsageError, match="--against V1 must leave at least one pair of different"):
        tables_of(load_results([folder]), "V1")


def test_csv_has_a_column_for_each_number_and_is_known_as_ours(frame):
    text = render_tables(tables_of(frame, "V1"), "csv")
    (first, *others) = csv.DictReader(io.StringIO(text))
    assert (first["control"], first["generation"], first["confidence"]) == ("V1", "2", "0.95")
    assert float(first["p"]) <= float(first["p_holm"])
    assert len(others) == 8
    assert is_table(as_file(text, "csv"))


@pytest.mark.parametrize("style", ["md", "latex"])
def test_written_tables_may_be_written_again(style, frame):
    assert is_table(as_file(render_tables(tables_of(frame, "V1"), style), style))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--margin", "1"), "--margin must be used with --against"),
        (("--generation", "2"), "--generation must be used with --against"),
        (("--against", "V1", "--tidy"), "--against must be used without --tidy and --by"),
        (("--against", "V1", "--metric", "composition"), "--against must be used with a --metric"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(words, message, tmp_path, capsys):
    folder = write_folder(tmp_path / "a")
    assert PROGRAM.run(["table", str(folder), *words]) == 2
    assert f"error: {message}" in capsys.readouterr().err
