"""Metric specifications: what is measured for each model, known before anything runs.

The hash of a specification names a node's metrics file.

The metric `copying` compares each model's images with its pool, and with images like it: for each
earlier generation in a pool, images of the same models are held out that the pool does not contain.
They are drawn from the separate stream of measured images, and chosen in the same way as those that
entered the pool.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from model.config import MetricsConfig, SampleConfig
from model.errors import UsageError, later_version
from model.features.extractors import extractor_version, weights_digest
from model.features.probe import probe_version
from model.metrics.table import METRICS, check_needs, check_probe
from model.randomness import Purpose
from sweep.config import LineageConfig
from sweep.files import Json
from sweep.planning.class_counts import quota
from sweep.planning.keys import canonical
from sweep.planning.new_images import Entry, entering_images
from sweep.planning.pool import Pool, Segment, pool_recipe
from sweep.records import DatasetCard
from sweep.remembered import remembered, remembered_by_object
from sweep.specifications import floor_spec, spec_name

COPYING = "copying"
"""Name of the metric."""
Generation = tuple[Pool, list[str]]
"""D_n, and the separate stream of each member of generation n."""

_measured_by = attrgetter("data", "model", "sample", "pool", "metrics")
"""Returns the groups of a lineage's settings on which its metric specification may depend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsPlan:
    """Which images are measured, and how."""

    spec: str
    """Hash that names the metrics file."""
    inputs: Json
    """Everything that the hash covers."""
    config: MetricsConfig
    sample: SampleConfig
    num_images: int
    labels: tuple[int, ...] = ()
    """(C,) images drawn per class of a conditional model; empty without classes."""
    images: Pool = ()
    """The measured images; empty in a specification that is not yet bound to a model."""
    pool: Pool = ()
    """The pool that the model was trained on, if a metric needs it. Like the next two, it is not in
    the hash because it follows from the node."""
    held_out: Pool = ()
    """Images of the distributions of the pool's synthetic images that are not in it."""
    num_seen: int | None = None
    """The lineage's pools so far contain only the first num_seen train images; None means all.

    If a lineage starts with part of them, this grows as real images are added."""

    @property
    def purpose(self) -> Purpose:
        """SAMPLE to measure images that enter the pool, MEASURE to measure separate ones."""
        return Purpose.MEASURE if self.config.images == "separate" else Purpose.SAMPLE

    def of_node(
        self, stream: str, *, generation: int, member: int, num_seen: int | None = None
    ) -> "MetricsPlan":
        """The specification for the images of a stream that a node's model draws."""
        counts = enumerate(self.labels) if self.labels else [(None, self.num_images)]
        images = tuple(
            [
                Segment(
                    kind="synthetic",
                    source=stream,
                    start=0,
                    stop=count,
                    generation=generation,
                    member=member,
                    label=label,
                )
                for label, count in counts
                if count
            ]
        )
        return MetricsPlan(
            spec=self.spec,
            inputs=self.inputs,
            config=self.config,
            sample=self.sample,
            num_images=self.num_images,
            labels=self.labels,
            images=images,
            num_seen=num_seen,
        )

    def of_mixture(self, images: Pool, *, num_seen: int | None = None) -> "MetricsPlan":
        """The specification for images that enter a pool together."""
        inputs = {k: v for k, v in self.inputs.items() if k not in ("sample", "labels")}
        inputs |= {"images": pool_recipe(images)}
        spec = spec_name(inputs)
        return replace(self, spec=spec, inputs=inputs, images=images, num_seen=num_seen)


@remembered_by_object
def unversioned_spec(plan: MetricsPlan) -> str:
    """The specification at the first versions, so that a lineage keeps its id."""
    return spec_name({name: v for name, v in plan.inputs.items() if name != "versions"})


def plan_floor(spec: Json, config: MetricsConfig) -> MetricsPlan:
    """The floor of a metric specification with these settings: it measures real training images.

    Raises:
        UsageError: The numbers were measured with other weights of the extractor.
    """
    inputs = floor_spec(spec)
    if weights_digest(config) != inputs.get("weights"):
        raise UsageError(
            f"metrics.weights must be those of the measured numbers, got {config.weights!r}; "
            "use the file of the run"
        )
    names = tuple(name for name in config.names if METRICS[name].has_floor)
    return MetricsPlan(
        spec=spec_name(inputs),
        inputs=inputs,
        config=replace(config, names=names),
        sample=SampleConfig(),  # nothing is sampled
        num_images=inputs["num_images"],
        labels=tuple(inputs.get("labels", ())),
    )


def metrics_sample(config: LineageConfig) -> SampleConfig:
    """The sampler of measured images."""
    steps = config.metrics.sample_steps
    return config.sample if steps is None else replace(config.sample, steps=steps)


@remembered(lambda config, card: (*_measured_by(config), card))
def plan_metrics(config: LineageConfig, card: DatasetCard) -> MetricsPlan | None:
    """The metric specification shared by all generations of a lineage; None without metrics.

    Raises:
        UsageError: There are no reference images, or not enough, or a metric requires data that
            are not available.
    """
    metrics = config.metrics
    if not metrics.names:
        return None
    if card.num_reference < 2:
        raise UsageError(
            f"data.split must leave a reference for the metrics, got {config.data.split!r} with "
            f"{card.num_reference} reference images; use another split or --metrics.names with none"
        )
    sample = metrics_sample(config)
    num_images = metrics.num_images or card.num_reference
    if "kid" in metrics.names and metrics.kid_subset_size is not None:
        most = min(num_images, card.num_reference)
        if metrics.kid_subset_size > most:
            raise UsageError(
                f"metrics.kid_subset_size must be at most the {most} images that are compared, "
                f"got {metrics.kid_subset_size}"
            )
    num_classes = card.num_classes or len(card.class_names)
    parts = {"train_labels", "reference_labels"} if num_classes else set()
    labels: tuple[int, ...] = ()
    if config.model.conditional:
        parts |= {"generated_labels"}
        labels = tuple(quota(card.reference_counts(), num_images).tolist())
    check_needs(metrics, {"train", "directions", *parts})
    check_probe(
        metrics,
        num_train=card.num_train,
        num_classes=num_classes,
        class_counts=card.train_class_counts,
        class_names=card.class_names,
        conditional=config.model.conditional,
    )
    inputs: Json = {
        "metrics": canonical(metrics),
        "num_images": num_images,
        "sample": canonical(sample),
        "reference": card.fingerprint or f"unprepared-{card.key}",
    }
    if labels:
        inputs["labels"] = list(labels)
    if config.pool.initial_images is not None:
        for name in {"memorization", "copying", "nearest"}.intersection(metrics.names):
            inputs[name] = "of the real images that the pools have held"
    if versions := metric_versions(metrics):
        inputs["versions"] = versions
    if (weights := weights_digest(metrics)) is not None:
        inputs["weights"] = weights
    return MetricsPlan(
        spec=spec_name(inputs),
        inputs=inputs,
        config=metrics,
        sample=sample,
        num_images=num_images,
        labels=labels,
    )


def metric_versions(config: MetricsConfig) -> dict[str, int | str]:
    """Versions of the metrics, their extractor and probe, for keys; none at the first version."""
    versions = extractor_version(config)
    for name in config.names:
        metric = METRICS[name]
        versions |= later_version("metrics.names", name, metric, key=f"metrics.{name}")
        versions |= probe_version() if metric.probe != "never" else {}
    return versions


def plan_all_metrics(
    config: LineageConfig, card: DatasetCard, evaluations: Iterable[MetricsConfig]
) -> tuple[MetricsPlan, ...]:
    """The lineage's own metric specification, if it has one, and those of further evaluations."""
    configs = [config, *(replace(config, metrics=metrics) for metrics in evaluations)]
    plans = [plan_metrics(one, card) for one in configs]
    return tuple({plan.spec: plan for plan in plans if plan is not None}.values())


def selection_metrics(config: LineageConfig) -> MetricsConfig:
    """The KID by which train.select=best_kid selects, independent of the lineage's metrics."""
    return replace(
        config.metrics,
        names=("kid",),
        num_images=None,
        sample_steps=None,
        nearest_k=5,
        bootstrap=0,
        error_subsets=0,
        images="entering",
    )


def plan_selection(config: LineageConfig, card: DatasetCard) -> Json | None:
    """The settings that select a checkpoint, for keys; None without selection.

    Raises:
        UsageError: There are not enough validation images.
    """
    if config.train.select != "best_kid":
        return None
    metrics = selection_metrics(config)
    needed = max(2, metrics.kid_subset_size or 0)
    if card.num_validation < needed:
        raise UsageError(
            f"data.validation_fraction must leave at least {needed} images to select by, got "
            f"{config.data.validation_fraction}; it leaves {card.num_validation} of {card.name}"
        )
    selection: Json = {"metrics": canonical(metrics), "sample": canonical(metrics_sample(config))}
    if versions := metric_versions(metrics):
        selection["versions"] = versions
    if (weights := weights_digest(metrics)) is not None:
        selection["weights"] = weights
    return selection


def with_pools(
    plans: Iterable[MetricsPlan], entry: Entry, pool: Pool, earlier: Sequence[Generation]
) -> tuple[MetricsPlan, ...]:
    """The specifications, with the pool and held-out images of those that have the metric.

    Args:
        plans: Specifications bound to a model's images.
        entry: Settings, members and data of the lineage.
        pool: Images that the model sees.
        earlier: All earlier generations, in order.
    """
    return tuple(
        replace(plan, pool=pool, held_out=held_out(entry, earlier, plan.num_images))
        if COPYING in plan.config.names
        else plan
        for plan in plans
    )


def held_out(entry: Entry, earlier: Sequence[Generation], count: int) -> Pool:
    """`count` images of each earlier generation that are in no pool."""
    parts = [
        entering_images(
            entry, pool, streams, generation=generation, count=count, purpose=Purpose.MEASURE
        )
        for generation, (pool, streams) in enumerate(earlier, start=1)
    ]
    return tuple(source for members in parts for member in members for source in member)
