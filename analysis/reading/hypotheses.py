"""Preregistered hypotheses of a results folder, and the differences that decide them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.reading.checks import read_metrics, read_node
from model.errors import UsageError
from sweep.files import REPLACE, DamagedError
from sweep.records import (
    HYPOTHESES,
    HypothesisPair,
    HypothesisRecord,
    LineageRecord,
    load_lineages,
)

DIVERGED = "diverged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """A hypothesis, with what its models say."""

    record: HypothesisRecord
    differences: dict[tuple[Hashable, ...], float]
    """Setting minus control, by seed and split of the data."""
    missing: list[str]
    """For each pair without a difference, why it has none."""
    is_complete: bool
    """Whether every pair has a difference, or a model that diverged."""


def load_hypotheses(folder: Path) -> list[Tested]:
    """Read the hypotheses of a results folder, in the order in which they were written.

    Raises:
        UsageError: There are none.
        RecordError: A record is damaged.
    """
    paths = sorted((folder / HYPOTHESES).glob("*.json"))
    if not paths:
        raise UsageError(
            f"{folder / HYPOTHESES} must hold a hypothesis, got none; "
            "`sweep preregister` writes one"
        )
    records = [HypothesisRecord.load(path) for path in paths]
    for record, path in zip(records, paths, strict=True):
        if record.name != path.stem:
            raise DamagedError(
                f"{path} must be hypothesis {path.stem}, got that of {record.name!r}; {REPLACE}"
            )
    lineages = load_lineages(folder)
    records.sort(key=lambda record: record.written)
    return [_test(folder, record, _specs_by_lineage(record, lineages)) for record in records]


def _specs_by_lineage(
    record: HypothesisRecord, lineages: Sequence[LineageRecord]
) -> list[tuple[set[str], str]]:
    """The models of each lineage, and the name of its metrics file that is meant by `record.spec`.

    The record has the name for one lineage. The name is a hash of how metrics are taken and of how
    images are drawn, which may differ between lineages. So it stands for the files with the same
    place in lineages with the same settings of metrics.
    """
    first = next((each for each in lineages if record.spec in each.specs(0)), None)
    if first is None:
        return []
    place = first.specs(0).index(record.spec)
    is_own = record.spec == first.metrics_spec
    return [
        ({members[0] for members in each.nodes if members}, each.specs(0)[place])
        for each in lineages
        if place < len(each.specs(0))
        and (not is_own or each.config.get("metrics") == first.config.get("metrics"))
    ]


def _test(folder: Path, record: HypothesisRecord, specs: Sequence[tuple[set[str], str]]) -> Tested:
    differences: dict[tuple[Hashable, ...], float] = {}
    missing, reasons = [], set()
    for pair in record.pairs:
        # V_1 may belong to lineages with different samplers; that of the setting's is meant.
        both = [each for each in specs if {pair.arm, pair.control} <= each[0]]
        numbers = [_number(folder, record, key, both or specs) for key in (pair.arm, pair.control)]
        arm, control = numbers
        if isinstance(arm, float) and isinstance(control, float):
            differences[pair.seed, pair.split_seed] = arm - control
        else:
            reason = next(x for x in numbers if isinstance(x, str))
            reasons.add(reason)
            missing.append(f"{_name(pair)}: {reason}")
    return Tested(
        record=record,
        differences=differences,
        missing=missing,
        is_complete=reasons <= {DIVERGED},
    )


def _number(
    folder: Path, record: HypothesisRecord, key: str, specs: Sequence[tuple[set[str], str]]
) -> float | str:
    """The metric of a model, or why there is none."""
    node = read_node(folder, key)
    if node is None or node.status == DIVERGED:
        return "not trained" if node is None else DIVERGED
    of_model = {spec for keys, spec in specs if key in keys}
    if len(of_model) > 1:
        return "measured with several samplers"
    metrics = read_metrics(folder, key, next(iter(of_model), record.spec))
    if metrics is None or record.metric not in metrics.values:
        return "not measured"
    return metrics.values[record.metric]


def _name(pair: HypothesisPair) -> str:
    return f"seed {pair.seed}" + (f", split_seed {pair.split_seed}" if pair.split_seed else "")
