"""TensorBoard files of a results folder: curves, metrics, sample grids and settings per lineage.

Written from the store, one event file per (lineage, generation) and never twice: a shared V_1
appears in every lineage, a resume repeats nothing. Needs tensorboard, not torch.
"""

import io
import time
import uuid
from pathlib import Path

import numpy as np

from sweep.config import flatten
from sweep.plan import PlannedLineage
from sweep.records import MetricsRecord, NodeRecord
from sweep.store import Store


def write_boards(out: Path, lineages: list[PlannedLineage], store: Store) -> None:
    """Write the event files that are missing."""
    for lineage in lineages:
        folder = out / "tensorboard" / lineage.id
        spec = lineage.metrics.spec if lineage.metrics else None
        for node in lineage.nodes:
            suffix = f".V{node.generation}-{node.key[:8]}"
            if any(folder.glob(f"events.*{suffix}")):
                continue
            if not store.has_node(node.key):
                break
            record = store.read_node(node.key)
            metrics = store.read_metrics(node.key, spec) if spec else None
            if spec and metrics is None and record.status == "done":
                break
            write_generation(folder, suffix, lineage, record, metrics, store)


def write_generation(
    folder: Path,
    suffix: str,
    lineage: PlannedLineage,
    record: NodeRecord,
    metrics: MetricsRecord | None,
    store: Store,
) -> None:
    """One generation of one lineage as an event file, which appears whole."""
    from tensorboard.compat.proto.event_pb2 import Event  # ty: ignore[import-not-found] (generated)
    from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[import-not-found] (generated)
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    work = folder.parent / f".writing-{uuid.uuid4().hex[:8]}"
    writer = EventFileWriter(str(work), filename_suffix=suffix)
    now, generation = time.time(), record.generation

    def add(step: int, value: Summary.Value) -> None:
        writer.add_event(Event(wall_time=now, step=step, summary=Summary(value=[value])))

    numbers = {
        "pool/num_images": record.num_images,
        "pool/real_share": record.origins.get("0", 0) / record.num_images,
        "train/images_per_second": record.images_per_second,
        "train/num_steps": record.num_steps,
    }
    if record.final_loss is not None:
        numbers["train/final_loss"] = record.final_loss
    for name, value in {**numbers, **(metrics.values if metrics else {})}.items():
        tag = name if "/" in name else f"pixels/{name}"
        add(generation, Summary.Value(tag=tag, simple_value=float(value)))
    if "curves.npz" in record.files:
        with np.load(io.BytesIO(store.read_file(record.key, "curves.npz"))) as curves:
            for name in ("noise_loss", "image_loss"):
                if name in curves:
                    for step, value in zip(curves["step"], curves[name], strict=True):
                        tag = f"curve_{name}/V{generation}"
                        add(int(step), Summary.Value(tag=tag, simple_value=float(value)))
    if "preview.png" in record.files:
        png = store.read_file(record.key, "preview.png")
        width, height = png_size(png)
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        add(generation, Summary.Value(tag="samples/same_noise", image=image))
    if generation == 1:
        for value in hparams(lineage):
            add(0, value)
    writer.close()
    folder.mkdir(parents=True, exist_ok=True)
    for path in work.iterdir():
        path.replace(folder / path.name)
    work.rmdir()


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
