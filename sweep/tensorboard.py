"""TensorBoard files of a results folder: curves, metrics, sample grids and settings per lineage.

There is one event file per (lineage, generation) and one per later evaluation, written once from
the store. A model shared by several lineages appears in each of them, and a resumed run repeats
nothing. This module needs tensorboard, not torch.
"""

import io
import math
import re
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model.errors import printable_name
from model.features.extractors import extractor_label
from model.metrics.table import METRICS
from sweep.config import flatten
from sweep.files import digest
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import NodePlan
from sweep.records import NodeRecord
from sweep.store.arrays import read_arrays
from sweep.store.claims import ClaimInfo
from sweep.store.store import Store

PREVIEW_COLUMNS = 8
"""Images in a row of a preview.png."""

LIVE = ".live"
"""End of the names of event files about running trainings."""

AddFunction = Callable[[int, dict[str, Any]], None]
"""Adds an event, given a step and the fields of tensorboard's Summary.Value."""


def write_boards(out: Path, lineages: list[PlannedLineage], store: Store) -> None:
    """Write the missing event files; each member of an ensemble has a separate folder."""
    for lineage in lineages:
        for node in lineage.nodes:
            if not store.nodes.has(node.key):
                break
            own = board_folder(out, lineage, node)
            Board(folder=own, lineage=lineage, store=store).write_node(node)
            folder = out / "tensorboard" / lineage.id / "mixture"
            mixture = Board(folder=folder, lineage=lineage, store=store)
            for plan in node.mixture:
                mixture.write_numbers(node, plan.spec, beside=node.mixture[0].spec)


def board_folder(out: Path, lineage: PlannedLineage, node: NodePlan) -> Path:
    """The folder of a model's event files."""
    folder = out / "tensorboard" / lineage.id
    return folder / f"member-{node.member}" if lineage.num_members > 1 else folder


def write_overview(out: Path, lineages: Sequence[PlannedLineage]) -> None:
    """Write which settings and metrics the HPARAMS tab shows, and the charts of CUSTOM SCALARS.

    The one event file is replaced if the sweep has other settings or metrics than before.
    """
    settings: dict[str, list[bool | float | str]] = {}
    for lineage in lineages:
        for name, value in flatten(lineage.axes):
            values = settings.setdefault(escape_tag(name), [])
            if hparam(value) not in values:
                values.append(hparam(value))
    tags = dict.fromkeys(
        f"{shown}/{extractor_label(plan.config)}"
        for lineage in lineages
        for plan in lineage.nodes[0].metrics
        for name in plan.config.names
        for shown in METRICS[name].shown or (name,)
    )
    suffix = f".overview-{digest([list(settings.items()), list(tags)])[:8]}"
    folder = out / "tensorboard" / "overview"
    if any(folder.glob(f"events.*{suffix}")):
        return
    earlier = list(folder.glob("events.*.overview-*"))
    with writing(folder, suffix) as add:
        add_experiment(add, settings, list(tags))
        add_layout(add, list(tags))
    for path in earlier:
        path.unlink()


def add_experiment(
    add: AddFunction, settings: Mapping[str, list[bool | float | str]], tags: Sequence[str]
) -> None:
    """Add the settings that vary and the metrics by which trials are compared."""
    from tensorboard.plugins.hparams import summary_v2

    hparams = [
        summary_v2.HParam(
            name, summary_v2.Discrete(values) if len({type(v) for v in values}) == 1 else None
        )
        for name, values in settings.items()
    ]
    metrics = [summary_v2.Metric(escape_tag(tag), display_name=escape_tag(tag)) for tag in tags]
    for value in summary_v2.hparams_config_pb(hparams, metrics).value:
        add(0, {"tag": value.tag, "metadata": value.metadata, "tensor": value.tensor})


def add_layout(add: AddFunction, tags: Sequence[str]) -> None:
    """Add the charts of the CUSTOM SCALARS tab: metrics by generation, pools and training."""
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    proto: Any = layout_pb2  # its classes are generated when it is imported

    def chart(title: str, pattern: str) -> Any:
        return proto.Chart(title=title, multiline=proto.MultilineChartContent(tag=[pattern]))

    pool = ("num_images", "real_share")
    groups = {
        "metrics by generation": [
            chart(escape_tag(tag), f"^{re.escape(escape_tag(tag))}$") for tag in tags
        ],
        "pool by generation": [chart(name, f"^pool/{name}$") for name in pool],
        "training by step": [chart("loss", "^(training|curve)_.*loss/V")],
    }
    categories = [proto.Category(title=title, chart=charts) for title, charts in groups.items()]
    layout = proto.Layout(category=categories)
    tensor = make_tensor_proto(layout.SerializeToString())
    about = metadata.create_summary_metadata()
    add(0, {"tag": metadata.CONFIG_SUMMARY_TAG, "metadata": about, "tensor": tensor})


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """The event files of one lineage or member; each file appears only when it is complete."""

    folder: Path
    lineage: PlannedLineage
    store: Store

    def write_node(self, node: NodePlan) -> None:
        """Write a model's curves, preview and metrics, and the metrics of later evaluations."""
        specs = [plan.spec for plan in node.metrics]
        first = specs[0] if specs else ""
        own = specs.pop(0) if self.lineage.config.metrics.names else ""
        self.write_generation(self.store.nodes.read(node.key), own)
        for spec in specs:
            self.write_numbers(node, spec, beside=first)

    def write_generation(self, record: NodeRecord, spec: str) -> None:
        """Write a model's curves, preview and metrics, unless its own metrics are missing."""
        suffix, generation = f".V{record.generation}-{record.key[:8]}", record.generation
        if self.has(suffix):
            return
        metrics = self.store.read_metrics(record.key, spec) if spec else None
        if spec and metrics is None and record.status == "done":
            return
        numbers = {
            "pool/num_images": record.num_images,
            "train/images_per_second": record.images_per_second,
            "train/num_steps": record.num_steps,
        }
        if "-1" not in record.origins:  # otherwise some origins are unknown
            numbers["pool/real_share"] = record.origins.get("0", 0) / record.num_images
        if record.final_loss is not None:
            numbers["train/final_loss"] = record.final_loss
        with writing(self.folder, suffix) as add:
            add_scalars(add, generation, {**numbers, **(metrics.values if metrics else {})})
            if "curves.npz" in record.files:
                add_curves(add, generation, self.store.nodes.read_file(record.key, "curves.npz"))
            if "preview.png" in record.files:
                png = self.store.nodes.read_file(record.key, "preview.png")
                add_preview(add, generation, "samples/same_noise", png)
            if generation == 1:
                real = self.store.datasets.read_file(self.lineage.card.key, "preview.png")
                add_preview(add, 0, "samples/real", real)
                add_hparams(add, self.lineage)

    def write_numbers(self, node: NodePlan, spec: str, *, beside: str) -> None:
        """Write the metrics of a further specification of a model or its mixture.

        If they are measured on another number of images than those of the specification `beside`,
        their tags are name@images, as in tables. All values under one tag thus have the same number
        of images.
        """
        suffix = f".V{node.generation}-{node.key[:8]}-{spec}"
        if self.has(suffix):
            return
        metrics = self.store.read_metrics(node.key, spec)
        first = self.store.read_metrics(node.key, beside)
        if metrics is None or first is None:
            return
        count = metrics.num_images
        at = "" if count == first.num_images else f"@{count}"
        with writing(self.folder, suffix) as add:
            add_scalars(add, node.generation, {k + at: v for k, v in metrics.values.items()})

    def has(self, suffix: str) -> bool:
        """Whether an event file with this suffix exists."""
        return any(self.folder.glob(f"events.*{suffix}"))


@contextmanager
def writing(folder: Path, suffix: str) -> Generator[AddFunction]:
    """Yield a function that adds values to a new event file, which appears at the end."""
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    unfinished = folder.parent / f".writing-{uuid.uuid4().hex[:8]}"
    writer = EventFileWriter(str(unfinished), filename_suffix=suffix)
    now = time.time()

    def add(step: int, value: dict[str, Any]) -> None:
        writer.add_event(make_event(now, step, value))

    yield add
    writer.close()
    folder.mkdir(parents=True, exist_ok=True)
    (path,) = unfinished.iterdir()
    # TensorBoard reads files in the order of their names, and points in the order in which it reads
    # them. The writer's own names have seconds only.
    path.replace(folder / f"events.out.tfevents.{time.time_ns()}{suffix}")
    unfinished.rmdir()


def make_event(wall_time: float, step: int, value: dict[str, Any]) -> Any:
    """One value at a step, given the fields of tensorboard's Summary.Value; its tag is escaped."""
    from tensorboard.compat.proto.event_pb2 import Event  # ty: ignore[import-not-found] (generated)
    from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[import-not-found] (generated)

    escaped = Summary.Value(**{**value, "tag": escape_tag(value["tag"])})
    return Event(wall_time=wall_time, step=step, summary=Summary(value=[escaped]))


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
                folder = board_folder(out, lineage, node)
                self._places.setdefault(node.key, (folder, node.generation))
        for path in (out / "tensorboard").rglob(f"events.*{LIVE}"):  # of a run that was killed
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


def add_scalars(add: AddFunction, generation: int, numbers: Mapping[str, float]) -> None:
    """Add numbers at a generation; names without a group go to `pixels`."""
    for name, value in numbers.items():
        tag = name if "/" in name else f"pixels/{name}"
        add(generation, {"tag": tag, "simple_value": float(value)})


def add_curves(add: AddFunction, generation: int, data: bytes) -> None:
    """Add the training curves of a curves.npz."""
    curves = read_arrays(data, "curves.npz")
    steps = curves.pop("step", np.empty(0))
    for name, values in curves.items():
        for step, value in zip(steps, values, strict=True):
            tag = f"training_{name}/V{generation}"
            add(int(step), {"tag": tag, "simple_value": float(value)})


def add_preview(add: AddFunction, generation: int, tag: str, png: bytes) -> None:
    """Add a preview.png with gaps between its images."""
    spaced = with_gaps(png)
    width, height = png_size(spaced)
    image = {"height": height, "width": width, "colorspace": 3, "encoded_image_string": spaced}
    add(generation, {"tag": tag, "image": image})


def with_gaps(png: bytes) -> bytes:
    """A preview.png, whose images touch, with white gaps between them."""
    with Image.open(io.BytesIO(png)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    size = pixels.shape[1] // PREVIEW_COLUMNS
    gap = max(1, size // 16)
    rows, columns = pixels.shape[0] // size, PREVIEW_COLUMNS
    tiles = pixels.reshape(rows, size, columns, size, 3)
    around = ((0, 0), (0, gap), (0, 0), (0, gap), (0, 0))
    spaced = np.pad(tiles, around, constant_values=255)
    joined = spaced.reshape(rows * (size + gap), columns * (size + gap), 3)[:-gap, :-gap]
    written = io.BytesIO()
    Image.fromarray(joined).save(written, "PNG")
    return written.getvalue()


def add_hparams(add: AddFunction, lineage: PlannedLineage) -> None:
    """Add the lineage's axis values for TensorBoard's HPARAMS tab."""
    from tensorboard.plugins.hparams import summary_v2

    settings = {escape_tag(name): hparam(value) for name, value in flatten(lineage.axes)}
    for value in summary_v2.hparams_pb(settings, trial_id=lineage.id).value:
        add(0, {"tag": value.tag, "metadata": value.metadata, "tensor": value.tensor})


def hparam(value: object) -> bool | float | str:
    """A setting as TensorBoard can hold it; whole numbers that a double would round are text."""
    if isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) <= 2**53):
        return value
    return escape_tag(str(value))


def escape_tag(text: str) -> str:
    """Escape a tag or text for TensorBoard, whose files hold UTF-8; slashes separate groups."""
    return printable_name(text)


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height from a PNG's header."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
