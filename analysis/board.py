"""TensorBoard files of results folders, or of copies without weights and samples."""

import re
import shutil
import uuid
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from analysis.escapes import file_stems
from analysis.outputs import check_folder
from analysis.reading.checks import damaged, lineage_path
from analysis.reading.columns import axis_columns
from analysis.reading.results import load_results, run_names
from model.errors import UsageError, writing
from sweep.records import Json, LineageRecord, load_lineages
from sweep.tensorboard import metric_tags, write_board, write_overview

OURS = re.compile(r"events\.out\.tfevents\..+\.(V[0-9]+-[^.]+|overview-[0-9a-f]{8})")
"""Names of the event files that this command writes."""
ALWAYS = ("pool.alpha", "seed")
"""Settings that HPARAMS shows even if they do not vary."""


def write_joined_board(dirs: Sequence[Path], out: Path) -> None:
    """Write the event files of all lineages of some results folders, and replace earlier ones.

    A lineage that several folders share is written once.

    Args:
        dirs: The --out folders of sweeps, or copies of them.
        out: A folder that is new, or that contains only such files.

    Raises:
        UsageError: `out` has other files, or tensorboard is not installed.
        RecordError: A folder is not a results folder, or a record in it is damaged.
    """
    if find_spec("tensorboard") is None:
        raise UsageError(
            "analysis board must have the package tensorboard, got none; "
            "pip install 'collapse-sweep[tensorboard]'"
        )
    check_board(out)
    found = find_lineages(dirs, load_results(dirs))
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        unfinished = out / f".{uuid.uuid4().hex[:16]}.tmp"
        try:
            for name, (folder, lineage, settings) in found.items():
                write_board(folder, lineage, unfinished / name, settings=settings)
            tags = metric_tags((folder, lineage) for folder, lineage, _ in found.values())
            write_overview(unfinished, [settings for _, _, settings in found.values()], tags)
            for earlier in set(out.iterdir()) - {unfinished}:
                shutil.rmtree(earlier)
            for path in unfinished.iterdir():
                path.replace(out / path.name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def check_board(out: Path) -> None:
    """Raise UsageError unless a folder can be replaced by event files."""
    check_folder(out)
    for path in out.rglob("*"):
        is_ours = path.is_dir() or (path.parent != out and OURS.fullmatch(path.name))
        if path.is_symlink() or not is_ours:
            raise UsageError(
                f"--out must be new, or hold only files of this command, got {out} with "
                f"{path.relative_to(out)}; choose another folder"
            )


def find_lineages(
    dirs: Sequence[Path], frame: pd.DataFrame
) -> dict[str, tuple[Path, LineageRecord, Json]]:
    """Map names of runs in TensorBoard to (results folder, record, settings that vary).

    The name is the lineage's id, after the name of its folder if there are several.

    Args:
        dirs: Results folders.
        frame: Their table.
    """
    folders = run_names(dirs)
    records = {(run, rec.id): rec for run, path in folders.items() for rec in load_lineages(path)}
    columns = (*axis_columns(frame), "seed")
    axes = [c for c in columns if c in ALWAYS or frame[c].nunique(dropna=False) > 1]
    rows = frame.drop_duplicates(["run", "lineage"])
    keys = list(zip(rows["run"], rows["lineage"], strict=True))
    stems = file_stems([key if len(folders) > 1 else key[1:] for key in keys])
    found: dict[str, tuple[Path, LineageRecord, Json]] = {}
    for stem, key, (_, row) in zip(stems, keys, rows.iterrows(), strict=True):
        folder, record = folders[key[0]], records[key]
        if not stem.strip("."):
            raise damaged(lineage_path(folder, record), "an id with a letter or digit", record.id)
        found[stem] = (folder, record, {axis: row[axis] for axis in axes})
    return found
