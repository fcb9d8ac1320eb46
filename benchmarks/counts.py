"""Count work instead of timing it: function calls of a plan; operations of a training step.

    uv run --extra all python benchmarks/counts.py
    PYTHONPATH=/path/to/another/checkout uv run --extra all python benchmarks/counts.py

Counts do not depend on other load on the machine, so two commits can be compared at any time. The
script uses only the commands and no other module by name, so it can count any version.
"""

import contextlib
import cProfile
import io
import json
import pstats
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

SETTINGS = (
    *("--data.train-limit", "128", "--train.epochs", "None"),
    *("--model.widths", "8", "16", "--train.batch-size", "32"),
)
FAMILIES = ("ddim", "flow", "edm", "vae")


def run(program: str, words: Sequence[str]) -> None:
    """Run one of our commands in this process and discard its output."""
    old, sys.argv = sys.argv, [program, *words]
    silent = io.StringIO()
    try:
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            import_module(f"{program}.__main__").main()
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"{program} {' '.join(words)}: {silent.getvalue()}") from None
    finally:
        sys.argv = old


def calls_of_plan(preset: str) -> int:
    """Function calls of `sweep plan` after everything is imported."""
    run("sweep", ["plan", preset])
    profile = cProfile.Profile()
    profile.runcall(run, "sweep", ["plan", preset])
    return int(pstats.Stats(profile).total_calls)  # ty: ignore[missing-attribute]


def count_step(family: str) -> dict[str, float]:
    """Counts of one training step: those of 20 steps minus those of 10, over 10."""
    few, many = (summarize(count_training(family, steps)) for steps in (10, 20))
    return {name: (many[name] - few[name]) / 10 for name in many}


def count_training(family: str, steps: int) -> Counter[str]:
    """How often each operation runs in a training with SETTINGS."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "model.safetensors")
        words = ["train", "--out", out, *SETTINGS, "--train.steps", str(steps)]
        return count_operations(lambda: run("model", [*words, "--model.family", family]))


def count_operations(call: Callable[[], object]) -> Counter[str]:
    """How often each of torch's operations runs, including those inside others."""
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
        call()
    names = (event.name for event in profiled.events())
    return Counter(name for name in names if name.startswith("aten::"))


def summarize(counts: Counter[str]) -> dict[str, int]:
    """All operations, copies of tensors, and reads of a tensor's number by the CPU."""
    return {
        "operations": counts.total(),
        "copies": counts["aten::copy_"],
        "reads": counts["aten::_local_scalar_dense"],
    }


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "calls of sweep plan mechanism": calls_of_plan("mechanism"),
                **{f"training step, {family}": count_step(family) for family in FAMILIES},
            },
            indent=1,
        )
    )
