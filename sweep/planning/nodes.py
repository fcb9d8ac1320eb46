"""The models of one lineage, known before anything runs: pools, keys, steps and measurements."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import NamedTuple

from model.config import MetricsConfig, SampleConfig
from model.errors import UsageError, check_at_most
from model.family_facts import FAMILY_FACTS
from model.randomness import Purpose
from model.training.initial import check_initial
from model.training.length import training_length
from sweep.config import LineageConfig, groups_of
from sweep.files import Json, text_digest
from sweep.planning.checks import (
    MOST_IMAGES,
    check_extractors,
    check_judges,
    check_memory,
    check_pool,
    entry_of,
    extractors_used,
)
from sweep.planning.keys import node_inputs, stream_key
from sweep.planning.measurements import (
    COPYING,
    MetricsPlan,
    plan_all_metrics,
    plan_selection,
    with_pools,
)
from sweep.planning.members import Member, member_config
from sweep.planning.new_images import Entry, entering_images, keep_best, member_pool, streams_of
from sweep.planning.pool import Pool, num_real_seen, pool_size, recipe_text
from sweep.planning.programs import Counts, Programs, check_drawn
from sweep.planning.rules import PoolRule, Step, rule_of, rule_version
from sweep.records import DatasetCard
from sweep.remembered import remembered


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
    num_images: int
    """Size of the pool."""
    num_steps: int
    images_seen: int
    stream: str
    """Stream of the images that enter the next pool."""
    parent: str = ""
    """Key of the node whose weights training continues from; empty from scratch."""
    num_drawn_in_training: int | None = None
    """Number of images that the program which trains also draws, if it does."""
    at_once: Counts = field(default_factory=dict)
    """Its streams that a program draws at once."""
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
        drawn = [(sample, Purpose.MEASURE)]
        drawn += [(x.sample, x.purpose) for x in self.metrics if x.sample is not sample]
        streams = {stream_key(self.key, *each): each for each in drawn}
        streams = {self.stream: (sample, Purpose.SAMPLE), **streams}
        return {k: streams[s] for k, (s, _) in self.at_once.items()} if self.at_once else streams

    @property
    def all_metrics(self) -> tuple[MetricsPlan, ...]:
        """What is measured on its images and on the mixture."""
        return self.metrics + self.mixture


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What is the same in all lineages whose settings differ in seed and length only."""

    rule: PoolRule
    rule_version: dict[str, int | str]
    members: tuple[Member, ...]
    first: Pool
    """D_1."""
    metrics: tuple[tuple[MetricsPlan, ...], ...]
    """Metric specifications of each member."""
    selections: tuple[Json | None, ...]
    """How each member's checkpoint is selected, for keys."""
    extractors: list[tuple[str, MetricsConfig]]
    """The feature extractors needed, each with the section of its settings."""

    @property
    def holds_out(self) -> bool:
        """Whether a metric needs images of the models that are in no pool."""
        return any(COPYING in plan.config.names for plans in self.metrics for plan in plans)


@remembered(lambda config, card, evaluations: (*groups_of(config), card, *evaluations))
def outline_of(
    config: LineageConfig, card: DatasetCard, evaluations: Collection[MetricsConfig]
) -> Outline:
    """Check the settings of a lineage, except its seed and length.

    Raises:
        UsageError: They do not fit the data or each other.
    """
    rule, entry = rule_of(config.pool), entry_of(config, card)
    check_judges(entry)
    extractors = extractors_used(entry, evaluations)
    check_extractors(extractors, bounded=card.bounded)
    C, H, W = card.shape
    for member in entry.members:
        check_initial(member.train, member.model, (C, H, W), card.num_classes, card.class_names)
    configs = [member_config(config, member) for member in entry.members]
    return Outline(
        rule=rule,
        rule_version=rule_version(config.pool),
        members=entry.members,
        first=entry.first,
        metrics=tuple(plan_all_metrics(one, card, evaluations) for one in configs),
        selections=tuple(plan_selection(one, card) for one in configs),
        extractors=extractors,
    )


class Training(NamedTuple):
    """How one model is trained."""

    pool: Pool
    num_images: int
    num_drawn: int | None
    num_steps: int
    images_seen: int
    parent: str
    inputs_text: str
    key: str
    stream: str


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
    outline = outline_of(config, card, evaluations)
    members, first = outline.members, outline.first
    entry = Entry(config=config, members=members, card=card, first=first)
    programs = Programs(members)
    pool, past, num_real, nodes = first, (), 0, []
    history: list[list[Training]] = []
    earlier: list[tuple[Pool, list[str]]] = []
    for generation in range(1, config.generations + 1):
        step_with = partial(
            Step,
            config=config.pool,
            seed=config.seed,
            generation=generation,
            num_train=card.num_train,
            first=first,
            current=pool,
            past=past,
            keep=partial(keep_best, entry, generation),
        )
        is_last = generation == config.generations
        count, drawn = 0, [None] * len(members)
        if not is_last or programs.draw_in_training:
            count = outline.rule.num_new(step_with())
        if programs.draw_in_training:
            own = [plans[0] if config.metrics.names else None for plans in outline.metrics]
            drawn = programs.drawn_in_training(entry, pool, own, generation=generation, count=count)
        count = 0 if is_last else count
        trainings = [
            plan_training(entry, outline, pool, history, number, drawn[number])
            for number in range(len(members))
        ]
        history.append(trainings)
        check_at_most(f"the new images of generation {generation}", count, MOST_IMAGES)
        streams = [training.stream for training in trainings]
        new = entering_images(entry, pool, streams, generation=generation, count=count)
        new = [programs.bind(part) for part in new]
        num_real = max(num_real, num_real_seen(pool))
        num_seen = None if config.pool.initial_images is None else num_real
        mixture = _mixture(entry, outline, pool, trainings, generation, num_seen, programs)
        nodes += [
            NodePlan(
                key=training.key,
                inputs_text=training.inputs_text,
                generation=generation,
                member=number,
                settings=member,
                pool=training.pool,
                num_images=training.num_images,
                num_steps=training.num_steps,
                images_seen=training.images_seen,
                stream=training.stream,
                parent=training.parent,
                num_drawn_in_training=training.num_drawn,
                new=part,
                metrics=programs.bind_plans(
                    with_pools(
                        [
                            plan.of_node(
                                _measured_stream(training, member, plan),
                                generation=generation,
                                member=number,
                                num_seen=num_seen,
                            )
                            for plan in plans
                        ],
                        entry,
                        training.pool,
                        earlier,
                    )
                ),
                mixture=()
                if number
                else programs.bind_held_out(with_pools(mixture, entry, pool, earlier)),
            )
            for number, (training, member, part, plans) in enumerate(
                zip(trainings, members, new, outline.metrics, strict=True)
            )
        ]
        if outline.holds_out:
            earlier.append((pool, _streams(entry, trainings, Purpose.MEASURE)))
        if not is_last:
            step = step_with(new=sum(new, ()))
            pool, past = outline.rule.combine(step), past + step.new
    for node in nodes:
        check_drawn(node.num_drawn_in_training, node.metrics)
    if programs.counts:
        nodes = [
            replace(
                node, at_once={k: x for k, x in programs.counts.items() if x[0] in node.sampled}
            )
            for node in nodes
        ]
    return nodes


def _measured_stream(training: Training, member: Member, plan: MetricsPlan) -> str:
    """Key of the stream of a model's images that are measured; often that of the next pool."""
    if plan.sample is member.sample and plan.purpose is Purpose.SAMPLE:
        return training.stream
    return stream_key(training.key, plan.sample, plan.purpose)


def _streams(entry: Entry, trainings: Iterable[Training], purpose: Purpose) -> list[str]:
    """Key of each member's stream of images that enter the pool, or could have entered it."""
    return [
        stream_key(training.key, member.sample, purpose)
        for training, member in zip(trainings, entry.members, strict=True)
    ]


def _mixture(
    entry: Entry,
    outline: Outline,
    pool: Pool,
    trainings: Sequence[Training],
    generation: int,
    num_seen: int | None,
    programs: Programs,
) -> list[MetricsPlan]:
    """What is measured on all images that enter the next pool, if these are mixed."""
    if not entry.is_mixed:
        return []
    images = [
        entering_images(
            entry,
            pool,
            _streams(entry, trainings, plan.purpose),
            generation=generation,
            count=plan.num_images,
            purpose=plan.purpose,
        )
        for plan in outline.metrics[0]
    ]
    return [
        plan.of_mixture(sum(map(programs.bind, parts), ()), num_seen=num_seen)
        for plan, parts in zip(outline.metrics[0], images, strict=True)
    ]


def plan_training(
    entry: Entry,
    outline: Outline,
    pool: Pool,
    history: Sequence[Sequence[Training]],
    number: int,
    num_drawn: int | None = None,
) -> Training:
    """Plan the training of one model.

    Args:
        entry: Settings, members and data of the lineage.
        outline: What its settings imply.
        pool: The generation's pool.
        history: Trainings of the earlier generations.
        number: The model's member number.
        num_drawn: Number of images that its training also draws, if it does.

    Raises:
        UsageError: The model sees too few images, or train.start does not fit the family.
    """
    config, member, generation = entry.config, outline.members[number], len(history) + 1
    model, train = member.model, member.train
    seen = member_pool(entry, pool, number, generation)
    size = pool_size(seen)
    first, first_size = history[0][number][:2] if history else (seen, size)
    who = "" if member.data == "all" else f" as member {number} sees it (data={member.data})"
    check_pool(size, f"generation {generation}'s pool{who}")
    check_memory(model, entry.card, size)
    facts = FAMILY_FACTS[model.family]
    if train.start != "scratch" and not (facts.iterative or facts.continues):
        raise UsageError(
            f"train.start must be scratch with model.family={model.family}, which is fitted "
            f"in one step, got {train.start!r}"
        )
    num_steps, images_seen = training_length(
        size,
        model,
        train,
        first_pool=first_size,
        image_size=config.data.image_size,
    )
    parent = history[-1][number].key if history and train.start == "continue" else ""
    inputs_text = node_inputs(
        recipe=recipe_text(seen),
        model=model,
        train=train,
        num_steps=num_steps,
        seed=config.seed,
        generation=generation,
        member=number,
        selection=outline.selections[number],
        parent=parent,
        first_recipe=recipe_text(first) if model.normalization == "first_pool" else "",
        rule=outline.rule_version if generation > 1 else {},
        num_drawn=num_drawn,
    )
    key = text_digest(inputs_text)
    stream = stream_key(key, member.sample)
    return Training(seen, size, num_drawn, num_steps, images_seen, parent, inputs_text, key, stream)


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
