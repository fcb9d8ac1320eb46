"""The control of each setting, and the differences from it within each seed."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from analysis.reading.columns import MIXTURE, grouped, is_missing, unit_columns
from analysis.reading.rows import parse_setting
from analysis.reading.settings import BASE
from analysis.statistics.paired import Unit, slope
from analysis.tables.build import Part
from model.errors import UsageError, check_choice
from sweep.records import FIRST

CONTROLS = {"random": "filter.name=random"}
"""Control -> the setting for which it is short."""


class Measured(NamedTuple):
    """A number of one model, or of one mixture of images."""

    node: str | None
    """The model; None for a mixture, which depends on more than one model."""
    value: float


@dataclass(slots=True)
class Arm:
    """All seeds of one setting."""

    values: dict[str, Any]
    """The setting: axis -> cell."""
    generations: dict[int, dict[Unit, Measured]] = field(default_factory=dict)
    """Generation -> seed, or seed and split of the data -> number."""

    def units(self) -> set[Unit]:
        """Seeds with a number in any generation."""
        return {unit for measured in self.generations.values() for unit in measured}


FindControl = Callable[[Arm, Sequence[Arm]], Arm | None]


def find_controls(part: Part, against: str) -> FindControl:
    """Return the function that finds the control of a setting among all; None if there is none.

    Raises:
        UsageError: No setting is meant by `against`.
    """
    against = CONTROLS.get(against, against)
    if against == FIRST:
        return lambda arm, arms: arm
    if against == BASE:
        usual = part.usual
        if usual is None:
            raise UsageError(
                "--against base needs settings that differ from one of them in few values, got a "
                "grid; use --against AXIS=VALUE"
            )
        return partial(_closest, lambda arm: usual.name(arm.values) == BASE, but=None)
    axis, value = _parse_setting(part, against)
    return partial(
        _closest, lambda arm: part.labels.name(axis, arm.values[axis]) == value, but=axis
    )


def _parse_setting(part: Part, text: str) -> tuple[str, str]:
    """Return the axis and the name of its value that AXIS=VALUE stands for."""
    axes = [axis for axis in part.by if axis != "member"]
    if "=" not in text:
        choices = [FIRST, BASE, *CONTROLS, *(f"{axis}=VALUE" for axis in axes)]
        check_choice("--against", text, choices)
    return parse_setting("--against", text, axes=axes, frame=part.frame, labels=part.labels)


def _closest(
    is_control: Callable[[Arm], bool], arm: Arm, arms: Sequence[Arm], *, but: str | None
) -> Arm | None:
    """The control that agrees with a setting in most axes; a control is its own.

    A control has the same member. One without a mixture is a single model, whose own samples are
    what enters the pool.

    Raises:
        UsageError: Two controls agree in as many axes.
    """
    if is_control(arm):
        return arm
    controls = [each for each in arms if is_control(each)]
    member = arm.values.get("member")
    same = [x for x in controls if x.values.get("member") == member]
    if not same and member == MIXTURE:
        same = [x for x in controls if x.values.get("member") == 0]
    axes = [axis for axis in arm.values if axis not in (but, "member")]
    agreement = [sum(_equal(x.values[axis], arm.values[axis]) for axis in axes) for x in same]
    best = [x for x, n in zip(same, agreement, strict=True) if n == max(agreement)]
    if len(best) > 1:
        differing = [a for a in axes if len({str(x.values[a]) for x in best}) > 1]
        raise UsageError(
            f"--against must leave one control for each setting, got {len(best)} that differ in "
            f"{', '.join(differing)}; show fewer runs, or name a value of another setting"
        )
    return best[0] if best else None


def _equal(one: Any, other: Any) -> bool:
    return one == other or (is_missing(one) and is_missing(other))


def arms_of(part: Part, metric: str) -> list[Arm]:
    """The settings with their numbers, in order."""
    frame = part.frame
    used = frame[(frame["status"] != "diverged") & frame[metric].notna()]
    arms = []
    for values, rows in grouped(used, part.by):
        arm = Arm(values, defaultdict(dict))
        columns = [rows[name].tolist() for name in unit_columns(rows)]
        for generation, node, value, *unit in zip(
            rows["generation"], rows["node"], rows[metric].astype(float), *columns, strict=True
        ):
            if tuple(unit) in arm.generations[generation]:
                part.summarize(metric)  # says which two models have the same seed
            is_mixture = values.get("member") == MIXTURE
            arm.generations[generation][tuple(unit)] = Measured(None if is_mixture else node, value)
        arms.append(arm)
    return arms


def differences(arm: Arm, generation: int, control: Arm, against: str) -> dict[Unit, float]:
    """Differences from the control at one generation, of pairs of different models or samplers."""
    if arm is control and (against != FIRST or generation == 1):
        return {}
    ours = arm.generations[generation]
    theirs = control.generations.get(1 if against == FIRST else generation, {})
    return {
        unit: ours[unit].value - theirs[unit].value
        for unit in ours
        if unit in theirs and (ours[unit].node is None or ours[unit] != theirs[unit])
    }


def slopes(arm: Arm, control: Arm, against: str) -> dict[Unit, float]:
    """Slopes over at least three generations, less those of the control; with V1 the slopes."""
    found = {}
    for unit in sorted(arm.units() & control.units(), key=str):
        ours, theirs = (
            {n: each[unit].value for n, each in x.generations.items() if unit in each}
            for x in (arm, control)
        )
        shared = ours.keys() & theirs.keys()
        if len(shared) >= 3:
            less = 0.0 if against == FIRST else slope({n: theirs[n] for n in sorted(shared)})
            found[unit] = slope({n: ours[n] for n in sorted(shared)}) - less
    return found
