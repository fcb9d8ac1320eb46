"""All lineages of a sweep with everything that they will compute, known before anything runs.

The settings and the data set's card determine every pool of a lineage and therefore every key,
because the recipe of a pool names streams and ranges, not pixels. So all nodes of a sweep are known
in advance.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from model.config import DataConfig, FilterConfig, TrainConfig
from model.errors import UsageError, check_choice
from model.family_facts import check_package
from model.features.extractors import EXTRACTORS, weights_digest
from model.filters.table import feature_settings
from model.metrics.table import validate_metrics
from model.programs.files import program_inputs
from model.training.initial import with_digest
from sweep.config import EnsembleConfig, LineageConfig, SweepConfig, groups_of
from sweep.files import Json, encoded, encoded_object, text_digest
from sweep.planning.checks import check_precisions
from sweep.planning.keys import settings_text
from sweep.planning.measurements import plan_metrics, unversioned_spec
from sweep.planning.members import members_of
from sweep.planning.nodes import NodePlan, plan_lineage
from sweep.planning.rules import rule_of
from sweep.records import DatasetCard
from sweep.remembered import remembered, remembered_by_object
from sweep.sealed import many_objects

DEFAULTS = {"filter": FilterConfig(), "ensemble": EnsembleConfig()}
"""Groups of settings that are left out of a lineage's id if they have these values."""


def resolved(config: LineageConfig, base: LineageConfig) -> LineageConfig:
    """The settings, with precision `auto` replaced by bf16 if the base uses it, else by fp32.

    They have the digest of the initial weights. If it is set already, the file is not looked at.
    """
    train = config.train
    if train.precision == "auto":
        train = _resolved(train, base.train.precision == "bf16")
    if train.initial_checkpoint is not None and train.initial_sha256 is None:
        train = _with_digest(train)
    return config if train is config.train else replace(config, train=train)


_with_digest = remembered_by_object(with_digest)


@remembered(lambda train, bf16: (train, bf16))
def _resolved(train: TrainConfig, bf16: bool) -> TrainConfig:
    return replace(train, precision="bf16" if bf16 else "fp32")


def lineage_id(config: LineageConfig, card: DatasetCard) -> str:
    """A lineage's id: some settings, and a hash of all settings but the number of generations."""
    plan = plan_metrics(config, card)
    settings = {
        "data": encoded(card.fingerprint or card.key),
        "metrics": encoded(None if plan is None else unversioned_spec(plan)),
        "seed": str(config.seed),
    }
    for name in ("model", "train", "sample", "pool"):
        settings[name] = settings_text(getattr(config, name))
    for name in ("filter", "ensemble"):  # added later; defaults are omitted to keep old ids
        if getattr(config, name) != DEFAULTS[name]:
            settings[name] = settings_text(getattr(config, name))
    settings |= {name: encoded(value) for name, value in program_inputs(config.model).items()}
    if config.filter.weights is not None and (
        weights := weights_digest(feature_settings(config.filter))
    ):
        settings["filter_weights"] = encoded(weights)
    alpha = "" if config.pool.alpha is None else f"-alpha{config.pool.alpha:g}"
    length = next(
        f"{name}{value}"
        for name in ("epochs", "steps", "images")
        if (value := getattr(config.train, name)) is not None
    )
    name = f"{config.pool.rule}{alpha}-{length}-seed{config.seed}"
    return f"{name}-{text_digest(encoded_object(settings))[:8]}"


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


@many_objects()
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
    if "train.initial_checkpoint" in sweep.axes() and sweep.base.train.initial_sha256 is not None:
        raise UsageError(
            "train.initial_sha256 must be None if train.initial_checkpoint is an axis, got "
            f"{sweep.base.train.initial_sha256}"
        )
    cards: dict[DataConfig, DatasetCard] = {}
    lineages: dict[str, PlannedLineage] = {}
    for axes, config in sweep.each_point(progress):
        config = resolved(config, sweep.base)
        check_variants(config, sweep.resources.device)
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


@remembered(lambda config, device: (*groups_of(config), device))
def check_variants(config: LineageConfig, device: str) -> None:
    """Raise UsageError for a variant that does not exist, or for a precision not on the device."""
    rule_of(config.pool)
    for member in members_of(config):
        check_package(member.model.family)
        check_choice("filter.extractor", member.filter.extractor, EXTRACTORS, extensible=True)
    validate_metrics(config.metrics)
    if device == "cpu":
        check_precisions(config, device)
