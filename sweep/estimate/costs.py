"""What a sweep will cost: hours by recorded timings, time with several trials at once, and money.

A model costs its training, the drawing of the images that pools and metrics take of it, and its
measuring. Not in it: the start of processes, what a filter looks at beyond what is measured, work
that finished models still owe, and lost spot machines. Must not import torch or ray.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.blocks import SAMPLE_BATCH
from model.config import SampleConfig
from model.errors import UsageError, check_finite
from model.metrics.table import needed
from model.values import typed
from sweep.estimate.makespan import longest_chain, makespan, total_seconds
from sweep.estimate.timings import (
    Kind,
    Machine,
    Timings,
    draw_kind,
    format_seconds,
    measure_kind,
    train_kind,
)
from sweep.finished import Finished
from sweep.planning.blocks import block_size, blocks_of
from sweep.planning.keys import canonical, stream_key
from sweep.planning.lineages import NodePlan, PlannedLineage
from sweep.planning.measurements import MetricsPlan
from sweep.planning.new_images import streams_of
from sweep.planning.schedule import chains_of
from sweep.records import DatasetCard, read_toml

LEFT_OUT = (
    "not in it: the start of each trial, what finished models still owe, lost spot machines' work"
)

Work = dict[Kind, float]
"""Amounts of work by kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """A table of prices, as the user wrote it."""

    per_hour: Mapping[str, float] = field(default_factory=dict)
    """Device, as records name it -> price of an hour of what one trial occupies of it."""
    currency: str = ""


def read_prices(path: Path) -> Prices:
    """The prices in a .toml file: `currency`, and a table [price_per_hour] of devices.

    Raises:
        OneLineError: It is missing, not TOML, or holds something else.
    """
    data = read_toml(path)
    for name in data:
        if name not in ("currency", "price_per_hour"):
            raise UsageError(f"{path} must hold currency and [price_per_hour] alone, got {name!r}")
    table, currency = data.get("price_per_hour", {}), data.get("currency", "")
    if not isinstance(table, dict):
        raise UsageError(
            f'{path}: price_per_hour must be a table of lines "DEVICE" = PRICE, got {table!r}'
        )
    if not isinstance(currency, str):
        raise UsageError(f"{path}: currency must be a word, got {currency!r}")
    for device, price in table.items():
        name = f"{path}: price_per_hour.{device!r}"
        typed(price, float, name)
        check_finite(name, price, 0)
    return Prices(per_hour=table, currency=currency)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What is missing of a sweep, timed on one machine."""

    machine: Machine
    seconds: Mapping[str, float]
    """Of each missing node by key, as far as its work was timed there."""
    untrained: tuple[str, ...]
    """Keys of nodes whose training was never timed there: hours without them would be wrong."""
    untimed: tuple[str, ...]
    """Activities (draw, measure) that were not all timed, and are missing in the seconds."""
    num_timed: int
    """Finished models whose training was timed there, of the networks that are missing."""


def estimate(work: Mapping[str, Work], timings: Timings, machine: Machine) -> Estimate:
    """Time of each node's work on a machine."""
    trained = {kind for amounts in work.values() for kind in amounts if kind.activity == "train"}
    seconds: dict[str, float] = {}
    untrained: list[str] = []
    untimed: set[str] = set()
    for key, amounts in work.items():
        seconds[key] = 0.0
        for kind, amount in amounts.items():
            spent = timings.seconds(machine, kind, amount)
            if spent is not None:
                seconds[key] += spent
            elif kind.activity == "train":
                untrained.append(key)
            else:
                untimed.add(kind.activity)
    return Estimate(
        machine=machine,
        seconds=seconds,
        untrained=tuple(untrained),
        untimed=tuple(sorted(untimed)),
        num_timed=sum(timings.count(machine, kind) for kind in trained),
    )


def planned_work(lineages: Sequence[PlannedLineage], missing: Iterable[str]) -> dict[str, Work]:
    """The work of each missing node, by key: its own, though several lineages share it.

    Of streams whole blocks are drawn, as many as the lineage needs that needs most; where a probe
    looks for images of a class, at least those it keeps.
    """
    wanted = set(missing)
    work: dict[str, Work] = {key: {} for key in wanted}
    owners: dict[str, tuple[str, Kind]] = {}
    rows: dict[tuple[str, int | None], int] = {}
    measured: set[tuple[str, str]] = set()
    for lineage in lineages:
        shape = lineage.card.shape
        for node in lineage.nodes:
            owed = [node.new, *(plan.images for plan in node.all_metrics)]
            for place, count in [item for pool in owed for item in streams_of(pool).items()]:
                images = blocks_of(place[1], count) * block_size(place[1])
                rows[place] = max(images, rows.get(place, 0))
            if node.key not in wanted:
                continue
            own = work[node.key]
            own[train_kind(node.inputs, shape)] = node.images_seen
            for sample in samplers(node):
                kind = draw_kind(node.inputs, shape, canonical(sample))
                owners[stream_key(node.key, sample)] = node.key, kind
            preview = draw_kind(node.inputs, shape, canonical(node.settings.sample))
            own.setdefault(preview, SAMPLE_BATCH)
            for plan in node.all_metrics:
                if (node.key, plan.spec) not in measured:
                    measured.add((node.key, plan.spec))
                    add(own, measure_of(plan, lineage.card), 1)
    for (stream, _), images in rows.items():
        if stream in owners:
            key, kind = owners[stream]
            add(work[key], kind, images)
    return work


def add_own(timings: Timings, lineages: Sequence[PlannedLineage], finished: Finished) -> None:
    """Add the finished models of a sweep."""
    for lineage in lineages:
        for node in lineage.nodes:
            if node.key not in finished.nodes:
                break
            found = [finished.metrics.get((node.key, plan.spec)) for plan in node.all_metrics]
            timings.add_node(
                finished.nodes[node.key],
                node.inputs,
                shape=lineage.card.shape,
                metrics=[record for record in found if record is not None],
            )


def samplers(node: NodePlan) -> list[SampleConfig]:
    """The samplers of a node's streams: of images for the pool, and of those measured."""
    return [node.settings.sample, *(plan.sample for plan in node.metrics)]


def measure_of(plan: MetricsPlan, card: DatasetCard) -> Kind:
    """The kind of work that a metric specification is."""
    num_train = card.num_train if "train" in needed(plan.config) else 0
    sizes = {"num_reference": card.num_reference, "num_train": num_train}
    return measure_kind(plan.inputs, card.shape, **sizes)


def add(work: Work, kind: Kind, amount: float) -> None:
    """Add an amount to what is there of a kind."""
    work[kind] = work.get(kind, 0.0) + amount


def cost_lines(
    lineages: Sequence[PlannedLineage],
    missing: Sequence[NodePlan],
    timings: Timings,
    *,
    slots: Sequence[int] = (1,),
    prices: Prices | None = None,
) -> list[str]:
    """What `sweep plan` says of time and cost: a table by device, and what is not in it.

    Args:
        lineages: Of the sweep.
        missing: The models to train.
        timings: Of finished models.
        slots: Numbers of trials at once.
        prices: None for no money.
    """
    if not missing:
        return ["time         nothing to train"]
    work = planned_work(lineages, [node.key for node in missing])
    estimates = [estimate(work, timings, machine) for machine in timings.machines]
    complete = [each for each in estimates if not each.untrained]
    if not complete:
        lines = ["time         unknown; train one model of each kind, or pass --timings DIR"]
    else:
        lines = ["time         of the models to train, at the speed of finished ones:", ""]
        lines += table(lineages, complete, slots=slots, prices=prices).splitlines()
    return lines + [f"  {note}" for note in notes(missing, estimates, prices)]


def table(
    lineages: Sequence[PlannedLineage],
    estimates: Iterable[Estimate],
    *,
    slots: Sequence[int],
    prices: Prices | None,
) -> str:
    """Hours, time and money by device and number of trials at once."""
    from tabulate import tabulate

    chains, rows = chains_of(lineages), []
    for each in estimates:
        total = total_seconds(each.seconds)
        for count in slots:
            wall = makespan(chains, each.seconds, num_slots=count)
            machine = each.machine
            row = [machine.device, *map(str, (machine.num_threads, each.num_timed, count))]
            row += [two_digits(total / 3600), format_seconds(wall)]
            row += [format_seconds(longest_chain(chains, each.seconds))]
            if prices is not None:
                price = prices.per_hour.get(each.machine.device)
                row += [money(total, price), money(count * wall, price)]
            rows.append(row)
    columns = ["device", "threads", "timed", "at once", "trial-hours", "time", "longest lineage"]
    if prices is not None:
        unit = f" [{prices.currency}]" if prices.currency else ""
        columns += [f"busy{unit}", f"rented{unit}"]
    align = ("left", *["right"] * (len(columns) - 1))
    return tabulate(rows, columns, disable_numparse=True, colalign=align)


def money(seconds: float, price: float | None) -> str:
    """Price of some trial-seconds."""
    return "no price" if price is None else two_digits(seconds / 3600 * price)


def two_digits(number: float) -> str:
    """A number with two decimals, or of a small one the first two digits."""
    return f"{number:,.2f}" if number >= 1 or not number else f"{number:.2g}"


def notes(
    missing: Sequence[NodePlan], estimates: Sequence[Estimate], prices: Prices | None
) -> list[str]:
    """What the table does not hold: models, work and devices without timings or prices."""
    found = []
    networks = {node.key: network_of(node) for node in missing}
    for each in estimates:
        where = f"on {each.machine.device} with {each.machine.num_threads} threads"
        where = where.removesuffix("s") if each.machine.num_threads == 1 else where
        if each.untrained:
            kinds = sorted({networks[key] for key in each.untrained})
            found.append(
                f"no hours {where}: {len(each.untrained)} of {len(missing)} models were never "
                f"timed there ({'; '.join(kinds)})"
            )
            continue
        if each.untimed:
            words = {"draw": "drawing images", "measure": "measuring"}
            what = " and ".join(words[activity] for activity in each.untimed)
            found.append(
                f"too low {where}: no time for {what} of a kind that was never timed there"
            )
    devices = {each.machine.device for each in estimates if not each.untrained}
    unseen = prices.per_hour.keys() - {x.machine.device for x in estimates} if prices else ()
    found += [f"no timing on {device}, which has a price" for device in sorted(unseen)]
    if prices and devices & prices.per_hour.keys():
        found.append("busy is the price of the trial-hours, rented that of all trials to the end")
    if devices:
        found.append(LEFT_OUT)
    if any(node.settings.filter.name != "none" for node in missing):
        found.append("not in it: what filters look at beyond what is measured")
    return found


def network_of(node: NodePlan) -> str:
    """A network, so that a reader can tell which one was not timed."""
    model, train = node.settings.model, node.settings.train
    widths = " ".join(map(str, model.widths))
    return f"{model.family}, widths {widths}, batch {train.batch_size}, {train.precision}"
