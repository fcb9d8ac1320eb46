"""Sentences about what a sweep has found, each with its number and interval.

A sentence says that something rises, falls or differs only if its t interval excludes zero and its
p-value after Holm's correction is below the level of the interval.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import pandas as pd

from analysis.reading.columns import measured_sizes, setting_axes
from analysis.reading.labels import direction, name_extractor, name_metric
from analysis.reading.settings import BASE
from analysis.statistics.paired import Unit, estimate_difference, holm
from analysis.statistics.seeds import Estimate
from analysis.tables.build import Part, describe_measurement, format_interval, part_of
from analysis.tables.comparisons import format_p
from analysis.tables.controls import Arm, arms_of, differences
from model.errors import UsageError
from sweep.records import FIRST

MOST_COMPARISONS = 200
"""Most pairs of settings that a report compares; more belong in a table of their own."""

Strength = Literal["shown", "undecided", "single"]
"""Whether a difference is shown, not shown, or has a single seed and no interval."""


class Finding(NamedTuple):
    """A sentence about one comparison."""

    strength: Strength
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """The sentences about one metric and one question."""

    metric: str
    title: str
    findings: list[Finding]
    notes: list[str]
    """How to read the sentences, and what could not be compared."""


class Contrast(NamedTuple):
    """A comparison, and the words for its two sides."""

    subject: str
    """`alpha = 2, V4 against V1`, or `alpha = 2 against alpha = 1, at V4`."""
    estimate: Estimate
    """Mean difference within each seed."""


def find_all(frame: pd.DataFrame, metrics: Sequence[str], confidence: float) -> list[Findings]:
    """Say what each metric shows: changes from V1 on, and differences between settings.

    Args:
        frame: A table of analysis.reading.results.load_results.
        metrics: Columns of numbers.
        confidence: Coverage of the intervals, in (0, 1).
    """
    part = part_of(frame, setting_axes(frame), confidence)
    return [found for metric in metrics for found in _of_metric(part, metric)]


def _of_metric(part: Part, metric: str) -> Iterator[Findings]:
    try:
        measured_sizes(part.frame, metric)
        arms = arms_of(part, metric)
    except UsageError as error:  # numbers that one comparison must not mix
        yield Findings(metric=metric, title=_title(metric), findings=[], notes=[str(error)])
        return
    title = f"{_title(metric)}: change from V1 to the last generation"
    yield _describe(part, metric, list(_changes(part, arms)), title)
    pairs, note = _pairs(part, arms)
    contrasts = list(_contrasts(part, pairs))
    if contrasts or note:
        title = f"{_title(metric)}: differences between settings with the same seed"
        yield _describe(part, metric, contrasts, title, note)


def _changes(part: Part, arms: Sequence[Arm]) -> Iterator[Contrast]:
    """Compare the last generation of each setting with its first."""
    for arm in arms:
        last = max(arm.generations)
        if pairs := differences(arm, last, arm, FIRST):
            subject = f"{_name(part, arm)}, V{last} against V1"
            yield Contrast(subject, estimate_difference(pairs))


def _pairs(part: Part, arms: Sequence[Arm]) -> tuple[list[tuple[Arm, Arm]], str]:
    """The pairs of settings to compare, and a sentence if there are too many.

    These are all settings and the base, if there is one, or else those that differ in one setting.
    """
    if part.usual is not None:
        usual = part.usual
        bases = [arm for arm in arms if usual.name(arm.values) == BASE]
        pairs = [(arm, base) for base in bases for arm in arms if arm not in bases]
    else:
        pairs = [(b, a) for a, b in combinations(arms, 2) if _is_neighbour(part, a, b)]
    if len(pairs) <= MOST_COMPARISONS:
        return pairs, ""
    return [], (
        f"{len(pairs):,} pairs of settings differ in one setting, which is too many to compare "
        "here; analysis table --against AXIS=VALUE compares some of them"
    )


def _is_neighbour(part: Part, one: Arm, other: Arm) -> bool:
    """Whether two settings differ in one setting, which is not the member of an ensemble."""
    labels = part.labels
    differing = [
        axis
        for axis, value in one.values.items()
        if labels.name(axis, value) != labels.name(axis, other.values[axis])
    ]
    return len(differing) == 1 and differing != ["member"]


def _contrasts(part: Part, pairs: Sequence[tuple[Arm, Arm]]) -> Iterator[Contrast]:
    """Compare pairs of settings at their last common generation."""
    for arm, other in pairs:
        last = max(arm.generations.keys() & other.generations.keys(), default=0)
        found: dict[Unit, float] = differences(arm, last, other, "") if last else {}
        if found:
            subject = f"{_name(part, arm)} against {_name(part, other)}, at V{last}"
            yield Contrast(subject, estimate_difference(found))


def _describe(
    part: Part, metric: str, contrasts: Sequence[Contrast], title: str, note: str = ""
) -> Findings:
    adjusted = holm([each.estimate.p_value() for each in contrasts])
    num_looks = sum(not math.isnan(p) for p in adjusted)
    worse = direction(metric)
    findings = [
        describe(each, p, num_looks=num_looks, worse=worse, confidence=part.confidence)
        for each, p in zip(contrasts, adjusted, strict=True)
    ]
    order: list[Strength] = ["shown", "undecided", "single"]
    findings.sort(key=lambda finding: order.index(finding.strength))
    notes = [note] if note else []
    if not findings and not note:
        notes.append("nothing to compare: no two different models of one seed have been measured")
    if num_looks:
        notes.append(
            "numbers are mean differences within a seed +- half-widths of their "
            f"{100 * part.confidence:g}% t intervals, with the number of pairs in parentheses; "
            "p-values are of t tests, with Holm's correction for the "
            f"{num_looks} test{'s' if num_looks > 1 else ''} of this list; "
            f"{describe_measurement(part.frame, metric)}"
        )
    return Findings(metric=metric, title=title, findings=findings, notes=notes)


def describe(
    contrast: Contrast, adjusted: float, *, num_looks: int, worse: int, confidence: float
) -> Finding:
    """Say what a comparison shows, and no more.

    Args:
        contrast: The comparison.
        adjusted: Its p-value after Holm's correction; nan if there is no test.
        num_looks: Number of tests that the correction is for.
        worse: 1 if higher numbers are worse, -1 if lower ones are, 0 if neither is.
        confidence: Coverage of the interval.
    """
    estimate = contrast.estimate
    mean, half = estimate.mean, estimate.half_width(confidence)
    interval = format_interval(mean, half, estimate.n)
    if estimate.n == 1:
        return Finding(
            "single",
            f"{contrast.subject}: the difference is {interval} for the only seed; without an "
            "interval it says nothing about other seeds",
        )
    if not half > 0:
        return Finding(
            "undecided",
            f"{contrast.subject}: the difference is {interval} and does not vary, so there is no "
            "test",
        )
    if abs(mean) <= half:
        return Finding(
            "undecided",
            f"{contrast.subject}: no difference is shown, because {interval} contains 0; that is "
            "no proof that there is none",
        )
    p = f"p = {format_p(adjusted)}".replace("= <", "< ")
    if not adjusted < 1 - confidence:
        return Finding(
            "undecided",
            f"{contrast.subject}: undecided, because {interval} excludes 0, but not after Holm's "
            f"correction for {num_looks} tests ({p})",
        )
    word = "higher" if mean > 0 else "lower"
    qualities = {1: ", which is worse", -1: ", which is better", 0: ""}
    quality = qualities[worse if mean > 0 else -worse]
    return Finding("shown", f"{contrast.subject}: {word} by {interval}{quality} ({p})")


def _name(part: Part, arm: Arm) -> str:
    """Name a setting with the short names of its axes."""
    if part.usual is not None:
        return part.usual.title(arm.values) or BASE
    return part.labels.describe_setting(arm.values) or "this setting"


def _title(metric: str) -> str:
    extractor = name_extractor(metric)
    return name_metric(metric) + (f" ({extractor})" if extractor else "")
