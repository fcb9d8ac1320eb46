"""The output of `analysis verdict`."""

import math
from collections.abc import Sequence

from analysis.reading.hypotheses import Tested
from analysis.statistics.paired import MOST_SEEDS, compare, seeds_to_decide, verdict
from analysis.tables.build import format_interval
from analysis.tables.comparisons import format_p
from model.errors import printable

WORDS = {
    "greater": "above {high:g}",
    "smaller": "below {low:g}",
    "equal": "between {low:g} and {high:g}",
}
"""Expectation -> where the mean difference is expected."""


def describe_verdicts(tested: Sequence[Tested]) -> str:
    """Say of each hypothesis whether it is supported, refuted or undecided, and by what."""
    parts = [_describe(each) for each in tested]
    if len(tested) > 1:
        parts.append(
            f"{len(tested)} hypotheses, each with its own chance of a wrong verdict: at most "
            "1 - confidence."
        )
    return "\n\n".join(parts) + "\n"


def _describe(each: Tested) -> str:
    record, n = each.record, len(each.differences)
    where = WORDS[record.expected].format(low=0 - record.margin, high=record.margin)
    contrast = f"{' '.join(record.contrast)} minus {' '.join(record.against)}"
    expectation = f"{record.metric} of V_{record.generation}, {contrast}: expected {where}"
    kind = "post hoc" if record.post_hoc else "preregistered"
    lines = [printable(f"{record.name}: {record.text}"), f"  {printable(expectation)}"]
    if not each.is_complete or n < 2:
        # No interval is shown, so that nobody can stop when it suits them.
        lines.append(f"  undecided: {n} of {len(record.pairs)} pairs have numbers")
    else:
        lines.append(f"  {_verdict(each)}")
    lines.append(f"  {kind}, written {record.written}, {len(record.pairs)} pairs")
    lines += [f"  without a number: {printable(text)}" for text in each.missing]
    return "\n".join(lines)


def _verdict(each: Tested) -> str:
    record, values = each.record, list(each.differences.values())
    result = compare(each.differences, confidence=record.confidence)
    estimate = result.estimate
    half = estimate.half_width(record.confidence)
    found = verdict(estimate, record.expected, record.margin, record.confidence)
    text = f"{found}: {format_interval(estimate.mean, half, estimate.n)}"
    text += f" ({100 * record.confidence:g}% t interval), p {format_p(result.p)}"
    is_one_split = len({unit[1:] for unit in each.differences}) == 1
    if found == "undecided" and is_one_split and not math.isnan(result.p):
        needed = seeds_to_decide(values, record.expected, record.margin, record.confidence)
        number = f"about {needed}" if needed <= MOST_SEEDS else f"more than {MOST_SEEDS:,}"
        text += f"; {number} seeds would decide if mean and deviation stay as they are"
    return text
