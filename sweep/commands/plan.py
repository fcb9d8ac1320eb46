"""`sweep plan`: prints what a sweep would compute."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path

from model.commands.output import wrapped
from model.config import REPEATS
from model.data.datasets import Dataset
from model.errors import check_at_least, check_at_most, printable_name
from model.filters.table import unused_settings
from sweep.commands.patience import PlanProgress
from sweep.commands.preflight import check_extractors_ready, note_downloads, unfinished
from sweep.config import SweepConfig
from sweep.estimate.costs import (
    Prices,
    add_own,
    cost_lines,
    cost_rows,
    estimates_of,
    notes,
    read_prices,
)
from sweep.estimate.forecast import (
    GenerationForecast,
    bias_notes,
    find_spectra,
    forecast_all,
    forecast_lines,
    measured_pixel_std,
    split_linear,
)
from sweep.estimate.generations import generation_lines, model_name
from sweep.estimate.sizes import (
    format_bytes,
    format_flops,
    image_bytes,
    planned_bytes,
    training_flops,
)
from sweep.estimate.timings import Timings, read_timings
from sweep.files import Json
from sweep.finished import Finished, look_up, to_train
from sweep.lineage.datasets import finder_for_plan, finder_that_loads
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.planning.nodes import NodePlan, unique_nodes
from sweep.results_folder import (
    check_out,
    check_place,
    extend,
    load_recorded_data,
    store_location,
)
from sweep.sealed import many_objects
from sweep.status.reasons import reasons_to_compute
from sweep.store.store import Store, open_store

MOST_VALUES = 5
"""Number of values of an axis that are listed; of more, the first and the last are."""
INDENT = 13
"""Columns of a fact's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What a sweep would compute, how long that takes, and why."""

    sweep: SweepConfig
    lineages: list[PlannedLineage]
    missing: list[NodePlan]
    """The models to compute."""
    facts: Json
    reasons: Mapping[str, str]
    """Why each model is to be computed, by key."""
    timed: Timings
    slots: Sequence[int]
    prices: Prices | None
    forecasts: Mapping[str, list[GenerationForecast]] | None = None
    """The forecast of each lineage that has one, by id; None if it was not asked for."""
    measured: Mapping[str, list[float | None]] = field(default_factory=dict)
    """What lineages have measured of the forecast's pixel_std."""
    biases: Sequence[str] = ()
    """What the samplers do to the images' deviation in each generation, and lineages without a
    forecast, a line for each."""

    def to_json(self) -> Json:
        """All of it as one JSON object; docs/guide.md describes it."""
        estimates = estimates_of(self.lineages, self.missing, self.timed) if self.missing else []
        return {
            **self.facts,
            "times": cost_rows(self.lineages, estimates, slots=self.slots, prices=self.prices),
            "notes": [*notes(self.missing, estimates, self.prices), *self.biases],
            "lineages": lineage_facts(self.lineages, self.reasons),
            **({} if self.forecasts is None else {"forecast": self._forecast_facts()}),
        }

    def _forecast_facts(self) -> list[Json]:
        return [
            {
                "lineage": name,
                "generations": [
                    {**asdict(each), "measured_pixel_std": value}
                    for each, value in zip_longest(generations, self.measured.get(name, ()))
                ],
            }
            for name, generations in (self.forecasts or {}).items()
        ]

    def print(self) -> None:
        """Print lineages, models with and without sharing, images, steps, bytes, hours, cost."""
        print_wrapped(f"{self.sweep.name}: {self.sweep.description}")
        print()
        for line in fact_lines(self.facts):
            print_wrapped(line, indent=INDENT)
        for line in cost_lines(
            self.lineages, self.missing, self.timed, slots=self.slots, prices=self.prices
        ):
            print_wrapped(line, indent=4)
        if self.missing and self.sweep.base.train.precision == "auto":
            print("  train.precision=auto is timed as fp32; if GPUs have bf16, set it to bf16")
        if self.missing:
            print("\nto compute:")
        for line in reason_lines(self.lineages, self.reasons):
            print_wrapped(line, indent=4)
        print()
        print("\n".join(generation_lines(self.lineages, self.reasons)))
        if self.forecasts is not None:
            print()
            linear = [x for x in self.lineages if x.id in self.forecasts]
            print("\n".join(forecast_lines(linear, self.forecasts, self.measured)))
            for line in self.biases:
                print_wrapped(f"note: {line}", indent=4)


@many_objects()
def look_ahead(
    sweep: SweepConfig,
    *,
    out: Path | None = None,
    store: str | None = None,
    timings: Sequence[Path] = (),
    slots: Sequence[int] = (1,),
    prices: Path | None = None,
    with_forecast: bool = False,
) -> Outlook:
    """Plan a sweep, without computing or writing anything.

    Args:
        sweep: The sweep.
        out: Its results folder.
        store: Store of its models, if that is not `out`.
        timings: Other folders whose finished models have timings.
        slots: Numbers of parallel trials.
        prices: File with a table of prices.
        with_forecast: Whether to forecast variances, which reads the data sets.

    Raises:
        OneLineError: A setting is not valid, as in `sweep run`, or no lineage has a forecast.
    """
    check_at_least("--slots", min(slots, default=0), 1)
    check_at_most("--slots", max(slots), REPEATS["most"])
    table = None if prices is None else read_prices(prices)
    timed = Timings()
    for folder in timings:
        read_timings(folder, timed)
    loaded: dict[str, Dataset] | None = {} if with_forecast else None
    sweep, lineages, kept = plan_in_folder(sweep, out, store, loaded=loaded)
    tree = unique_nodes(lineage.nodes for lineage in lineages)
    finished = Finished() if kept is None else look_up(kept, lineages)
    check_extractors_ready(unfinished(lineages, finished), sweep.evaluations, fetch=False)
    note_downloads(lineages)
    keys = to_train(lineages, finished)
    missing = [node for node in tree.values() if node.key in keys]
    note_idle_settings(lineages)
    note_uneven_control(lineages)
    note_small_alpha(lineages)
    add_own(timed, lineages, finished)
    linear, gaps = split_linear(lineages) if with_forecast else ([], [])
    spectra = find_spectra(linear, loaded)
    is_measured = with_forecast and out is not None and kept is not None
    return Outlook(
        sweep=sweep,
        lineages=lineages,
        missing=missing,
        facts=plan_facts(sweep, lineages, tree, missing, num_done=len(finished.nodes)),
        reasons=reasons_to_compute(lineages, finished, kept, out),
        timed=timed,
        slots=slots,
        prices=table,
        forecasts=forecast_all(linear, spectra) if with_forecast else None,
        biases=[*bias_notes(linear, spectra), *gaps],
        measured=measured_pixel_std(linear, out, kept) if is_measured else {},
    )


def print_wrapped(line: str, *, indent: int = 0) -> None:
    """Print a line, broken at spaces if the terminal is narrower."""
    print("\n".join(wrapped(line, indent=indent)))


def plan_facts(
    sweep: SweepConfig,
    lineages: list[PlannedLineage],
    tree: Mapping[str, NodePlan],
    missing: list[NodePlan],
    *,
    num_done: int,
) -> Json:
    """What a sweep would compute, in numbers; docs/guide.md describes them.

    Args:
        sweep: The sweep.
        lineages: Its lineages.
        tree: Its models by key.
        missing: Those that would be trained.
        num_done: Number of those that exist.
    """
    cards = {lineage.card.key: lineage.card for lineage in lineages}
    sizes = (n.num_images * image_bytes(x.card) for x in lineages for n in x.nodes)
    return {
        "name": sweep.name,
        "description": sweep.description,
        "data": [
            {
                "name": card.name,
                "shape": card.shape,
                "dtype": card.dtype,
                "num_train": card.num_train,
                "num_reference": card.num_reference,
                "num_validation": card.num_validation,
            }
            for card in cards.values()
        ],
        "num_lineages": len(lineages),
        "num_models": len(tree),
        "num_models_without_sharing": sum(len(lineage.nodes) for lineage in lineages),
        "num_models_done": num_done,
        "num_models_to_train": len(missing),
        "num_steps": sum(n.num_steps for n in missing),
        "images_seen": sum(n.images_seen for n in missing),
        "flops": training_flops(lineages, missing),
        "num_new_images": sum(n.num_new for n in missing),
        "bytes_to_write": planned_bytes(lineages, missing),
        "bytes_of_largest_pool": max(sizes, default=0),
    }


def fact_lines(facts: Json) -> Iterator[str]:
    """Yield the lines that show the numbers of plan_facts."""
    for data in facts["data"]:
        C, H, W = data["shape"]
        yield (
            f"data         {printable_name(data['name'])}, {H}x{W}x{C} {data['dtype']}: "
            f"{data['num_train']:,} train, {data['num_reference']:,} reference, "
            f"{data['num_validation']:,} validation images"
        )
    unique, done, left = (facts[f"num_models{x}"] for x in ("", "_done", "_to_train"))
    never = f", {unique - done - left} after a diverged one" if unique > done + left else ""
    yield f"lineages     {facts['num_lineages']}"
    yield (
        f"models       {unique} unique of {facts['num_models_without_sharing']} without sharing; "
        f"{done} done, {left} to train{never}"
    )
    yield (
        f"training     {facts['num_steps']:,} steps, {facts['images_seen']:,} images, "
        f"{format_flops(facts['flops'])}"
    )
    yield f"sampling     {facts['num_new_images']:,} images enter pools"
    yield (
        f"store        {format_bytes(facts['bytes_to_write'])} to write; "
        f"largest pool {format_bytes(facts['bytes_of_largest_pool'])} in memory"
    )


def lineage_facts(lineages: Iterable[PlannedLineage], reasons: Mapping[str, str]) -> list[Json]:
    """The models of each lineage, for programs; `reasons` are those of the missing ones."""
    return [
        {
            "id": lineage.id,
            "axes": lineage.axes,
            "models": [
                {
                    "key": node.key,
                    "generation": node.generation,
                    "member": node.member,
                    "num_images": node.num_images,
                    "num_steps": node.num_steps,
                    "images_seen": node.images_seen,
                    "is_done": node.key not in reasons,
                    "reason": reasons.get(node.key),
                }
                for node in lineage.nodes
            ],
        }
        for lineage in lineages
    ]


def plan_in_folder(
    sweep: SweepConfig,
    out: Path | None,
    store: str | None,
    *,
    loaded: dict[str, Dataset] | None = None,
) -> tuple[SweepConfig, list[PlannedLineage], Store | None]:
    """Plan a sweep as `sweep run` would in a results folder, without writing anything.

    Args:
        sweep: The sweep.
        out: Its results folder.
        store: Store of its models, if that is not `out`.
        loaded: If it is not None, data sets that no run has prepared are loaded into it, by key, so
            that lineages have the ids of the run.

    Returns:
        The sweep with the grids of the folder, its lineages, and its store if that exists.
    """
    if out is not None:
        out = out.absolute()
        check_out(out)
        check_place(out, sweep)
        sweep = extend(sweep, out)
    root, kept = store if out is None else store_location(out, store), None
    if root is not None:
        opened = open_store(root, sweep.resources)
        if opened.files.is_far or Path(opened.location).exists():
            kept = opened
            kept.claims.read()  # raises if the bucket does not exist
    recorded = {} if out is None else load_recorded_data(out)
    find_card = finder_for_plan(kept, recorded, out=out, paths_vary="data.path" in sweep.axes())
    if loaded is not None:
        find_card = finder_that_loads(find_card, loaded)
    return sweep, plan_sweep(sweep, find_card, PlanProgress("planning each point")), kept


def note_idle_settings(lineages: Iterable[PlannedLineage]) -> None:
    """Print on stderr which changed filter settings have no effect in any lineage."""
    filters = {node.settings.filter for lineage in lineages for node in lineage.nodes}
    idle = [set(unused_settings(config)) for config in filters]
    beside = " or ".join(f"filter.name={name}" for name in sorted({f.name for f in filters}))
    for name in sorted(set.intersection(*idle)) if idle else []:
        print(f"note: filter.{name} has no effect with {beside}", file=sys.stderr)


def note_uneven_control(lineages: Iterable[PlannedLineage]) -> None:
    """Print on stderr if unconditional models lack the control of positive concentrations."""
    pools = {
        lineage.config.pool
        for lineage in lineages
        for node in lineage.nodes
        if not node.settings.model.conditional
    }
    drifting = any(pool.concentration == 0 and pool.shares == "drift" for pool in pools)
    if drifting and any(pool.concentration > 0 for pool in pools):
        print(
            "note: with pool.concentration 0 the classes of an unconditional model drift, but with "
            "positive values a probe sets their shares; --pool.shares pool sets them at 0 too",
            file=sys.stderr,
        )


def reason_lines(lineages: Iterable[PlannedLineage], reasons: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each reason to compute models: how many, and the first of them."""
    counts, first = Counter(reasons.values()), {}
    for lineage in lineages:
        for node in lineage.nodes:
            if node.key in reasons:
                name = f"{model_name(node, lineage)} of {lineage.id}"
                first.setdefault(reasons[node.key], name)
    for reason, name in first.items():
        which = name if counts[reason] == 1 else f"the first is {name}"
        yield f"  {counts[reason]:,}  {reason} ({which})"


def note_small_alpha(lineages: Iterable[PlannedLineage]) -> None:
    """Print on stderr if an alpha above 0 is so small that it rounds to no new image."""
    told: dict[str, None] = {}
    for lineage in lineages:
        pool, nodes = lineage.config.pool, lineage.nodes[: -lineage.num_members]
        num_first = lineage.card.num_train if pool.initial_images is None else pool.initial_images
        last = max((node.generation for node in nodes if node.num_new), default=0)
        if not pool.alpha or not nodes or last == nodes[-1].generation:
            continue
        size, what = num_first, "the first pool has"
        if pool.fresh_images is not None:
            size, what = pool.fresh_images, "the fresh real images of a generation are"
        told[
            f"note: pool.alpha={pool.alpha:g} adds no image from generation {last + 1} on, because "
            f"{what} {size:,}; above {0.5 / size:.4g} it adds one"
        ] = None
    for line in told:
        print(line, file=sys.stderr)
