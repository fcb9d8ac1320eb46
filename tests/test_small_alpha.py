"""An alpha that rounds to no image is said by sweep plan and sweep run; it is never an error."""

import pytest
from tiny_sweep import make_lineage, make_sweep, plan

from sweep.__main__ import PROGRAM
from sweep.commands.plan import note_small_alpha

NOTE = (
    "note: pool.alpha={alpha} adds no image from generation 1 on, because {what}; above {least} it "
)


def noted(capsys: pytest.CaptureFixture[str], values: dict, **settings: object) -> list[str]:
    """The notes of a sweep over these values, from a data set of 40 train images."""
    note_small_alpha(plan(make_sweep((values,), make_lineage(settings))))
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("rule", ["grow", "mix"])
def test_the_note_names_alpha_and_the_pool(rule: str, capsys) -> None:
    """Once for each alpha, whatever the seeds; exactly half an image rounds to none."""
    values = {"pool.alpha": [0.0125, 0.001, 0.013, 1], "seed": [0, 1]}
    lines = noted(capsys, values, **{"pool.rule": rule})
    what = "the first pool has 40"
    assert [line.removesuffix("adds one") for line in lines] == [
        NOTE.format(alpha=alpha, what=what, least=0.0125) for alpha in (0.0125, 0.001)
    ]


@pytest.mark.parametrize("rule", ["grow", "mix"])
def test_the_least_alpha_is_true(rule: str) -> None:
    """Above it an image is added, at it none."""
    values = {"pool.alpha": [0.0125, 0.01251]}
    none, one = plan(make_sweep((values,), make_lineage({"pool.rule": rule})))
    assert (none.nodes[0].num_new, one.nodes[0].num_new) == (0, 1)


def test_a_part_of_the_images_counts(capsys) -> None:
    """The first pool may have fewer images; alpha of rule fresh is of the fresh ones."""
    fresh = {"pool.rule": "fresh", "pool.initial_images": 20, "generations": 2}
    line, *others = noted(capsys, {"pool.alpha": [0.02]}, **fresh)
    assert "the first pool has 20; above 0.025 it" in line
    line, *more = noted(capsys, {"pool.alpha": [0.1]}, **fresh, **{"pool.fresh_images": 4})
    assert "the fresh real images of a generation are 4; above 0.125 it" in line
    assert others == more == []


@pytest.mark.parametrize(
    "settings",
    [
        {"pool.alpha": 0.0},
        {"pool.alpha": 0.5},
        {"pool.alpha": 0.001, "generations": 1},
        {"pool.alpha": None, "pool.rule": "replace"},
        {"pool.alpha": 0.5, "ensemble.size": 3},
    ],
)
def test_other_sweeps_have_no_note(settings: dict, capsys) -> None:
    """Alpha 0 is a control that is meant."""
    assert noted(capsys, {"seed": [0]}, **settings) == []


def test_sweep_plan_prints_it(capsys) -> None:
    words = "plan quickstart --axis pool.alpha=0.0001,1 --metrics.names"
    assert PROGRAM.run(words.split()) == 0
    assert capsys.readouterr().err.count("note: pool.alpha=0.0001 adds no image") == 1
