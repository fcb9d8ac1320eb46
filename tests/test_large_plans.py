"""Plans of sizes that no machine has are refused, and long plans show their progress."""

import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running_sweep import SWEEP
from tiny_sweep import CARD, make_lineage, make_sweep, plan

from model.errors import UsageError
from sweep.commands import patience
from sweep.commands.patience import PlanProgress
from sweep.estimate.generations import generation_lines
from sweep.planning.lineages import plan_sweep


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"generations": 60, "pool.alpha": 1.0},
            "generation 36's pool must have at most 1,099,511,627,776 images, got "
            "1,374,389,534,720; use fewer generations, a smaller pool.alpha or another pool.rule",
        ),
        (
            {"pool.alpha": 1e12},
            "the new images of generation 1 must be at most 1,099,511,627,776, got 40000000000000",
        ),
        (
            {"model.widths": [60_000, 60_000]},
            "model must need at most 1,024 GiB in training, got ",
        ),
    ],
)
def test_a_size_that_no_machine_has_is_refused(changes, message: str) -> None:
    with pytest.raises(UsageError, match="^" + re.escape(message)):
        plan(make_sweep(base=make_lineage(changes)))


def test_too_many_points_are_refused_before_any_is_made() -> None:
    grid = {"seed": list(range(1000)), "sample.steps": list(range(1, 1001))}
    message = "^grids must have at most 100,000 points, got 1,000,000; use fewer values, "
    with pytest.raises(UsageError, match=message):
        next(make_sweep((grid,)).each_point())


def test_every_point_is_counted() -> None:
    """A point that repeats another too."""
    counts = []
    sweep = make_sweep(({"seed": [0, 1]}, {"seed": [1, 2]}))
    plan_sweep(sweep, lambda data: CARD, lambda *numbers: counts.append(numbers))
    assert counts == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_a_quick_plan_shows_no_progress(capsys) -> None:
    progress = PlanProgress("planning")
    progress(1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_slow_plan_shows_its_progress_on_stderr(capsys, monkeypatch) -> None:
    monkeypatch.setattr(patience, "QUIET_SECONDS", 0.0)
    PlanProgress("planning each point")(1000, 2000)
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"planning each point: 1,000 of 2,000, about .* left; .*\n", said.err)


@pytest.mark.slow
def test_ctrl_c_ends_a_long_plan_at_once(tmp_path: Path) -> None:
    """With the exit code of a shell."""
    seeds = ", ".join(map(str, range(20_000)))
    path = tmp_path / "many.toml"
    path.write_text(f"[base.pool]\nalpha = 1\n[[grids]]\nseed = [{seeds}]\n")
    process = subprocess.Popen(
        [sys.executable, "-P", "-u", SWEEP, "plan", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ},
    )
    with process:
        assert process.stderr is not None
        said = rb"(checking the settings of|planning) each point: [0-9,]+ of 20,000, about "
        assert re.match(said, process.stderr.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read() == b""


def calls_of(monkeypatch: pytest.MonkeyPatch, target: str) -> list[object]:
    """Results of the calls of a function, which go on as before."""
    module, name = target.rsplit(".", 1)
    original, calls = getattr(importlib.import_module(module), name), []

    def counted(*args: Any) -> object:
        calls.append(original(*args))
        return calls[-1]

    monkeypatch.setattr(target, counted)
    return calls


def test_what_lineages_share_is_encoded_once(monkeypatch) -> None:
    """Forty seeds cost no more JSON of settings than one, and two hashes for each model."""
    grid: dict[str, list[Any]] = {"pool.alpha": [0.5, 1.0]}
    canonical = calls_of(monkeypatch, "sweep.planning.keys.canonical")
    plan(make_sweep((grid,)))
    of_one_seed = len(canonical)
    hashes = [
        calls_of(monkeypatch, f"sweep.planning.{module}.text_digest")
        for module in ("keys", "lineages", "nodes")
    ]
    lineages = plan(make_sweep((grid | {"seed": list(range(40))},)))
    assert len(canonical) == 2 * of_one_seed
    num_nodes = sum(len(lineage.nodes) for lineage in lineages)
    assert sum(map(len, hashes)) == 2 * num_nodes + len(lineages)


def test_lineages_with_the_same_lines_are_printed_once() -> None:
    grid: dict[str, list[Any]] = {"pool.alpha": [0.5, 1.0], "seed": list(range(7))}
    said = list(generation_lines(plan(make_sweep((grid,))), missing=()))
    assert [line.split("  ")[0] for line in said if line.startswith("alpha")] == [
        "alpha 0.5; seed 0 to 6 (7 lineages)",
        "alpha 1.0; seed 0 to 6 (7 lineages)",
    ]
    assert len(said) == 3 + 2 * (1 + 2)  # a head, then a line and two models for each alpha


def test_a_lineage_whose_models_are_missing_has_lines_of_its_own() -> None:
    lineages = plan(make_sweep(({"seed": [0, 1, 2]},)))
    said = list(generation_lines(lineages, missing={lineages[1].nodes[1].key}))
    assert [line.split("  ")[0] for line in said if line.startswith("seed")] == [
        "seed 0, 2 (2 lineages)",
        "seed 1",
    ]


def test_values_of_axes_are_printed_as_text() -> None:
    r"""An escape sequence does not reach the terminal."""
    names = [["one"], ["one", "zero"]]
    lineages = plan(make_sweep(({"pool.focal_classes": names},)))
    lineages[0].axes["pool.focal_classes"] = "\x1b[31m"
    assert any(r"\x1b[31m" in line for line in generation_lines(lineages, missing=()))
