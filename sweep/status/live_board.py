"""The loss and speed of models in training, in TensorBoard while they train."""

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweep.planning.lineages import PlannedLineage
from sweep.store.claims import ClaimInfo
from sweep.tensorboard import FOLDER, make_event, member_folder

LIVE = ".live"
"""End of the names of event files about running trainings."""


class LiveBoard:
    """The loss and speed of models in training, as a driver sees them every few seconds.

    Its event files last until the run ends. The exact curves of a finished model replace them.
    """

    def __init__(self, out: Path, lineages: Iterable[PlannedLineage]) -> None:
        self._places: dict[str, tuple[Path, int]] = {}
        self._writers: dict[Path, Any] = {}
        self._steps: dict[str, int] = {}
        for lineage in lineages:
            for node in lineage.nodes:
                folder = out / FOLDER / lineage.id
                folder = member_folder(folder, node.member, of=lineage.num_members)
                self._places.setdefault(node.key, (folder, node.generation))
        for path in (out / FOLDER).rglob(f"events.*{LIVE}"):  # of a run that was killed
            path.unlink(missing_ok=True)

    def write(self, claims: Mapping[str, ClaimInfo]) -> None:
        """Add what the trainings, by node key, have reported since the last call."""
        for key, claim in claims.items():
            progress = claim.progress
            step, is_new = progress.get("step"), progress.get("step") != self._steps.get(key)
            if progress.get("stage") == "train" and step and is_new and key in self._places:
                self._steps[key] = step
                folder, generation = self._places[key]
                for kind in ("loss", "images_per_second"):
                    number = float(progress.get(kind, math.nan))
                    tag = f"training_now_{kind}/V{generation}"
                    self._add(folder, step, {"tag": tag, "simple_value": number})

    def _add(self, folder: Path, step: int, value: dict[str, Any]) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if folder not in self._writers:
            self._writers[folder] = EventFileWriter(str(folder), filename_suffix=LIVE)
        self._writers[folder].add_event(make_event(time.time(), step, value))
        self._writers[folder].flush()

    def close(self) -> None:
        """Delete the event files."""
        for folder, writer in self._writers.items():
            writer.close()
            for path in folder.glob(f"events.*{LIVE}"):
                path.unlink(missing_ok=True)
