"""Limits of the y axis of curves: they fit most settings, and clip one that is far from them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

FLATTENED = 5
"""A setting is clipped if the others would have less than 1 / FLATTENED of the axis with it."""
CLIPPED_SHARE = 4
"""Of n settings, at most n / CLIPPED_SHARE (or one, of three) are clipped."""
BEYOND = 0.75
"""Largest extension for intervals, as a share of the range of values."""


class Spread(NamedTuple):
    """The smallest and largest value of a line, and the ends of its intervals."""

    low: float
    high: float
    interval_low: float
    interval_high: float


class Limits(NamedTuple):
    """The limits of the y axis."""

    bottom: float
    top: float
    is_cut_off: bool
    """Whether an interval of a line inside the limits ends outside."""

    def excess(self, value: float) -> int:
        """1 if a value is above the limits, -1 if it is below, 0 if it is inside."""
        return (value > self.top) - (value < self.bottom)


def fit_limits(spreads: Sequence[Spread], *, log: bool) -> Limits:
    """Fit the y axis to lines, extended by at most BEYOND of their range for intervals.

    Lines far above or below the others are not fitted (FLATTENED).

    Args:
        spreads: At least one; values above 0 for a logarithmic axis.
        log: Whether the axis is logarithmic.
    """
    scaled = [Spread(*(_log(x) if log else x for x in spread)) for spread in spreads]
    kept = without_outliers(scaled)
    low, high = min(s.low for s in kept), max(s.high for s in kept)
    interval_low = min(s.interval_low for s in kept)
    interval_high = max(s.interval_high for s in kept)
    extent = (high - low) or (1.0 if log else abs(high)) or 1.0
    bottom = max(min(low, interval_low), low - BEYOND * extent)
    top = min(max(high, interval_high), high + BEYOND * extent)
    is_cut_off = interval_low < bottom or interval_high > top
    ends = (bottom - 0.05 * extent, top + 0.05 * extent)
    return Limits(*(10.0**x if log else x for x in ends), is_cut_off)


def without_outliers(spreads: Sequence[Spread]) -> Sequence[Spread]:
    """Leave out the fewest lines at one end without which the range is a fifth (FLATTENED)."""
    most = max(1, len(spreads) // CLIPPED_SHARE) if len(spreads) > 2 else 0
    full = _range(spreads)
    orders = (sorted(spreads, key=lambda s: s.high), sorted(spreads, key=lambda s: -s.low))
    for count in range(1, most + 1):
        for ordered in orders:
            rest = ordered[: len(spreads) - count]
            if 0 < FLATTENED * _range(rest) < full:
                return rest
    return spreads


def _range(spreads: Sequence[Spread]) -> float:
    return max(s.high for s in spreads) - min(s.low for s in spreads)


def _log(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf
