"""Estimates the hours, duration and price of a sweep from recorded timings.

The cost of a model is its training, the drawing of its images for pools and metrics, and its
measurement. The estimate excludes the start of processes, images that only a filter looks at,
missing measurements of finished models, and lost spot machines.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from model.blocks import SAMPLE_BATCH
from model.commands.settings_file import read_settings
from model.commands.values import typed
from model.config import SampleConfig
from model.errors import UsageError, check_finite, check_text, shown
from model.metrics.table import needed
from sweep.estimate.makespan import longest_chain, makespan
from sweep.estimate.timings import (
    Kind,
    Machine,
    Timings,
    draw_kind,
    format_seconds,
    measure_kind,
    train_kind,
)
from sweep.files import Json
from sweep.finished import Finished
from sweep.planning.keys import block_size, blocks_of, canonical, keyed_settings
from sweep.planning.lineages import PlannedLineage
from sweep.planning.measurements import MetricsPlan
from sweep.planning.members import Member
from sweep.planning.new_images import streams_of
from sweep.planning.nodes import NodePlan
from sweep.planning.schedule import chains_of
from sweep.records import DatasetCard
from sweep.remembered import remembered
from sweep.specifications import floor_name

LEFT_OUT = (
    "excluded: starting trials, missing measurements of finished models, losses of spot machines"
)

Work = dict[Kind, float]
"""Amounts of work by kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """A user's table of prices."""

    per_hour: Mapping[str, float] = field(default_factory=dict)
    """Device as named in records -> price per hour of the share that one trial occupies."""
    currency: str = ""


def read_prices(path: Path) -> Prices:
    """Read a .toml file with `currency` and a table [price_per_hour] of devices.

    Raises:
        OneLineError: The file is missing, is not TOML, or has other contents.
    """
    data = read_settings(path)
    for name in data:
        if name not in ("currency", "price_per_hour"):
            raise UsageError(
                f"{path} must hold only currency and [price_per_hour], got {shown(name)}"
            )
    table, currency = data.get("price_per_hour", {}), data.get("currency", "")
    if not isinstance(table, dict):
        raise UsageError(
            f'{path}: price_per_hour must be a table of lines "DEVICE" = PRICE, got {shown(table)}'
        )
    check_text(f"{path}: currency", typed(currency, str, f"{path}: currency"))
    prices = {}
    for device, price in table.items():
        name = f"{path}: price_per_hour.{shown(device)}"
        check_text(name, device)
        prices[device] = typed(price, float, name)
        check_finite(name, prices[device], 0)
    return Prices(per_hour=prices, currency=currency)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Estimated time of a sweep's missing models on one machine."""

    machine: Machine
    seconds: Mapping[str, float]
    """Seconds of each missing node by key, counting only work that has a timing."""
    untrained: tuple[str, ...]
    """Keys of nodes whose training has no timing on the machine; if any, there is no total."""
    untimed: tuple[str, ...]
    """Activities (draw, measure) without a timing for some node, which `seconds` excludes."""
    num_timed: int
    """Number of timings on the machine of the kinds of training that are missing."""


def estimate(work: Mapping[str, Work], timings: Timings, machine: Machine) -> Estimate:
    """Estimate the time of each node's work on a machine."""
    trained = {kind for amounts in work.values() for kind in amounts if kind.activity == "train"}
    seconds: dict[str, float] = {}
    untrained: list[str] = []
    untimed: set[str] = set()
    for key, amounts in work.items():
        seconds[key] = 0.0
        for kind, amount in amounts.items():
            duration = timings.seconds(machine, kind, amount)
            if duration is not None:
                seconds[key] += duration
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
    """Return the work of each missing node by key, counting nodes that lineages share once.

    Streams are drawn in whole blocks, up to the largest number that any lineage needs. If a
    classifier selects images of a class, only the images it keeps are counted.
    """
    work: dict[str, Work] = {key: defaultdict(float) for key in missing}
    owners: dict[str, tuple[str, Kind]] = {}
    num_drawn: dict[tuple[str, int | None], int] = {}
    counted: set[tuple[str, str]] = set()
    floors: set[tuple[str, str]] = set()
    for lineage in lineages:
        for node in lineage.nodes:
            measured = [pool for x in node.all_metrics for pool in (x.images, x.held_out)]
            for pool in (node.new, *measured):
                for (stream, label), count in streams_of(pool).items():
                    images = blocks_of(label, count) * block_size(label)
                    num_drawn[stream, label] = max(images, num_drawn.get((stream, label), 0))
            names = [(lineage.card.key, floor_name(plan.inputs)) for plan in node.all_metrics]
            if node.key not in work:
                floors |= set(names)
                continue
            amounts = work[node.key]
            amounts[_train_kind(node.settings, lineage.card)] = node.images_seen
            for stream, (sample, _) in node.sampled.items():
                owners[stream] = node.key, _draw_kind(node.settings, sample, lineage.card)
            preview = _draw_kind(node.settings, node.settings.sample, lineage.card)
            amounts.setdefault(preview, SAMPLE_BATCH)
            for plan in node.all_metrics:
                if (node.key, plan.spec) not in counted:
                    counted.add((node.key, plan.spec))
                    amounts[measure_of(plan, lineage.card)] += 1
            for plan, name in zip(node.all_metrics, names, strict=True):
                if name not in floors:  # measured with the first model, and takes about as long
                    floors.add(name)
                    amounts[measure_of(plan, lineage.card)] += 1
    for (stream, _), images in num_drawn.items():
        if stream in owners:
            key, kind = owners[stream]
            work[key][kind] += images
    return work


@remembered(lambda member, card: (member, card))
def _train_kind(member: Member, card: DatasetCard) -> Kind:
    return train_kind(_inputs(member), card.shape)


@remembered(lambda member, sample, card: (member, sample, card))
def _draw_kind(member: Member, sample: SampleConfig, card: DatasetCard) -> Kind:
    return draw_kind(_inputs(member), card.shape, canonical(sample))


def _inputs(member: Member) -> Json:
    """The inputs of a node on which the time of its work depends."""
    return keyed_settings(member.model, member.train)


def add_own(timings: Timings, lineages: Sequence[PlannedLineage], finished: Finished) -> None:
    """Add the timings of a sweep's own finished models."""
    for lineage in lineages:
        for node in lineage.nodes:
            if node.key not in finished.nodes:
                break
            records = [finished.metrics.get((node.key, plan.spec)) for plan in node.all_metrics]
            timings.add_node(
                finished.nodes[node.key],
                node.inputs,
                shape=lineage.card.shape,
                metrics=[record for record in records if record is not None],
            )


@remembered(lambda plan, card: (plan.inputs, plan.config, card))
def measure_of(plan: MetricsPlan, card: DatasetCard) -> Kind:
    """Return the kind of work of a metric specification."""
    num_train = card.num_train if "train" in needed(plan.config) else 0
    sizes = {"num_reference": card.num_reference, "num_train": num_train}
    return measure_kind(plan.inputs, card.shape, **sizes)


def cost_lines(
    lineages: Sequence[PlannedLineage],
    missing: Sequence[NodePlan],
    timings: Timings,
    *,
    slots: Sequence[int] = (1,),
    prices: Prices | None = None,
) -> list[str]:
    """Return the lines of `sweep plan` on time and cost: a table by device, and notes.

    Args:
        lineages: Lineages of the sweep.
        missing: Models to train.
        timings: Timings of finished models.
        slots: Numbers of parallel trials.
        prices: Prices by device, or None to omit prices.
    """
    if not missing:
        return ["time         nothing to train"]
    estimates = estimates_of(lineages, missing, timings)
    rows = cost_rows(lineages, estimates, slots=slots, prices=prices)
    if not rows:
        lines = ["time         unknown; train one model of each kind, or pass --timings DIR"]
    else:
        lines = ["time         to train the missing models, at the speed of finished ones:", ""]
        lines += table(rows, prices).splitlines()
    return lines + [f"  {note}" for note in notes(missing, estimates, prices)]


def estimates_of(
    lineages: Sequence[PlannedLineage], missing: Sequence[NodePlan], timings: Timings
) -> list[Estimate]:
    """Estimate the time of the missing models on each machine that has timings."""
    work = planned_work(lineages, [node.key for node in missing]) if timings.machines else {}
    return [estimate(work, timings, machine) for machine in timings.machines]


def cost_rows(
    lineages: Sequence[PlannedLineage],
    estimates: Iterable[Estimate],
    *,
    slots: Sequence[int],
    prices: Prices | None,
) -> list[Json]:
    """Return time and price by device and number of parallel trials, if all models are timed.

    Prices are for all trials while they are busy, and until the last one ends; None if unknown.
    """
    chains, rows = chains_of(lineages), []
    for each in estimates:
        if each.untrained:
            continue
        machine, total = each.machine, sum(each.seconds.values())
        price = None if prices is None else prices.per_hour.get(machine.device)
        for count in slots:
            duration = makespan(chains, each.seconds, num_slots=count)
            row = {
                "device": machine.device,
                "num_threads": machine.num_threads,
                "num_timed": each.num_timed,
                "num_slots": count,
                "trial_seconds": total,
                "seconds": duration,
                "longest_lineage_seconds": longest_chain(chains, each.seconds),
                "busy_price": None if price is None else total / 3600 * price,
                "rented_price": None if price is None else count * duration / 3600 * price,
            }
            rows.append(row)
    return rows


def table(rows: Sequence[Json], prices: Prices | None) -> str:
    """Return hours, duration and price by number of parallel trials, below a line per device."""
    from tabulate import tabulate

    kinds = ("busy", "rented") if prices is not None else ()
    columns = ["at once", "trial-hours", "time", "longest lineage", *kinds]
    cells = [
        [
            str(row["num_slots"]),
            two_digits(row["trial_seconds"] / 3600),
            format_seconds(row["seconds"]),
            format_seconds(row["longest_lineage_seconds"]),
            *(money(row[f"{kind}_price"]) for kind in kinds),
        ]
        for row in rows
    ]
    align = ["right"] * len(columns)
    head, rule, *lines = tabulate(
        cells, columns, disable_numparse=True, colalign=align
    ).splitlines()
    shown = [head, rule]
    for machine, group in groupby(zip(rows, lines, strict=True), lambda each: name_of(each[0])):
        shown += [machine, *(line for _, line in group)]
    return "\n".join(shown)


def name_of(row: Json) -> str:
    """The device of a row, its threads, and the number of trainings that were timed there."""
    threads, timed = row["num_threads"], row["num_timed"]
    threads_word, timed_word = ("s" if count != 1 else "" for count in (threads, timed))
    return f"{row['device']}, {threads} thread{threads_word}, {timed} timing{timed_word}:"


def money(price: float | None) -> str:
    """Format a price."""
    return "no price" if price is None else two_digits(price)


def two_digits(number: float) -> str:
    """Format a number with two decimals, or with two significant digits below 1."""
    return f"{number:,.2f}" if number >= 1 or not number else f"{number:.2g}"


def notes(
    missing: Sequence[NodePlan], estimates: Sequence[Estimate], prices: Prices | None
) -> list[str]:
    """Return notes on what the table excludes, and on missing timings and prices."""
    lines = []
    networks = {node.key: network_of(node) for node in missing}
    for each in estimates:
        count = each.machine.num_threads
        where = f"on {each.machine.device} with {count} thread{'' if count == 1 else 's'}"
        if each.untrained:
            kinds = sorted({networks[key] for key in each.untrained})
            lines.append(
                f"no estimate {where}: {len(each.untrained)} of {len(missing)} models have no "
                f"timing there ({'; '.join(kinds)})"
            )
        elif each.untimed:
            words = {"draw": "drawing images", "measure": "measuring"}
            what = " and ".join(words[activity] for activity in each.untimed)
            lines.append(
                f"too low {where}: {what} of this kind has no timing there and is excluded"
            )
    devices = {each.machine.device for each in estimates if not each.untrained}
    timed = {each.machine.device for each in estimates}
    untimed = prices.per_hour.keys() - timed if prices else ()
    lines += [f"no timing on {device}, which has a price" for device in sorted(untimed)]
    if prices and devices & prices.per_hour.keys():
        unit = f" in {prices.currency}" if prices.currency else ""
        lines.append(
            f"busy: price{unit} of the trial-hours; rented: price of all trials until the end"
        )
    if devices:
        lines.append(LEFT_OUT)
    if any(node.settings.filter.name != "none" for node in missing):
        lines.append("excluded: images that only filters look at")
    return lines


def network_of(node: NodePlan) -> str:
    """Describe a model's network and training, for the note that it has no timing."""
    model, train = node.settings.model, node.settings.train
    widths = " ".join(map(str, model.widths))
    return f"{model.family}, widths {widths}, batch {train.batch_size}, {train.precision}"
