"""The GPU measurements run end to end at toy size, without a GPU and without optional packages."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import PARTS, is_wrong
from benchmarks.gpu_cases import TOY, Bench

ROOT = Path(__file__).parent.parent
ABSENT = ("ray", "tyro", "msgspec", "pandas", "cleanfid", "sklearn", "diffusers", "scipy")
"""Packages that a machine may lack on which the measurements run."""


def make_bench(seconds: float) -> Bench:
    ends = time.perf_counter() + seconds
    return Bench(device=torch.device("cpu"), scale=TOY, precisions=["fp32"], ends=ends)


def fail() -> dict:
    raise RuntimeError("no kernel image")


def test_case_that_fails_is_a_row_and_the_others_run():
    rows = list(make_bench(60).cases([fail, lambda: {"value": 1}]))
    assert rows[0]["error"] == "RuntimeError: no kernel image"
    assert rows[1] == {"value": 1}
    assert [is_wrong(row) for row in rows] == [True, False]


def test_cases_without_time_are_counted():
    (row,) = make_bench(-1).cases([fail, fail])
    assert row == {"skipped": 2, "reason": "no time was left"}


@pytest.mark.parametrize(("value", "wrong"), [(0.1, False), (0.3, True), (math.nan, True)])
def test_value_outside_its_limit_is_wrong(value, wrong):
    assert is_wrong({"value": value, "limit": 0.2}) is wrong


@pytest.mark.slow
def test_rehearsal_measures_every_part(tmp_path):
    """But for torch.compile, which takes minutes."""
    parts = [part for part in PARTS if part != "compiled"]
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({ABSENT}));"
        "runpy.run_path('benchmarks/gpu.py', run_name='__main__')"
    )
    words = [sys.executable, "-c", code, "--rehearse", "--out", str(tmp_path), "--parts", *parts]
    subprocess.run(
        words, cwd=ROOT, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": "."}
    )
    (path,) = tmp_path.glob("gpu_*.json")
    result = json.loads(path.read_text())
    for part in parts:
        assert result[part]
        assert not any("skipped" in row for row in result[part])
    assert all(row["equal"] for row in result["correctness"] if "equal" in row)
    counts = [row["count"] for row in result["at-once"]]
    assert counts == [1, 2] * 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_only_a_rehearsal_runs(monkeypatch, capsys):
    from benchmarks.gpu import main

    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert main() == 2
    assert "add --rehearse" in capsys.readouterr().err
