"""TensorBoard files of a results folder: curves, metrics, sample grids and settings per lineage.

Written from the store, one event file per (lineage, generation) and one for each later evaluation,
never twice: a shared V_1 appears in every lineage, a resume repeats nothing. Needs tensorboard,
not torch.
"""

import time
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sweep.config import flatten
from sweep.planning.lineages import NodePlan, PlannedLineage
from sweep.records import NodeRecord
from sweep.store.arrays import read_arrays
from sweep.store.store import Store

AddFunction = Callable[[int, Any], None]
"""Step and tensorboard's Summary.Value to an event."""


def write_boards(out: Path, lineages: list[PlannedLineage], store: Store) -> None:
    """Write the event files that are missing; each member has a folder of its own."""
    for lineage in lineages:
        folder = out / "tensorboard" / lineage.id
        several = lineage.num_members > 1
        for node in lineage.nodes:
            if not store.nodes.has(node.key):
                break
            own = folder / f"member-{node.member}" if several else folder
            Board(folder=own, lineage=lineage, store=store).write_node(node)
            mixture = Board(folder=folder / "mixture", lineage=lineage, store=store)
            for plan in node.mixture:
                mixture.write_numbers(node, plan.spec, beside=node.mixture[0].spec)


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """The event files of one lineage or member, each of which appears whole."""

    folder: Path
    lineage: PlannedLineage
    store: Store

    def write_node(self, node: NodePlan) -> None:
        """A model's curves, preview and numbers, and those of later evaluations."""
        specs = [plan.spec for plan in node.metrics]
        first = specs[0] if specs else ""
        own = specs.pop(0) if self.lineage.config.metrics.names else ""
        self.write_generation(self.store.nodes.read(node.key), own)
        for spec in specs:
            self.write_numbers(node, spec, beside=first)

    def write_generation(self, record: NodeRecord, spec: str) -> None:
        """A model's curves, preview and numbers, once its own metrics are there."""
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
        if "-1" not in record.origins:  # else the pool was never looked at
            numbers["pool/real_share"] = record.origins.get("0", 0) / record.num_images
        if record.final_loss is not None:
            numbers["train/final_loss"] = record.final_loss
        with self.writing(suffix) as add:
            add_scalars(add, generation, {**numbers, **(metrics.values if metrics else {})})
            if "curves.npz" in record.files:
                add_curves(add, generation, self.store.nodes.read_file(record.key, "curves.npz"))
            if "preview.png" in record.files:
                add_preview(add, generation, self.store.nodes.read_file(record.key, "preview.png"))
            if generation == 1:
                for value in hparams(self.lineage):
                    add(0, value)

    def write_numbers(self, node: NodePlan, spec: str, *, beside: str) -> None:
        """The numbers of a further specification of a model, or of a mixture beside it.

        Of another number of images than those of the specification `beside` they are name@images,
        as in tables: one tag never holds numbers of different numbers of images.
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
        with self.writing(suffix) as add:
            add_scalars(add, node.generation, {k + at: v for k, v in metrics.values.items()})

    def has(self, suffix: str) -> bool:
        """Whether an event file was written."""
        return any(self.folder.glob(f"events.*{suffix}"))

    @contextmanager
    def writing(self, suffix: str) -> Generator[AddFunction]:
        """A function that adds a value to a new event file, which appears at the end."""
        from tensorboard.compat.proto.event_pb2 import Event  # ty: ignore[import-not-found] (generated)
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        work = self.folder.parent / f".writing-{uuid.uuid4().hex[:8]}"
        writer = EventFileWriter(str(work), filename_suffix=suffix)
        now = time.time()
        yield lambda step, value: writer.add_event(
            Event(wall_time=now, step=step, summary=summary(value))
        )
        writer.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in work.iterdir():
            path.replace(self.folder / path.name)
        work.rmdir()


def summary(value: Any) -> Any:
    """A Summary of one value."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[import-not-found] (generated)

    return Summary(value=[value])


def add_scalars(add: AddFunction, generation: int, numbers: Mapping[str, float]) -> None:
    """Add numbers at a generation; those without a group go to `pixels`."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[import-not-found] (generated)

    for name, value in numbers.items():
        tag = name if "/" in name else f"pixels/{name}"
        add(generation, Summary.Value(tag=tag, simple_value=float(value)))


def add_curves(add: AddFunction, generation: int, data: bytes) -> None:
    """Add the training curves of a curves.npz."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[import-not-found] (generated)

    curves = read_arrays(data, "curves.npz")
    steps = curves.pop("step", np.empty(0))
    for name, values in curves.items():
        for step, value in zip(steps, values, strict=True):
            tag = f"curve_{name}/V{generation}"
            add(int(step), Summary.Value(tag=tag, simple_value=float(value)))


def add_preview(add: AddFunction, generation: int, png: bytes) -> None:
    """Add a preview.png."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[import-not-found] (generated)

    width, height = png_size(png)
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    add(generation, Summary.Value(tag="samples/same_noise", image=image))


def hparams(lineage: PlannedLineage) -> list:
    """The lineage's axis values and other settings for TensorBoard's HPARAMS tab."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[import-not-found] (generated)
    from tensorboard.plugins.hparams import summary_v2

    settings = dict(flatten(lineage.axes))
    settings = {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in settings.items()
    }
    protobuf = summary_v2.hparams_pb(settings, trial_id=lineage.id)
    return [Summary.Value(tag=v.tag, metadata=v.metadata, tensor=v.tensor) for v in protobuf.value]


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height in a PNG's header."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
