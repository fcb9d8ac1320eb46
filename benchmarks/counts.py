"""Count work instead of timing it: function calls of a plan, torch operations of a training step.

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
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from torch.utils._python_dispatch import TorchDispatchMode

SETTINGS = (
    *("--data.train-limit", "128", "--train.epochs", "None"),
    *("--model.widths", "8", "16", "--train.batch-size", "32"),
)
FAMILIES = ("ddim", "flow", "edm", "vae")


class CountOperations(TorchDispatchMode):
    """Counts every operation that reaches torch's kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        """Count one operation and run it."""
        self.count += 1
        return func(*args, **(kwargs or {}))


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


def operations_per_step(family: str) -> float:
    """Torch operations of one training step: those of 20 steps minus those of 10, over 10."""
    counts = []
    for steps in (10, 20):
        with tempfile.TemporaryDirectory() as folder, CountOperations() as mode:
            out = str(Path(folder) / "model.safetensors")
            words = ["train", "--out", out, *SETTINGS, "--train.steps", str(steps)]
            run("model", [*words, "--model.family", family])
        counts.append(mode.count)
    return (counts[1] - counts[0]) / 10


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "calls of sweep plan mechanism": calls_of_plan("mechanism"),
                **{f"operations per step, {f}": operations_per_step(f) for f in FAMILIES},
            },
            indent=1,
        )
    )
