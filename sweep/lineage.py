"""The lineage loop: train, sample, measure, build the next pool, and again.

Every step looks in the store first and computes only what is missing, so that a lineage resumes by
being run again and shares its past with others. Must not import ray or tyro.
"""

import io
import platform
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version

import numpy as np
import torch

from model.checkpoint import Checkpoint
from model.config import ImagesOn, MetricsConfig, SampleConfig
from model.datasets import Dataset
from model.families import draw_block, family_of
from model.randomness import Purpose
from model.selection import validation_score
from model.size import SAMPLE_BATCH, num_blocks
from model.training import Diverged, Fit, Progress, TrainingJob
from model.training_length import ema_init_left
from sweep.claims import Claim, ClaimLost
from sweep.config import LineageConfig
from sweep.files import CorruptError
from sweep.heartbeat import Heartbeat, NodeScratch
from sweep.keys import stream_key
from sweep.measurement import Measurement
from sweep.plan import (
    MetricsPlan,
    NodePlan,
    metrics_sample,
    plan_all_metrics,
    plan_lineage,
    selection_metrics,
)
from sweep.pool import Pool, pool_origins
from sweep.prepared import PREVIEW_IMAGES, preview_limits, preview_png
from sweep.records import WEIGHTS, DatasetCard, Json, MetricsRecord, NodeRecord, dump_json
from sweep.store import Store

CURVE_POINTS = 500
"""Most points of a stored training curve; longer ones are averaged in bins."""

WAIT_SECONDS = 0.5
"""Between looks at a node that somebody else is computing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What a lineage yields after each of its models."""

    node: NodeRecord
    metrics: tuple[MetricsRecord, ...] = ()
    """Of each specification; none where the model diverged."""


@dataclass(kw_only=True, slots=True)
class LineageRun:
    """A lineage being computed: its settings, its data, and where results and progress go."""

    config: LineageConfig
    card: DatasetCard
    data: Dataset
    store: Store
    evaluations: tuple[MetricsConfig, ...] = ()
    """What is measured of each generation beside the lineage's own metrics."""
    name: str = "lineage"
    """Shown beside its progress."""
    device: str = "cpu"
    images_on: ImagesOn = "auto"
    checkpoint_seconds: float = 60.0
    heartbeat_seconds: float = 1.0
    on_progress: Callable[[Json], None] | None = None
    """Called in the trial's thread with each progress; a test may raise here to interrupt."""
    _position: Json = field(default_factory=dict)
    _metrics: tuple[MetricsPlan, ...] = field(init=False)
    _measurement: Measurement = field(init=False)

    def __post_init__(self) -> None:
        self._metrics = plan_all_metrics(self.config, self.card, self.evaluations)
        self._measurement = Measurement(
            card=self.card, data=self.data, store=self.store, device=self.device
        )

    def generations(self) -> Iterator[Generation]:
        """Compute what is missing, generation by generation; ends early where one diverges."""
        nodes = plan_lineage(self.config, self.card)
        trained: dict[str, NodePlan] = {}
        for node in nodes:
            trained[node.stream] = node
            record = self.ensure_node(node, trained)
            if record.status == "diverged":
                yield Generation(node=record)
                return
            yield Generation(node=record, metrics=self.ensure_all_metrics(node, trained))
        for node in nodes:  # one that was set aside on the way lost its numbers with its weights
            self.ensure_all_metrics(node, trained)

    def measure(self, generation: int) -> None:
        """Compute what is missing of a trained generation's metrics."""
        nodes = plan_lineage(self.config, self.card)
        self.ensure_all_metrics(nodes[generation - 1], {node.stream: node for node in nodes})

    def ensure_all_metrics(
        self, node: NodePlan, trained: dict[str, NodePlan]
    ) -> tuple[MetricsRecord, ...]:
        """The node's numbers under every specification."""
        return tuple(self.ensure_metrics(node, plan, trained) for plan in self._metrics)

    def ensure_node(self, node: NodePlan, trained: dict[str, NodePlan]) -> NodeRecord:
        """The node's record, after training it if nobody has."""
        while not self.store.has_node(node.key):
            with self.working_on(node.key, node, "train") as claim:
                if claim is None:
                    time.sleep(WAIT_SECONDS)
                elif not self.store.has_node(node.key):
                    self.train_node(node, trained)
        return self.store.read_node(node.key)

    def train_node(self, node: NodePlan, trained: dict[str, NodePlan]) -> None:
        """Train, draw the preview and publish; a model that diverges is published as such."""
        images = self.pool_images(node.pool, trained)
        self.progress(node, "train")
        seed = (self.config.seed, node.generation, node.member)
        job = TrainingJob(
            model=self.config.model,
            train=self.config.train,
            num_steps=node.num_steps,
            seed=seed,
            bounded=self.card.bounded,
            device=self.device,
            images_on=self.images_on,
            score=self.score_function(seed) if self.config.train.select == "best_kid" else None,
            scratch=NodeScratch(self.store, node.key),
            checkpoint_seconds=self.checkpoint_seconds,
            progress=lambda progress: self.train_progress(node, progress),
        )
        started = time.perf_counter()
        files = {"config.json": dump_json(node.inputs)}
        fit, reason = Fit(checkpoint=Checkpoint(tensors={})), None
        try:
            fit = family_of(self.config.model.family).fit(images, None, job)
            files |= {
                WEIGHTS: fit.checkpoint.to_bytes(),
                "preview.png": self.preview(fit.checkpoint, node),
                "curves.npz": dump_curves(fit.curves),
            }
        except Diverged as error:
            reason = str(error)
        record = self.node_record(node, fit, reason, time.perf_counter() - started)
        manifest = {"segments": node.inputs["recipe"], "num_images": node.num_images}
        files["pool.json"] = dump_json(manifest)
        self.store.publish_node(node.key, files, record)
        self.store.drop_scratch(node.key)

    def pool_images(self, pool: Pool, trained: dict[str, NodePlan]) -> np.ndarray:
        """(N, C, H, W) images of a pool, its streams sampled as far as they are missing."""
        parts = []
        for segment in pool:
            if segment.kind == "real":
                parts.append(self.data.images[self.data.train[segment.start : segment.stop]])
            else:
                origin = trained[segment.source]
                drawn = self.ensure_stream(origin, self.config.sample, segment.stop, trained)
                parts.append(drawn[segment.start :])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def ensure_stream(
        self, node: NodePlan, sample: SampleConfig, count: int, trained: dict[str, NodePlan]
    ) -> np.ndarray:
        """The first `count` images of a node's stream; missing or damaged blocks are drawn."""
        stream = stream_key(node.key, sample)
        blocks = range(num_blocks(count))
        while True:
            missing = [b for b in blocks if not self.store.has_block(stream, b)]
            if not missing:
                try:
                    read = [self.store.read_block(stream, b) for b in blocks]
                except FileNotFoundError:  # found damaged by another lineage just now
                    continue
                except CorruptError:
                    self.discard_damaged(stream, blocks)
                    continue
                return np.concatenate(read)[:count]
            with self.working_on(stream, node, "sample") as claim:
                if claim is None:
                    time.sleep(WAIT_SECONDS)
                else:
                    self.draw_blocks(node, sample, missing, trained)

    def draw_blocks(
        self,
        node: NodePlan,
        sample: SampleConfig,
        missing: list[int],
        trained: dict[str, NodePlan],
    ) -> None:
        """Draw and keep the blocks of a stream, each whole whatever is needed of it."""
        checkpoint = self.read_checkpoint(node, trained)
        stream = stream_key(node.key, sample)
        seed = (self.config.seed, node.generation, node.member)
        started = time.perf_counter()
        for done, block in enumerate(missing):
            if self.store.has_block(stream, block):
                continue
            images = draw_block(
                checkpoint, block, sample, seed=seed, purpose=Purpose.SAMPLE, device=self.device
            )
            self.store.write_block(stream, block, images)
            seconds = time.perf_counter() - started
            self.progress(
                node,
                "sample",
                step=done + 1,
                num_steps=len(missing),
                images_per_second=(done + 1) * SAMPLE_BATCH / seconds,
            )

    def discard_damaged(self, stream: str, blocks: range) -> None:
        """Delete the damaged ones of a stream's blocks, so that they are drawn again."""
        for block in blocks:
            try:
                self.store.read_block(stream, block)
            except FileNotFoundError:
                continue
            except CorruptError:
                self.store.discard_block(stream, block)

    def read_checkpoint(self, node: NodePlan, trained: dict[str, NodePlan]) -> Checkpoint:
        """A node's weights; a node whose files are damaged is set aside and trained again."""
        try:
            return Checkpoint.from_bytes(self.store.read_file(node.key, WEIGHTS), source=node.key)
        except CorruptError:
            self.store.quarantine_node(node.key)
            self.ensure_node(node, trained)
            return Checkpoint.from_bytes(self.store.read_file(node.key, WEIGHTS), source=node.key)

    def preview(self, checkpoint: Checkpoint, node: NodePlan) -> bytes:
        """The preview PNG: the same noise in every generation of a lineage."""
        images = draw_block(
            checkpoint,
            0,
            self.config.sample,
            seed=(self.config.seed, node.member),
            purpose=Purpose.PREVIEW,
            device=self.device,
        )
        return preview_png(images[:PREVIEW_IMAGES], preview_limits(self.data))

    def score_function(self, seed: tuple[int, ...]) -> Callable[[Checkpoint], float]:
        """KID of a checkpoint's images against the validation images, for train.select=best_kid."""
        return validation_score(
            self.data.images[self.data.validation],
            metrics_sample(self.config),
            selection_metrics(self.config),
            seed=seed,
            device=self.device,
        )

    def ensure_metrics(
        self, node: NodePlan, plan: MetricsPlan, trained: dict[str, NodePlan]
    ) -> MetricsRecord:
        """The node's numbers under a specification, after measuring them if nobody has."""
        try:
            if (found := self.store.read_metrics(node.key, plan.spec)) is not None:
                return found
        except CorruptError:
            pass  # measured again below, and written over
        whole = num_blocks(plan.num_images) * SAMPLE_BATCH
        images = self.ensure_stream(node, plan.sample, whole, trained)
        self.progress(node, "measure")
        record = self._measurement.measure(plan, images, stream=stream_key(node.key, plan.sample))
        self.store.write_metrics(node.key, plan.spec, record)
        return record

    @contextmanager
    def working_on(self, key: str, node: NodePlan, stage: str) -> Generator[Claim | None]:
        """Hold the claim on a key with a heartbeat, or yield None where somebody else has it."""
        claim = self.store.claim(key)
        if claim is None:
            self.progress(node, "wait")
            yield None
            return
        outer, self._position = self._position, dict(self._position)
        with claim, Heartbeat(claim, self._position, self.heartbeat_seconds) as heartbeat:
            self._position["_heartbeat"] = heartbeat
            try:
                self.progress(node, stage)
                yield claim
            except ClaimLost:
                pass  # whoever took over publishes the same numbers; look again
            finally:
                self._position = outer

    def train_progress(self, node: NodePlan, progress: Progress) -> None:
        """Pass on a training's progress, and stop it where its claim was lost."""
        self.progress(node, "train", **asdict(progress))
        heartbeat = self._position.get("_heartbeat")
        if heartbeat is not None and heartbeat.lost is not None:
            raise heartbeat.lost

    def progress(self, node: NodePlan, stage: str, **numbers: float) -> None:
        """Say where the lineage stands: lineage, generation, stage, and numbers of the stage."""
        position = {
            "lineage": self.name,
            "generation": node.generation,
            "generations": self.config.generations,
            "stage": stage,
            "num_images": node.num_images,
            **numbers,
        }
        self._position.update(position)
        if self.on_progress is not None:
            self.on_progress(position)

    def node_record(
        self, node: NodePlan, fit: Fit, reason: str | None, seconds: float
    ) -> NodeRecord:
        """The record of a trained (or diverged) node."""
        left = ema_init_left(node.num_steps, self.config.train) if node.num_steps else 0.0
        return NodeRecord(
            key=node.key,
            status="done" if reason is None else "diverged",
            reason=reason,
            seed=self.config.seed,
            generation=node.generation,
            member=node.member,
            family=self.config.model.family,
            num_images=node.num_images,
            origins=pool_origins(node.pool),
            num_steps=node.num_steps,
            images_seen=fit.images_seen,
            views_per_image=fit.images_seen / node.num_images,
            ema_init_left=left,
            final_loss=fit.final_loss,
            seconds=fit.seconds or seconds,
            images_per_second=fit.images_seen / max(fit.seconds, 1e-9),
            device=device_name(self.device),
            num_threads=torch.get_num_threads(),
            precision=fit.checkpoint.settings.get("precision", self.config.train.precision),
            weights_sha256=fit.checkpoint.digest("ema."),
            files={},
            environment=environment(),
        )


def dump_curves(curves: dict[str, np.ndarray]) -> bytes:
    """Curves as npz bytes, averaged in at most CURVE_POINTS bins."""
    length = max((len(values) for values in curves.values()), default=0)
    edges = np.unique(np.linspace(0, length, min(length, CURVE_POINTS) + 1).astype(int))
    binned = {
        name: np.add.reduceat(values.astype(np.float64), edges[:-1]) / np.diff(edges)
        for name, values in curves.items()
    }
    file = io.BytesIO()
    np.savez(file, **{name: values.astype(np.float32) for name, values in binned.items()})
    return file.getvalue()


def device_name(device: str) -> str:
    """The device as a person knows it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"


def environment() -> Json:
    """Versions under which a node was computed; its bits repeat only under the same."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "collapse-sweep": version("collapse-sweep"),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
