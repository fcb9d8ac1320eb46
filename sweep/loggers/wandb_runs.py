"""Sends the progress of lineages to Weights & Biases, each as a run with the lineage's id.

    python -m sweep.loggers.wandb_runs runs/quickstart < ids

This is a process of its own, so that neither wandb's threads nor a lost network can disturb the one
that runs a sweep. wandb itself reads the API key, the mode and so on from its environment. All
numbers come from records, so whatever was lost when a process was killed is sent by the next one.
"""

import fcntl
import os
import re
import shutil
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from model.errors import one_line
from sweep.config import flatten
from sweep.files import digest
from sweep.loggers.progress import FOLDER, progress_rows
from sweep.records import LineageRecord, lineage_paths, load_lineage, load_sweep
from sweep.sealed import Record

START_SECONDS = 30
"""Longest wait for an answer when a run is started."""
LONGEST_SECONDS = 120
"""Longest time for one run, after which the network counts as lost."""


def main() -> int:
    """Send the lineages whose ids stdin lists; returns 1, after a line on stderr, if one fails."""
    out, ids = Path(sys.argv[1]), set(sys.stdin.read().split())
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when wandb is imported
    try:
        folder = out / FOLDER / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:  # a killed sweep may have left a process
            fcntl.flock(lock, fcntl.LOCK_EX)
            project = project_of(out)
            for path in lineage_paths(out):
                if path.stem in ids:
                    send(out, load_lineage(path), project)
    except Exception as error:  # whatever fails in wandb depends on its server and settings
        sys.stderr.write(f"{type(error).__name__}: {one_line(error)}\n")
        return 1
    return 0


def project_of(out: Path) -> str:
    """WANDB_PROJECT, or the name of the sweep without the characters that W&B does not allow."""
    name = re.sub(r"[/\\#?%:]", "-", load_sweep(out).name)[:128]
    return os.environ.get("WANDB_PROJECT") or name


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent(Record):
    """What a lineage's run has, as far as this machine knows."""

    project: str = ""
    digest: str = ""
    """Of all that was to be sent."""
    folder: str = ""
    """The newest folder of wandb."""
    last: int = 0
    """The last generation in it."""
    uploaded: int = 0
    """The last generation in earlier folders that `wandb sync` has uploaded."""


def send(out: Path, lineage: LineageRecord, project: str) -> None:
    """Send the rows of a lineage that its run does not have yet.

    An online run says itself how far it is. An offline one has every row that is not uploaded, and
    replaces an earlier folder that is not: `wandb sync` appends the rows of a folder to the run.
    """
    import wandb

    rows, config = progress_rows(out, lineage), dict(flatten(lineage.config))
    path = out / FOLDER / "wandb" / f"{lineage.id}.json"
    sent = Sent.load(path) if path.exists() else Sent()
    mark = digest([project, os.environ.get("WANDB_MODE"), rows, config])
    if not rows or sent.digest == mark:
        return
    uploaded = 0
    if sent.project == project:
        is_waiting = is_not_uploaded(path.with_name(sent.folder))
        uploaded = sent.uploaded if is_waiting else max(sent.uploaded, sent.last)
    watchdog = threading.Timer(LONGEST_SECONDS, give_up)
    watchdog.daemon = True
    watchdog.start()
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        save_code=False,
        init_timeout=START_SECONDS,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    with wandb.init(
        project=project,
        id=lineage.id,
        name=lineage.id,
        config=config,
        dir=out / FOLDER,
        resume="allow",
        settings=settings,
    ) as run:
        run.define_metric("generation")
        run.define_metric("*", step_metric="generation")
        first = uploaded + 1 if run.offline else run.starting_step
        for row in rows:
            if row["generation"] >= first:
                run.log(row, step=row["generation"])
        current, is_disabled = Path(run.settings.sync_dir), run.disabled
    watchdog.cancel()
    if is_disabled:
        return
    last = rows[-1]["generation"]
    now = Sent(project=project, digest=mark, folder=current.name, last=last, uploaded=uploaded)
    now.save(path)
    for earlier in current.parent.glob(f"*run-{'?' * 15}-{lineage.id}"):
        if earlier != current and not is_uploaded(earlier):
            shutil.rmtree(earlier)


def is_not_uploaded(folder: Path) -> bool:
    """Whether an offline run is still only on this machine; `wandb clean` deletes others."""
    return folder.name.startswith("offline-") and folder.is_dir() and not is_uploaded(folder)


def is_uploaded(folder: Path) -> bool:
    """Whether `wandb sync` has uploaded a folder."""
    return any(folder.glob("*.synced"))


def give_up() -> NoReturn:
    """End this process, which waits for a server that does not answer."""
    sys.stderr.write(f"no answer from the server for {LONGEST_SECONDS} s\n")
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
