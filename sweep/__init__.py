"""Sweeps of lineages: pools, keys, the store, the lineage loop, and its Ray Tune trial.

In Python or a notebook:

    import sweep
    sweep.plan("quickstart")
    table = sweep.run("quickstart", out="runs/quickstart")
"""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from sweep.config import LineageConfig, SweepConfig

__all__ = ["plan", "run"]


def plan(
    config: "str | PathLike[str] | SweepConfig | LineageConfig",
    out: str | PathLike[str] | None = None,
    *,
    store: str | None = None,
    timings: Sequence[str | PathLike[str]] = (),
    slots: Sequence[int] = (1,),
) -> dict[str, Any]:
    """Return what a sweep would compute, as `sweep plan --format json` prints it.

    Args:
        config: Name of a preset, path of a .toml or .json file, or settings.
        out: Results folder of the sweep, to see what is already done.
        store: Folder or bucket of models; by default that of earlier runs, or `out`.
        timings: Other results folders, whose finished models are used to estimate times.
        slots: Numbers of parallel trials to estimate the time for.

    Raises:
        UsageError: A setting is not valid.
    """
    from pathlib import Path

    from model.programs.files import READ
    from sweep.commands.plan import look_ahead
    from sweep.commands.request import as_sweep

    READ.clear()  # files may have changed since an earlier call
    outlook = look_ahead(
        as_sweep(config),
        out=None if out is None else Path(out),
        store=store,
        timings=[Path(folder) for folder in timings],
        slots=slots,
    )
    return outlook.to_json()


def run(
    config: "str | PathLike[str] | SweepConfig | LineageConfig",
    out: str | PathLike[str],
    *,
    store: str | None = None,
    address: str | None = None,
    allow_command: bool = False,
) -> "DataFrame":
    """Run a sweep, or resume it, as `sweep run` does: finished models are not trained again.

    Progress goes to stderr. A lineage that fails does not end the sweep, and a line says why.

    Args:
        config: Name of a preset, path of a .toml or .json file, or settings. Settings of one
            lineage are a sweep of a single lineage.
        out: Results folder. An existing one is resumed or extended.
        store: Folder or bucket of models; by default that of earlier runs, or `out`.
        address: Address of a running Ray cluster; None starts Ray on this machine.
        allow_command: Run the programs that the settings name (family command).

    Returns:
        The tidy table that `analysis.load(out)` returns: a row for each lineage, generation and
        member.

    Raises:
        UsageError: A setting is not valid, or `out` cannot be written.
    """
    import shlex
    from pathlib import Path

    import analysis
    from model.programs.files import READ
    from model.programs.permission import allow_commands
    from sweep.commands.request import as_sweep
    from sweep.commands.run import execute

    READ.clear()  # files may have changed since an earlier call
    allow_commands(allow_command)
    folder = str(out)
    command = shlex.join(["sweep", "run", f"{folder}/sweep.json", "--out", folder])
    execute(as_sweep(config), Path(out), store=store, address=address, command=command)
    return analysis.load(out)
