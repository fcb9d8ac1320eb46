"""What a lineage will compute, known before anything runs: pools, keys and steps of its nodes.

The settings and the data set's card determine every pool of a lineage and therefore every key,
because the recipe of a pool names streams and ranges, not pixels. So all nodes of a sweep are known
in advance.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from model.config import DataConfig, FilterConfig, MetricsConfig, SampleConfig
from model.errors import UsageError, check_at_most, check_choice
from model.family_facts import FAMILY_FACTS, check_package
from model.features.extractors import EXTRACTORS, weights_digest
from model.filters.table import feature_settings
from model.metrics.table import validate_metrics
from model.randomness import Purpose
from model.training.length import training_length
from sweep.config import EnsembleConfig, LineageConfig, SweepConfig
from sweep.files import Json, encoded, encoded_object, text_digest
from sweep.planning.checks import (
    MOST_IMAGES,
    check_extractors,
    check_judges,
    check_memory,
    check_pool,
    check_precisions,
    entry_of,
)
from sweep.planning.keys import node_inputs, settings_text, stream_key
from sweep.planning.measurements import (
    MetricsPlan,
    plan_all_metrics,
    plan_metrics,
    plan_selection,
)
from sweep.planning.members import Member, member_config, members_of
from sweep.planning.new_images import entering_images, member_pool, streams_of
from sweep.planning.pool import Pool, num_real_seen, pool_size, recipe_text
from sweep.planning.rules import Step, rule_of, rule_version
from sweep.planning.trained_on import with_pools
from sweep.records import DatasetCard


DEFAULTS = {"filter": FilterConfig(), "ensemble": EnsembleConfig()}
"""Groups of settings that are left out of a lineage's id if they have these values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePlan:
    """One model: what it trains on, for how long, and which of its samples are needed."""

    key: str
    inputs_text: str
    """Everything that the key is a hash of, as canonical JSON."""
    generation: int
    member: int
    settings: Member
    """How it is trained and sampled."""
    pool: Pool
    num_steps: int
    images_seen: int
    stream: str
    """Stream of the images that enter the next pool."""
    parent: str = ""
    """Key of the node whose weights training continues from; empty from scratch."""
    new: Pool = ()
    """Its images that enter the lineage's next pool; empty in the last generation."""
    metrics: tuple[MetricsPlan, ...] = ()
    """What is measured on its images."""
    mixture: tuple[MetricsPlan, ...] = field(default=())
    """What is measured on all images that enter the next pool. It is empty for all members but the
    first, and if these images are just the first ones that one model draws."""

    @property
    def inputs(self) -> Json:
        """Everything that the key is a hash of."""
        return json.loads(self.inputs_text)

    @property
    def num_images(self) -> int:
        """Size of the pool."""
        return pool_size(self.pool)

    @property
    def num_new(self) -> int:
        """Number of its images that enter the lineage's next pool."""
        return pool_size(self.new)

    @property
    def num_drawn(self) -> int:
        """Number of its images to draw for the next pool; a lower bound if there is a probe."""
        return sum(streams_of(self.new).values())

    @property
    def sampled(self) -> dict[str, tuple[SampleConfig, Purpose]]:
        """The sampler and purpose of every stream that may be drawn from it, by stream key."""
        sample = self.settings.sample
        drawn = [(sample, Purpose.SAMPLE), (sample, Purpose.MEASURE)]
        drawn += [(plan.sample, plan.purpose) for plan in self.metrics]
        return {stream_key(self.key, *each): each for each in drawn}

    @property
    def all_metrics(self) -> tuple[MetricsPlan, ...]:
        """What is measured on its images and on the mixture."""
        return self.metrics + self.mixture


def resolved(config: LineageConfig, base: LineageConfig) -> LineageConfig:
    """The settings, with precision `auto` replaced by bf16 if the base uses it, else by fp32."""
    if config.train.precision != "auto":
        return config
    precision = "bf16" if base.train.precision == "bf16" else "fp32"
    return replace(config, train=replace(config.train, precision=precision))


def plan_lineage(
    config: LineageConfig, card: DatasetCard, evaluations: Collection[MetricsConfig] = ()
) -> list[NodePlan]:
    """The nodes of a lineage, ordered by generation and then by member.

    Args:
        config: The lineage's settings, with `auto` values resolved.
        card: Card of its data set.
        evaluations: Metrics measured in addition to the lineage's own.

    Raises:
        UsageError: The settings do not fit the data or each other.
    """
    rule, entry = rule_of(config.pool), entry_of(config, card)
    members, first = entry.members, entry.first
    check_judges(entry)
    check_extractors(entry, evaluations)
    member_plans = [
        plan_all_metrics(member_config(config, member), card, evaluations) for member in members
    ]
    pool, past, previous, nodes = first, (), [], []
    num_real = 0
    first_pools: list[Pool] = []
    earlier: list[tuple[Pool, list[str]]] = []
    for generation in range(1, config.generations + 1):
        pools = [member_pool(entry, pool, number, generation) for number in range(len(members))]
        first_pools = first_pools or pools
        current = [
            plan_node(
                member_config(config, member),
                card,
                member,
                pools[number],
                generation=generation,
                number=number,
                first=first_pools[number],
                parent=previous[number].key if previous else "",
            )
            for number, member in enumerate(members)
        ]
        step = Step(
            config=config.pool,
            seed=config.seed,
            generation=generation,
            num_train=card.num_train,
            first=first,
            current=pool,
            past=past,
        )
        num_real = max(num_real, num_real_seen(pool))
        num_seen = None if config.pool.initial_images is None else num_real
        streams = [node.stream for node in current]
        is_last = generation == config.generations
        count = 0 if is_last else rule.num_new(step)
        check_at_most(f"the new images of generation {generation}", count, MOST_IMAGES)
        new = entering_images(entry, pool, streams, generation=generation, count=count)
        current = [
            replace(
                node,
                new=part,
                metrics=with_pools(of_node(node, plans, num_seen), entry, node.pool, earlier),
            )
            for node, part, plans in zip(current, new, member_plans, strict=True)
        ]
        if entry.is_mixed:
            mixture = [
                plan.of_mixture(
                    sum(
                        entering_images(
                            entry,
                            pool,
                            [drawn_stream(node, plan.purpose) for node in current],
                            generation=generation,
                            count=plan.num_images,
                            purpose=plan.purpose,
                        ),
                        (),
                    ),
                    num_seen=num_seen,
                )
                for plan in member_plans[0]
            ]
            current[0] = replace(current[0], mixture=with_pools(mixture, entry, pool, earlier))
        earlier.append((pool, [drawn_stream(node, Purpose.MEASURE) for node in current]))
        nodes += current
        if not is_last:
            step = replace(step, new=sum(new, ()))
            pool, past, previous = rule.combine(step), past + step.new, current
    return nodes


def drawn_stream(node: NodePlan, purpose: Purpose) -> str:
    """Key of the stream of a node's images that enter the pool, or could have entered it."""
    return stream_key(node.key, node.settings.sample, purpose)


def of_node(
    node: NodePlan, plans: Sequence[MetricsPlan], num_seen: int | None
) -> tuple[MetricsPlan, ...]:
    """The metric specifications applied to one node's images."""
    return tuple(
        plan.of_node(
            node.key,
            generation=node.generation,
            member=node.member,
            num_seen=num_seen,
        )
        for plan in plans
    )


def plan_node(
    config: LineageConfig,
    card: DatasetCard,
    member: Member,
    pool: Pool,
    *,
    generation: int,
    number: int,
    first: Pool,
    parent: str,
) -> NodePlan:
    """Plan one model.

    Args:
        config: The lineage's settings, updated with the member's.
        card: Card of the data set.
        member: The member's settings.
        pool: Images that the model sees.
        generation: Its generation.
        number: Its member number.
        first: Images that the member's first model sees.
        parent: Key of the member's model in the previous generation; empty in the first.

    Raises:
        UsageError: The model sees too few images, or train.start does not fit the family.
    """
    size = pool_size(pool)
    who = "" if member.data == "all" else f" as member {number} sees it (data={member.data})"
    check_pool(size, f"generation {generation}'s pool{who}")
    check_memory(config.model, card, size)
    if config.train.start != "scratch" and not FAMILY_FACTS[config.model.family].iterative:
        raise UsageError(
            f"train.start must be scratch with model.family={config.model.family}, which is fitted "
            f"in one step, got {config.train.start!r}"
        )
    num_steps, images_seen = training_length(
        size,
        config.model,
        config.train,
        first_pool=pool_size(first),
        image_size=config.data.image_size,
    )
    continued = parent if config.train.start == "continue" else ""
    inputs = node_inputs(
        recipe=recipe_text(pool),
        model=config.model,
        train=config.train,
        num_steps=num_steps,
        seed=config.seed,
        generation=generation,
        member=number,
        selection=plan_selection(config, card),
        parent=continued,
        first_recipe=recipe_text(first) if config.model.normalization == "first_pool" else "",
        rule=rule_version(config.pool) if generation > 1 else {},
    )
    key = text_digest(inputs)
    return NodePlan(
        key=key,
        inputs_text=inputs,
        generation=generation,
        member=number,
        settings=member,
        pool=pool,
        num_steps=num_steps,
        images_seen=images_seen,
        stream=stream_key(key, config.sample),
        parent=continued,
    )


def by_generation(nodes: Iterable[NodePlan]) -> list[list[NodePlan]]:
    """A lineage's nodes, grouped by generation."""
    return [list(group) for _, group in groupby(nodes, lambda node: node.generation)]


def unique_nodes(lineages: Iterable[list[NodePlan]]) -> dict[str, NodePlan]:
    """All nodes of a sweep by key; a shared node is that of the lineage that draws most from it."""
    tree: dict[str, NodePlan] = {}
    for nodes in lineages:
        for node in nodes:
            if node.key not in tree or tree[node.key].num_drawn < node.num_drawn:
                tree[node.key] = node
    return tree


def lineage_id(config: LineageConfig, card: DatasetCard) -> str:
    """A lineage's id: some settings, and a hash of all settings but the number of generations."""
    one = replace(config, generations=1)
    settings = {
        "data": encoded(card.fingerprint or card.key),
        "metrics": encoded(plan.unversioned_spec if (plan := plan_metrics(one, card)) else None),
        "seed": str(one.seed),
    }
    for name in ("model", "train", "sample", "pool"):
        settings[name] = settings_text(getattr(one, name))
    for name in ("filter", "ensemble"):  # added later; defaults are omitted to keep old ids
        if getattr(one, name) != DEFAULTS[name]:
            settings[name] = settings_text(getattr(one, name))
    if one.filter.weights is not None and (weights := weights_digest(feature_settings(one.filter))):
        settings["filter_weights"] = encoded(weights)
    alpha = "" if one.pool.alpha is None else f"-alpha{one.pool.alpha:g}"
    length = next(
        f"{name}{value}"
        for name in ("epochs", "steps", "images")
        if (value := getattr(one.train, name)) is not None
    )
    return f"{one.pool.rule}{alpha}-{length}-seed{one.seed}-{text_digest(encoded_object(settings))[:8]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedLineage:
    """A lineage of a sweep with everything that it will compute."""

    id: str
    axes: Json
    config: LineageConfig
    card: DatasetCard
    nodes: list[NodePlan]

    @property
    def num_members(self) -> int:
        """Models per generation."""
        return len(self.nodes) // self.config.generations

    @property
    def own_spec(self) -> str:
        """Specification of its own metrics for its first member; empty without metrics."""
        return self.nodes[0].metrics[0].spec if self.config.metrics.names else ""

    @property
    def evaluation_specs(self) -> list[str]:
        """Specifications of the sweep's evaluations for its first member."""
        return [plan.spec for plan in self.nodes[0].metrics if plan.spec != self.own_spec]


def plan_sweep(
    sweep: SweepConfig,
    card_of: Callable[[DataConfig], DatasetCard],
    progress: Callable[[int, int], None] | None = None,
) -> list[PlannedLineage]:
    """Every lineage of a sweep, with its settings checked.

    Args:
        sweep: Base settings and grids.
        card_of: Maps the settings of a data set to its card; called once per data set.
        progress: Called with the number of points that are planned and in total.

    Raises:
        UsageError: A setting, or a combination of settings, is not allowed.
        FileNotFoundError: A data set's files are missing.
    """
    cards: dict[DataConfig, DatasetCard] = {}
    lineages: dict[str, PlannedLineage] = {}
    for axes, config in sweep.each_point(progress):
        config = resolved(config, sweep.base)
        check_variants(config)
        if sweep.resources.device == "cpu":
            check_precisions(config, "cpu")
        if config.data not in cards:
            cards[config.data] = card_of(config.data)
        card = cards[config.data]
        name = lineage_id(config, card)
        planned = lineages.get(name)
        if planned is not None and planned.config.generations >= config.generations:
            continue  # a lineage of 8 generations contains the one of 4
        nodes = plan_lineage(config, card, sweep.evaluations)
        lineages[name] = PlannedLineage(id=name, axes=axes, config=config, card=card, nodes=nodes)
    return list(lineages.values())


def check_variants(config: LineageConfig) -> None:
    """Raise UsageError for a family, rule, metric or extractor that does not exist."""
    for member in members_of(config):
        check_package(member.model.family)
        check_choice("filter.extractor", member.filter.extractor, EXTRACTORS)
    rule_of(config.pool)
    validate_metrics(config.metrics)
