"""The lineage loop: train, sample, measure, build the next pool, repeat.

Every step looks in the store first and computes only what is missing. Running a lineage again
therefore resumes it, and lineages share the models that they have in common.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from model.best_checkpoint import validation_score
from model.checkpoint import Checkpoint
from model.commands.checkpoint_file import with_initial
from model.config import ImagesOn, MetricsConfig
from model.data.datasets import Dataset
from model.errors import one_line
from model.families import family_of
from model.features.extractors import weights_digest
from model.filters.table import feature_settings
from model.job import Diverged, Fit, TrainingJob
from model.randomness import Purpose
from model.streams import Stream
from model.training.length import ema_init_left
from sweep.config import LineageConfig
from sweep.files import Json, dump_json, encoded
from sweep.lineage.curves import dump_curves
from sweep.lineage.datasets import PREVIEW_IMAGES, preview_limits, preview_png
from sweep.lineage.environment import computed_on, current_environment
from sweep.lineage.feature_blocks import FeatureBlocks
from sweep.lineage.floors import Floors
from sweep.lineage.measurement import Measurement
from sweep.lineage.pool_images import Sources
from sweep.lineage.progress import WAIT_SECONDS, LineageProgress, NodeScratch
from sweep.lineage.sample_streams import (
    DamagedWeights,
    Streams,
    read_weights,
    sampled_streams,
)
from sweep.lineage.trained_on import trained_on
from sweep.planning.measurements import MetricsPlan, metrics_sample, selection_metrics
from sweep.planning.members import member_config, members_of
from sweep.planning.nodes import NodePlan, by_generation, plan_lineage
from sweep.planning.pool import UNKNOWN, Rows, count_origins, pool_rows
from sweep.records import WEIGHTS, DatasetCard, MetricsRecord, NodeRecord
from sweep.store.folder import CorruptError
from sweep.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What a lineage yields after each of its models."""

    node: NodeRecord
    metrics: tuple[MetricsRecord, ...] = ()
    """Metrics of the model, one record per specification; empty if a model of the generation
    diverged."""
    mixture: tuple[MetricsRecord, ...] = ()
    """Metrics of all images that enter the next pool, with the first model of each generation;
    empty if these images are just the first ones that one model draws."""
    num_members: int = 1
    """Number of models in the generation."""
    problem: str = ""
    """Why the model could not be measured; empty if it was."""
    reused: bool = False
    """Whether the store had the model, of an earlier run or another lineage."""


@dataclass(kw_only=True, slots=True)
class LineageRun:
    """A lineage being computed: its settings and data, and where results and progress go."""

    config: LineageConfig
    card: DatasetCard
    data: Dataset
    store: Store
    evaluations: tuple[MetricsConfig, ...] = ()
    """Metrics measured in addition to the lineage's own."""
    name: str = "lineage"
    """Shown with its progress."""
    device: str = "cpu"
    images_on: ImagesOn = "auto"
    checkpoint_seconds: float = 60.0
    same_environment: bool = False
    """Whether to refuse a saved state of another environment."""
    on_progress: Callable[[Json], None] | None = None
    """Called in the trial's thread at each progress update; tests may raise here to interrupt."""
    start_beside: Callable[[NodePlan], None] | None = None
    """Starts training another member elsewhere if there is room; it may fail to do so."""
    nodes: list[NodePlan] = field(init=False)
    _progress: LineageProgress = field(init=False)
    _measurement: Measurement = field(init=False)
    _floors: Floors = field(init=False)
    sources: Sources = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = plan_lineage(self.config, self.card, self.evaluations)
        self._progress = LineageProgress(
            store=self.store,
            name=self.name,
            generations=self.config.generations,
            on_progress=self.on_progress,
        )
        features = FeatureBlocks(
            card=self.card, data=self.data, store=self.store, device=self.device
        )
        self._measurement = Measurement(data=self.data, features=features)
        self._floors = Floors(store=self.store, measurement=self._measurement)
        streams = Streams(
            store=self.store,
            progress=self._progress,
            seed=self.config.seed,
            device=self.device,
            sampled=sampled_streams(self.nodes),
        )
        judges = [feature_settings(member.filter) for member in members_of(self.config)]
        self.sources = Sources(
            card=self.card,
            data=self.data,
            store=self.store,
            streams=streams,
            feature_blocks=features,
            weights={
                weights_digest(judge) or judge.extractor: judge.weights
                for judge in judges
                if judge.weights
            },
        )

    def generations(self) -> Iterator[Generation]:
        """Compute what is missing, node by node; ends after a generation in which a model diverged.

        Metrics of a mixture come with the first model of its generation. Training does not depend
        on measurements: if one fails, the error is raised once all models are trained.
        """
        for members in by_generation(self.nodes):
            found = {node.key for node in members if self.store.nodes.has(node.key)}
            self.spread(members)
            records = [self.ensure_node(node) for node in members]
            if any(record.status == "diverged" for record in records):
                for record in records:
                    yield Generation(node=record, num_members=len(records))
                return
            for node, record in zip(members, records, strict=True):
                metrics, problem = self.try_all_metrics(node)
                num_own = len(node.metrics)
                yield Generation(
                    node=record,
                    metrics=metrics[:num_own],
                    mixture=metrics[num_own:],
                    num_members=len(records),
                    problem=problem,
                    reused=node.key in found,
                )
        # A measurement may have failed, or a node was withdrawn and trained again without metrics.
        for node in self.nodes:
            self.ensure_all_metrics(node)

    def spread(self, members: list[NodePlan]) -> None:
        """Start all missing members except the first elsewhere; this process trains the rest."""
        missing = [node for node in members if not self.store.nodes.has(node.key)]
        for node in missing[1:] if self.start_beside else ():
            assert self.start_beside is not None
            self.start_beside(node)

    def train(self, generation: int, member: int) -> None:
        """Train one model unless it is done; the models that its pool needs must be done."""
        self.ensure_node(by_generation(self.nodes)[generation - 1][member])

    def measure(self, generation: int) -> None:
        """Compute the missing metrics of a trained generation."""
        for node in by_generation(self.nodes)[generation - 1]:
            self.ensure_all_metrics(node)

    def try_all_metrics(self, node: NodePlan) -> tuple[tuple[MetricsRecord, ...], str]:
        """The node's metrics and those of its mixture; if that fails, none, and the error."""
        try:
            return self.ensure_all_metrics(node), ""
        except Exception as error:  # of any kind, also of an extractor's own code
            return (), f"{type(error).__name__}: {one_line(error)}"

    def ensure_all_metrics(self, node: NodePlan) -> tuple[MetricsRecord, ...]:
        """The node's metrics under every specification, then those of its mixture; and floors."""
        records = tuple(self.ensure_metrics(node, plan) for plan in node.all_metrics)
        self._floors.ensure(node.all_metrics)
        return records

    def ensure_node(self, node: NodePlan) -> NodeRecord:
        """The node's record; the node is trained first unless it is done."""
        while not self.store.nodes.has(node.key):
            with self.retraining(), self._progress.on(node.key, node, "train") as claim:
                if claim is None:
                    time.sleep(WAIT_SECONDS)
                elif not self.store.nodes.has(node.key):
                    self.train_node(node)
        return self.store.nodes.read(node.key)

    @contextmanager
    def retraining(self) -> Generator[None]:
        """Train a node again if the block finds its weights damaged; callers repeat the block."""
        try:
            yield
        except DamagedWeights as error:
            self.store.nodes.withdraw(error.node.key)
            self.ensure_node(error.node)

    def train_node(self, node: NodePlan) -> None:
        """Train, draw the preview and publish. A model that diverges is published as diverged.

        A node also counts as diverged if its pool cannot be built, because the previous model draws
        no usable images or too few of a class that is needed.
        """
        started = time.perf_counter()
        environment = current_environment(self.device, node.inputs_text)
        scratch = NodeScratch(self.store, node.key, environment, same=self.same_environment)
        files = {"config.json": dump_json(node.inputs)}
        fit, reason = Fit(checkpoint=Checkpoint(tensors={})), None
        try:
            images = self.sources.images(node.pool)
            labels = self.sources.labels(node.pool) if self.card.num_classes else None
            self._progress.report(node, "train")
            started = time.perf_counter()
            fit = family_of(node.settings.model.family).fit(images, labels, self.job(node, scratch))
            files |= {
                WEIGHTS: fit.checkpoint.to_bytes(),
                "preview.png": self.preview(fit.checkpoint, node),
                "curves.npz": dump_curves(fit.curves),
            }
        except Diverged as error:
            reason = str(error)
        seconds = time.perf_counter() - started
        record = self.node_record(node, fit, reason, seconds, scratch.resumed_from)
        manifest = {"segments": node.inputs["recipe"], "num_images": node.num_images}
        files["pool.json"] = dump_json(manifest)
        self.store.nodes.publish(node.key, files, record)
        self.store.drop_scratch(node.key)

    def job(self, node: NodePlan, scratch: NodeScratch) -> TrainingJob:
        """Everything that a node's training needs except its images and their classes."""
        settings, initial = node.settings, None
        seed = (self.config.seed, node.generation, node.member)
        if node.parent:
            initial = read_weights(self.store, next(n for n in self.nodes if n.key == node.parent))
        first = None
        if settings.model.normalization == "first_pool":
            first = self.sources.images(by_generation(self.nodes)[0][node.member].pool)
        job = TrainingJob(
            model=settings.model,
            train=settings.train,
            num_steps=node.num_steps,
            seed=seed,
            num_images=node.num_drawn_in_training,
            num_classes=self.card.num_classes,
            class_names=tuple(self.card.class_names),
            bounded=self.card.bounded,
            device=self.device,
            images_on=self.images_on,
            initial=initial,
            first_images=first,
            score=self.score_function(node, seed) if settings.train.select == "best_kid" else None,
            scratch=scratch,
            checkpoint_seconds=self.checkpoint_seconds,
            progress=lambda progress: self._progress.report_training(node, progress),
        )
        return with_initial(job, self.card.shape, self.card.dtype)

    def preview(self, checkpoint: Checkpoint, node: NodePlan) -> bytes:
        """The preview PNG: the same noise in every generation, cycling through the classes."""
        stream = Stream(
            checkpoint=checkpoint,
            config=node.settings.sample,
            seed=(self.config.seed, node.member),
            purpose=Purpose.PREVIEW,
            device=self.device,
        )
        return preview_png(stream.preview(PREVIEW_IMAGES), preview_limits(self.data))

    def score_function(
        self, node: NodePlan, seed: tuple[int, ...]
    ) -> Callable[[Checkpoint], float]:
        """KID of a checkpoint's images to the validation images, for train.select=best_kid."""
        config = member_config(self.config, node.settings)
        labels = None
        if node.settings.model.conditional and self.data.labels is not None:
            labels = self.data.labels[self.data.validation]
        return validation_score(
            self.data.images[self.data.validation],
            metrics_sample(config),
            selection_metrics(config),
            seed=seed,
            labels=labels,
            device=self.device,
        )

    def ensure_metrics(self, node: NodePlan, plan: MetricsPlan) -> MetricsRecord:
        """The node's metrics under a specification, which are measured first if they are missing.

        If images cannot be drawn (the model has lost a class), the record has no numbers and its
        warnings give the reason.
        """
        try:
            if (record := self.store.read_metrics(node.key, plan.spec)) is not None:
                return record
        except CorruptError:
            pass  # measured again and overwritten below
        record = None
        while record is None:
            with self.retraining():
                record, sheet = self.measure_node(node, plan)
        return self.store.write_metrics(node.key, plan.spec, record, sheet=sheet)

    def measure_node(self, node: NodePlan, plan: MetricsPlan) -> tuple[MetricsRecord, bytes]:
        """Measure a node's images; returns the record, and the sheet of its nearest images."""
        started = time.perf_counter()
        streams = self.sources.streams
        num_drawn, draw_seconds = streams.num_drawn, streams.draw_seconds
        try:
            images = self.sources.images(plan.images)
            features = self.sources.features(plan.images, plan.config)
            pool = trained_on(self.sources, plan, self._measurement.real(plan.config))
        except Diverged as error:
            record, sheet = self._measurement.lacking(plan, str(error), started=started), b""
        else:
            self._progress.report(node, "measure")
            labels = self.sources.labels(plan.images) if plan.labels else None
            record = self._measurement.measure(
                plan, images, features, generated_labels=labels, pool=pool, started=started
            )
            sheet = self._measurement.sheet(record.nearest, images) if record.nearest else b""
        record = replace(
            record,
            node=node.key,
            num_drawn=streams.num_drawn - num_drawn,
            draw_seconds=streams.draw_seconds - draw_seconds,
            **computed_on(self.device, encoded(plan.inputs)),
        )
        return record, sheet

    def node_record(
        self,
        node: NodePlan,
        fit: Fit,
        reason: str | None,
        seconds: float,
        resumed_from: Sequence[str],
    ) -> NodeRecord:
        """The record of a trained or diverged node."""
        settings, rows = node.settings, self.rows(node)
        init_weight = ema_init_left(node.num_steps, settings.train) if node.num_steps else 0.0
        return NodeRecord(
            key=node.key,
            status="done" if reason is None else "diverged",
            reason=reason,
            seed=self.config.seed,
            generation=node.generation,
            member=node.member,
            family=settings.model.family,
            num_images=node.num_images,
            origins=count_origins(rows),
            class_counts=self.class_counts(rows),
            num_steps=node.num_steps,
            images_seen=fit.images_seen,
            views_per_image=fit.images_seen / node.num_images,
            ema_init_left=init_weight,
            final_loss=fit.final_loss,
            seconds=fit.seconds or seconds,
            images_per_second=fit.images_seen / max(fit.seconds, 1e-9),
            precision=fit.checkpoint.settings.get("precision", settings.train.precision),
            weights_sha256=fit.checkpoint.digest("ema."),
            files={},
            resumed_from=list(resumed_from),
            **computed_on(self.device, node.inputs_text),
        )

    def rows(self, node: NodePlan) -> Rows:
        """Origins and classes of a node's images, looking at the images if necessary."""
        labels = self.card.train_labels or None
        try:
            return pool_rows(node.pool, labels, self.sources.choose)
        except Diverged:  # the pool could not be built
            return pool_rows(node.pool, labels)

    def class_counts(self, rows: Rows) -> dict[str, int]:
        """Images of a pool by class name; empty unless the class of every image is known."""
        labels, names = rows.labels, self.card.class_names
        if not names or (labels == UNKNOWN).any():
            return {}
        counts = np.bincount(labels, minlength=len(names)).tolist()
        return dict(zip(names, counts, strict=True))
