"""Preregistered hypotheses of a results folder, and the differences that decide them."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from analysis.reading.checks import read_metrics, read_node
from model.errors import UsageError
from sweep.files import REPLACE, DamagedError
from sweep.records import HYPOTHESES, HypothesisPair, HypothesisRecord

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
    return [_test(folder, each) for each in sorted(records, key=lambda each: each.written)]


def _test(folder: Path, record: HypothesisRecord) -> Tested:
    differences: dict[tuple[Hashable, ...], float] = {}
    missing, reasons = [], set()
    for pair in record.pairs:
        numbers = [_number(folder, record, key) for key in (pair.arm, pair.control)]
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


def _number(folder: Path, record: HypothesisRecord, key: str) -> float | str:
    """The metric of a model, or why there is none."""
    node = read_node(folder, key)
    if node is None or node.status == DIVERGED:
        return "not trained" if node is None else DIVERGED
    metrics = read_metrics(folder, key, record.spec)
    if metrics is None or record.metric not in metrics.values:
        return "not measured"
    return metrics.values[record.metric]


def _name(pair: HypothesisPair) -> str:
    return f"seed {pair.seed}" + (f", split_seed {pair.split_seed}" if pair.split_seed else "")
