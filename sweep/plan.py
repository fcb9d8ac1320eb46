"""What a lineage will compute, before anything runs: the pools, keys and steps of its nodes.

Settings and a data set's card determine every pool, and so every key, of a lineage: recipes name
streams and ranges, never pixels. So a sweep's tree is known beforehand. Must not import torch or
ray.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from model.config import DataConfig, MetricsConfig, SampleConfig, check, check_choice, check_package
from model.features import weights_digest
from model.metrics import check_needs, validate_metrics
from model.size import SIZES
from model.training_length import (
    CLOSED_FORM,
    check_last_batch,
    count_images,
    training_steps,
)
from sweep.config import LineageConfig, SweepConfig
from sweep.keys import canonical, digest, node_inputs, stream_key
from sweep.pool import Pool, Segment, pool_recipe, pool_size, rule_of
from sweep.records import DatasetCard, Json


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePlan:
    """One generation's model: what it trains on and for how long, and which samples it owes."""

    key: str
    inputs: Json
    """All that the key is the hash of."""
    generation: int
    member: int
    pool: Pool
    num_steps: int
    images_seen: int
    stream: str
    """Stream of the images that enter the next pool."""
    num_new: int
    """Images of that stream the lineage's next pool takes; 0 in its last generation."""

    @property
    def num_images(self) -> int:
        """Size of the pool."""
        return pool_size(self.pool)


def resolved(config: LineageConfig, *, on_gpu: bool) -> LineageConfig:
    """The settings with `auto` values decided, as keys need them."""
    if config.train.precision != "auto":
        return config
    precision = "bf16" if on_gpu else "fp32"
    return replace(config, train=replace(config.train, precision=precision))


def plan_lineage(config: LineageConfig, card: DatasetCard) -> list[NodePlan]:
    """The nodes of a lineage, first to last.

    Raises:
        ValueError: The settings do not fit the data or each other.
    """
    check_classes(config, card)
    rule = rule_of(config.pool)
    # Before the data are prepared their fingerprint is unknown; the settings' key stands in for it.
    source = card.fingerprint or f"unprepared-{card.key}"
    first: Pool = (Segment(kind="real", source=source, start=0, stop=card.num_train),)
    selection = plan_selection(config, card)
    is_iterative = config.model.family not in CLOSED_FORM
    pool, nodes = first, []
    for generation in range(1, config.generations + 1):
        size = pool_size(pool)
        if size < 2:
            raise ValueError(
                f"generation {generation}'s pool must have at least 2 images, got {size}; "
                "use more data or a larger pool.alpha"
            )
        num_steps, images_seen = 0, size
        if is_iterative:
            num_steps = training_steps(size, config.train, first_pool=card.num_train)
            images_seen = count_images(size, config.train, num_steps)
            check_last_batch(
                size, config.train, widths=config.model.widths, image_size=config.data.image_size
            )
        inputs = node_inputs(
            recipe=pool_recipe(pool),
            model=config.model,
            train=config.train,
            num_steps=num_steps,
            seed=config.seed,
            generation=generation,
            member=0,
            selection=selection,
        )
        key = digest(inputs)
        stream = stream_key(key, config.sample)
        is_last = generation == config.generations
        count = rule.num_new(config.pool, first, pool)
        nodes.append(
            NodePlan(
                key=key,
                inputs=inputs,
                generation=generation,
                member=0,
                pool=pool,
                num_steps=num_steps,
                images_seen=images_seen,
                stream=stream,
                num_new=0 if is_last else count,
            )
        )
        new = Segment(kind="synthetic", source=stream, start=0, stop=count, generation=generation)
        pool = rule.combine(first, pool, (new,) if count else ())
    return nodes


def selection_metrics(config: LineageConfig) -> MetricsConfig:
    """The KID by which train.select=best_kid selects, whichever metrics are asked for."""
    return replace(config.metrics, names=("kid",), num_images=None, sample_steps=None)


def plan_selection(config: LineageConfig, card: DatasetCard) -> Json | None:
    """What selects a checkpoint beside the data, for keys; None where nothing does.

    Raises:
        ValueError: There are not enough validation images.
    """
    if config.train.select != "best_kid":
        return None
    metrics = selection_metrics(config)
    needed = max(2, metrics.kid_subset_size or 0)
    check(
        card.num_validation >= needed,
        "data.validation_fraction",
        f"leave at least {needed} images to select by",
        config.data.validation_fraction,
        f"it leaves {card.num_validation} of {card.name}",
    )
    return {"metrics": canonical(metrics), "sample": canonical(metrics_sample(config))}


def check_classes(config: LineageConfig, card: DatasetCard) -> None:
    """Raise ValueError unless focal classes exist and the model can aim at them."""
    for name in config.pool.focal_classes:
        if name not in card.class_names:
            has = ", ".join(card.class_names[:12]) if card.class_names else "no classes"
            more = ", ..." if len(card.class_names) > 12 else ""
            raise ValueError(
                f"pool.focal_classes must name classes of {card.name}, got {name!r}; "
                f"it has {has}{more}"
            )
    if config.pool.concentration > 0:
        raise ValueError(
            f"pool.concentration must be 0 with model.family={config.model.family}, which is "
            f"unconditional, got {config.pool.concentration}"
        )


def metrics_sample(config: LineageConfig) -> SampleConfig:
    """The sampler of measured images."""
    steps = config.metrics.sample_steps
    return config.sample if steps is None else replace(config.sample, steps=steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsPlan:
    """Which images of a node are measured, and how."""

    spec: str
    """Hash naming the metrics file."""
    inputs: Json
    """All that the hash is of."""
    config: MetricsConfig
    sample: SampleConfig
    num_images: int


def plan_metrics(config: LineageConfig, card: DatasetCard) -> MetricsPlan | None:
    """The metric specification of all generations of a lineage; None without metrics.

    Raises:
        ValueError: There is no reference to measure against, or not enough of it, or a metric
            needs what is not there.
    """
    metrics = config.metrics
    if not metrics.names:
        return None
    if card.num_reference < 2:
        raise ValueError(
            f"data.split must leave a reference for the metrics, got {config.data.split!r} with "
            f"{card.num_reference} reference images; use another split or --metrics.names with none"
        )
    sample = metrics_sample(config)
    num_images = metrics.num_images or card.num_reference
    if "kid" in metrics.names and metrics.kid_subset_size is not None:
        most = min(num_images, card.num_reference)
        check(
            metrics.kid_subset_size <= most,
            "metrics.kid_subset_size",
            f"be at most the {most} images that are compared",
            metrics.kid_subset_size,
        )
    has_classes = card.class_names or card.num_classes
    labels = {"train_labels", "reference_labels"} if has_classes else set()
    check_needs(metrics, {"train", *labels})
    inputs = {
        "metrics": canonical(metrics),
        "num_images": num_images,
        "sample": canonical(sample),
        "reference": card.fingerprint or f"unprepared-{card.key}",
    }
    if (weights := weights_digest(metrics)) is not None:
        inputs["weights"] = weights
    return MetricsPlan(
        spec=digest(inputs)[:16],
        inputs=inputs,
        config=metrics,
        sample=sample,
        num_images=num_images,
    )


def plan_all_metrics(
    config: LineageConfig, card: DatasetCard, evaluations: Iterable[MetricsConfig]
) -> tuple[MetricsPlan, ...]:
    """The lineage's own metric specification, if it has one, and those of further evaluations."""
    configs = [config, *(replace(config, metrics=metrics) for metrics in evaluations)]
    plans = [plan_metrics(one, card) for one in configs]
    return tuple({plan.spec: plan for plan in plans if plan is not None}.values())


def unique_nodes(lineages: Iterable[list[NodePlan]]) -> dict[str, NodePlan]:
    """The tree of a sweep: every node once, by key; of sharers the one that owes most samples."""
    tree: dict[str, NodePlan] = {}
    for nodes in lineages:
        for node in nodes:
            if node.key not in tree or tree[node.key].num_new < node.num_new:
                tree[node.key] = node
    return tree


def lineage_id(config: LineageConfig, card: DatasetCard) -> str:
    """A lineage's name: readable settings, and a hash of all but the number of generations."""
    one = replace(config, generations=1)
    settings = {
        "data": card.fingerprint or card.key,
        "model": canonical(one.model),
        "train": canonical(one.train),
        "sample": canonical(one.sample),
        "pool": canonical(one.pool),
        "metrics": metrics.spec if (metrics := plan_metrics(one, card)) else None,
        "seed": one.seed,
    }
    alpha = "" if one.pool.alpha is None else f"-alpha{one.pool.alpha:g}"
    length = next(
        f"{name}{value}"
        for name in ("epochs", "steps", "images")
        if (value := getattr(one.train, name)) is not None
    )
    return f"{one.pool.rule}{alpha}-{length}-seed{one.seed}-{digest(settings)[:8]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedLineage:
    """A point of the sweep, with all that it will compute."""

    id: str
    axes: Json
    config: LineageConfig
    card: DatasetCard
    nodes: list[NodePlan]
    metrics: tuple[MetricsPlan, ...]
    """Its own metrics, if it has any, and then the sweep's evaluations."""

    @property
    def own_spec(self) -> str:
        """Specification of its own metrics; empty without any."""
        return self.metrics[0].spec if self.config.metrics.names else ""

    @property
    def evaluation_specs(self) -> list[str]:
        """Specifications of the sweep's evaluations."""
        return [plan.spec for plan in self.metrics if plan.spec != self.own_spec]


def plan_sweep(
    sweep: SweepConfig, card_of: Callable[[DataConfig], DatasetCard], *, on_gpu: bool
) -> list[PlannedLineage]:
    """Every lineage of a sweep, its settings checked.

    Args:
        sweep: Base settings and grids.
        card_of: The card of a data set's settings; called once for each.
        on_gpu: How `auto` settings are decided.

    Raises:
        ValueError: A setting is not allowed, alone or with others.
        FileNotFoundError: A data set's files are missing.
    """
    cards: dict[DataConfig, DatasetCard] = {}
    lineages: dict[str, PlannedLineage] = {}
    for axes, config in sweep.points():
        config = resolved(config, on_gpu=on_gpu)
        check_variants(config)
        if config.data not in cards:
            cards[config.data] = card_of(config.data)
        card = cards[config.data]
        name = lineage_id(config, card)
        found = lineages.get(name)
        if found is not None and found.config.generations >= config.generations:
            continue  # a lineage of 8 generations holds the one of 4
        lineages[name] = PlannedLineage(
            id=name,
            axes=axes,
            config=config,
            card=card,
            nodes=plan_lineage(config, card),
            metrics=plan_all_metrics(config, card, sweep.evaluations),
        )
    return list(lineages.values())


def check_variants(config: LineageConfig) -> None:
    """Raise ValueError for a family, rule, metric or extractor that does not exist."""
    check_choice("model.family", config.model.family, list(SIZES))
    check_package(config.model.family)
    rule_of(config.pool)
    validate_metrics(config.metrics)
