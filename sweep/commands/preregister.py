"""`sweep preregister`: writes down what a sweep is expected to show, before its models exist."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from model.errors import UsageError, check_choice, check_text, shown, split_setting
from sweep.commands.plan import plan_in_folder
from sweep.config import SweepConfig, flatten, parse_setting, to_json
from sweep.lineage.datasets import prepare_dataset
from sweep.planning.lineages import PlannedLineage, plan_sweep
from sweep.records import FIRST, HYPOTHESES, HypothesisPair, HypothesisRecord
from sweep.results_folder import store_location
from sweep.store.store import open_store

Expected = Literal["greater", "smaller", "equal"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
UNITS = ("seed", "data.split_seed", "generations")
"""Settings in which the lineages of one contrast may differ."""


class Claim(NamedTuple):
    """What is expected of a sweep."""

    name: str
    text: str
    metric: str
    contrast: tuple[str, ...]
    against: tuple[str, ...]
    generation: int
    expected: Expected
    margin: float
    confidence: float


def preregister(
    sweep: SweepConfig, out: Path, claim: Claim, *, store: str | None, post_hoc: bool
) -> HypothesisRecord:
    """Write a hypothesis into the results folder in which the sweep will run.

    The data set is prepared in the store, because the keys of models depend on its content.

    Args:
        sweep: The sweep.
        out: Its results folder, which need not exist.
        claim: The hypothesis.
        store: Store of its models, if that is not `out`.
        post_hoc: Accept models that exist already, and mark the hypothesis as made after them.

    Raises:
        UsageError: The contrast is not one of settings of the sweep, a model of it exists, or there
            is a hypothesis of that name.
    """
    check_claim(claim)
    path = out / HYPOTHESES / f"{claim.name}.json"
    if path.exists():
        raise UsageError(
            f"--name must be new, got {claim.name!r}, which {path} holds; a hypothesis is not "
            "changed once it is written"
        )
    sweep, lineages, kept = plan_in_folder(sweep, out, store)
    pairs, (metric, spec) = pairs_in(lineages, claim), metric_of(lineages[0], claim.metric)
    if any(lineage.card.fingerprint is None for lineage in lineages):
        opened = open_store(store_location(out, store), sweep.resources)
        lineages = plan_sweep(sweep, lambda data: prepare_dataset(data, opened))
        pairs, (metric, spec) = pairs_in(lineages, claim), metric_of(lineages[0], claim.metric)
    keys = {key for pair in pairs for key in (pair.arm, pair.control)}
    existing = set() if kept is None else kept.nodes.done(keys)
    if existing and not post_hoc:
        raise UsageError(
            f"--contrast must be about models that do not exist yet, got {len(existing)} of "
            f"{len(keys)} that do; --post-hoc writes it down as made after them"
        )
    record = HypothesisRecord(
        name=claim.name,
        text=claim.text,
        metric=metric,
        spec=spec,
        contrast=list(claim.contrast),
        against=list(claim.against),
        generation=claim.generation,
        expected=claim.expected,
        margin=claim.margin,
        confidence=claim.confidence,
        pairs=pairs,
        post_hoc=bool(existing),
        written=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    record.save(path)
    return record


def check_claim(claim: Claim) -> None:
    """Raise UsageError for a claim that no numbers could support or refute."""
    if not NAME.fullmatch(claim.name):
        raise UsageError(
            "--name must be at most 64 letters, digits, dots, dashes and underscores, got "
            f"{shown(claim.name)}"
        )
    check_text("--hypothesis", claim.text)
    if not claim.text.strip():
        raise UsageError(f"--hypothesis must say what is expected, got {claim.text!r}")
    if not (claim.margin >= 0 and math.isfinite(claim.margin)):
        raise UsageError(f"--margin must be a finite number of at least 0, got {claim.margin!r}")
    if claim.expected == "equal" and claim.margin == 0:
        raise UsageError("--margin must be above 0 with --expected equal, got 0.0")
    if not 0 < claim.confidence < 1:
        raise UsageError(f"--confidence must be in (0, 1), got {claim.confidence!r}")


def pairs_in(lineages: Sequence[PlannedLineage], claim: Claim) -> list[HypothesisPair]:
    """Return the models of each seed and split of a setting and its control."""
    arm = select(lineages, claim.contrast, "--contrast")
    is_first = claim.against == (FIRST,)
    control = arm if is_first else matching(lineages, claim, arm)
    models = _models(arm, claim.generation)
    controls = _models(control, 1 if is_first else claim.generation)
    pairs = [
        HypothesisPair(seed=unit[0], split_seed=unit[1], arm=models[unit], control=controls[unit])
        for unit in sorted(models.keys() & controls.keys())
        if models[unit] != controls[unit]
    ]
    if len(pairs) < 2:
        raise UsageError(
            f"--contrast must have at least two seeds with different models in generation "
            f"{claim.generation}, got {len(pairs)}"
        )
    return pairs


def _models(lineages: Sequence[PlannedLineage], generation: int) -> dict[tuple[int, int], str]:
    """Keys of the first members of a generation, by seed and split."""
    return {
        (lineage.config.seed, lineage.config.data.split_seed): node.key
        for lineage in lineages
        for node in lineage.nodes
        if node.generation == generation and node.member == 0
    }


def select(lineages: Sequence[PlannedLineage], words: Sequence[str], option: str) -> list[Any]:
    """Return the lineages with some settings, which must differ in their seeds and splits only."""
    wanted = {}
    for word in words:
        name, value = split_setting(option, word)
        parsed = parse_setting(lineages[0].config, name, value)
        wanted[name] = str(list(parsed)) if isinstance(parsed, tuple) else parsed
    found = [x for x in lineages if wanted.items() <= _settings(x).items()]
    if not found:
        raise UsageError(f"{option} must be settings of the sweep, got {shown(' '.join(words))}")
    if differing := _differing(found):
        raise UsageError(
            f"{option} must name one setting, got several that differ in {', '.join(differing)}; "
            "add a value of each"
        )
    return found


def matching(
    lineages: Sequence[PlannedLineage], claim: Claim, arm: Sequence[PlannedLineage]
) -> list[PlannedLineage]:
    """Return the lineages of the control, which agree with the setting in everything else."""
    names = [split_setting("--against", word)[0] for word in claim.against]
    own = _settings(arm[0])
    rest = {name: value for name, value in own.items() if name not in (*names, *UNITS)}
    same = [x for x in lineages if rest.items() <= _settings(x).items()]
    return select(same or lineages, claim.against, "--against")


def _settings(lineage: PlannedLineage) -> dict[str, Any]:
    """The dotted settings of a lineage; lists, which cannot be compared as items, as text."""
    flat = flatten(to_json(lineage.config))
    return {name: str(value) if isinstance(value, list) else value for name, value in flat}


def _differing(lineages: Sequence[PlannedLineage]) -> list[str]:
    settings = [_settings(lineage) for lineage in lineages]
    return [
        name
        for name in settings[0]
        if name not in UNITS and len({repr(each[name]) for each in settings}) > 1
    ]


def metric_of(lineage: PlannedLineage, metric: str) -> tuple[str, str]:
    """Return a metric's name with its extractor, and the specification of the file it is in."""
    from model.metrics.table import shown_columns

    columns = {
        column.split("/")[0]: (column, plan.spec)
        for plan in lineage.nodes[0].metrics
        for name in plan.config.names
        for column in shown_columns(name, plan.config)
    }
    check_choice("--metric", metric, list(columns))
    return columns[metric]
