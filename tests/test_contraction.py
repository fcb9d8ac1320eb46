"""Facts of the contraction table: what is left of the deviation, and the closed form beside it."""

import math
import re

import pandas as pd
import pytest
from results_folder import write_folder

from analysis.reading.closed_form import has_closed_form
from analysis.reading.columns import MIXTURE
from analysis.reading.results import load_results
from analysis.statistics.contraction import LEFT, NULL, with_contraction
from analysis.tables.build import CONTRACTION, build_tables
from model.errors import UsageError


def lineage(sizes: list[int], real: list[int], stds: list[float]) -> pd.DataFrame:
    """Rows of one lineage whose pools have so many images, and real ones among them."""
    count = len(sizes)
    return pd.DataFrame(
        {
            "run": "r",
            "lineage": "l",
            "member": 0,
            "closed_form": True,
            "generation": range(1, count + 1),
            "num_images": pd.array(sizes, dtype="Int64"),
            "real_share": [r / n for r, n in zip(real, sizes, strict=True)],
            "pixel_std": stds,
        }
    )


def contraction(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of one lineage with the two columns."""
    return with_contraction(frame, by=["member"])


def test_what_is_left_is_the_deviation_over_that_of_v1() -> None:
    """0.2, 0.19 and 0.1 of 0.2."""
    found = contraction(lineage([20, 40, 80], [20, 20, 20], [0.2, 0.19, 0.1]))
    assert found[LEFT].tolist() == pytest.approx([1, 0.95, 0.5])


def test_growing_pools_keep_one_less_m_over_n_squared() -> None:
    """Pools of 20, 40 and 80: variances 1, 1 - 20 / 1600 and that times 1 - 40 / 6400."""
    found = contraction(lineage([20, 40, 80], [20, 20, 20], [1, 1, 1]))
    second = 1 - 20 / 1600
    expected = [1, math.sqrt(second), math.sqrt(second * (1 - 40 / 6400))]
    assert found[NULL].tolist() == pytest.approx(expected)


def test_replaced_pools_keep_one_less_one_over_n() -> None:
    """Of 20 images, per generation."""
    found = contraction(lineage([20, 20, 20], [20, 0, 0], [1, 1, 1]))
    assert found[NULL].tolist() == pytest.approx([1, math.sqrt(0.95), 0.95])


def test_of_other_pools_nothing_is_claimed() -> None:
    """Mixing begins as growing does; from V_3 on the newest images replace the older."""
    found = contraction(lineage([20, 40, 40], [20, 20, 20], [1, 1, 1]))
    assert found[NULL].isna().tolist() == [False, False, True]


def test_a_lineage_without_a_first_model_has_no_contraction() -> None:
    """Nothing to compare with."""
    found = contraction(lineage([20, 40], [20, 20], [float("nan"), 0.2]))
    assert found[LEFT].isna().all()


def test_rows_stay_in_their_order() -> None:
    """So that the table can be joined with others."""
    frame = lineage([20, 40, 80], [20, 20, 20], [1, 1, 1]).iloc[::-1].reset_index(drop=True)
    assert contraction(frame)["generation"].tolist() == [3, 2, 1]


def test_its_table_has_both_in_a_cell(tmp_path) -> None:
    """V_1 is the unit of both; later cells hold a measured number, and the closed form's."""
    frame = load_results([write_folder(tmp_path / "a")])
    (table,) = build_tables(frame, [CONTRACTION], by=(), confidence=0.95)
    assert table.rows[0][1] == "1 +- 0 (3); 1"
    assert all(re.fullmatch(r".+; 0\.\d+", cell) for cell in table.rows[0][2:])
    assert set(table.summary["metric"]) == {LEFT, NULL}


def test_a_lineage_made_longer_in_another_folder_is_one_lineage(tmp_path) -> None:
    """V_3 of the second folder is compared with V_1 of the first, as in a single folder."""
    short = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), generations=2)
    long = write_folder(tmp_path / "b", alphas=(1.0,), seeds=(0,))
    joined, alone = (
        build_tables(load_results(dirs), [CONTRACTION], by=(), confidence=0.95)[0].rows
        for dirs in ([short, long], [long])
    )
    assert joined == alone


def test_the_images_of_all_members_together_have_no_table_of_their_own(tmp_path) -> None:
    """They are no model's, so that a table for each member leaves them out."""
    frame = load_results([write_folder(tmp_path / "a")])
    frame = pd.concat([frame, frame.assign(member=MIXTURE)], ignore_index=True)
    tables = build_tables(frame, [CONTRACTION], by=["pool.alpha"], confidence=0.95)
    assert [table.title for table in tables] == ["contraction, member = 0"]


def test_without_a_measurement_there_is_no_contraction(tmp_path) -> None:
    """Nor is there one of single classes, which have no deviation of pixels."""
    folder = write_folder(tmp_path / "a", alphas=(1.0,), seeds=(0,), pending=((1.0, 0, 1),))
    with pytest.raises(UsageError, match="pixel_std must have a value for the table contraction"):
        build_tables(load_results([folder]), [CONTRACTION], by=(), confidence=0.95)


@pytest.mark.parametrize(
    ("settings", "claimed"),
    [
        ({"pool": {"rule": "grow"}}, [True]),
        ({"pool": {"rule": "fresh"}}, [False]),
        ({"pool": {"rule": "grow"}, "model": {"conditional": True}}, [False]),
        ({"pool": {"rule": "grow"}, "ensemble": {"size": 2, "data": "all"}}, [True, True]),
        ({"pool": {"rule": "grow"}, "ensemble": {"size": 2, "data": "shard"}}, [False, False]),
        (
            {"pool": {"rule": "grow"}, "ensemble": {"members": ["data=own", "train.steps=9"]}},
            [True, False],
        ),
        (
            {"pool": {"rule": "grow"}, "ensemble": {"members": ["model.conditional=True", ""]}},
            [False, False],
        ),
    ],
)
def test_the_closed_form_is_that_of_pools_whose_images_one_gaussian_made(settings, claimed) -> None:
    """Fresh images leave more (of 10 and 10 images 1.03, not 0.975), as do shards and classes."""
    assert [has_closed_form(settings, member) for member in range(len(claimed))] == claimed
