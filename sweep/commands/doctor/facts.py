"""One fact about a machine, as text and as JSON."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A line of the report."""

    name: str
    text: str
    problem: str = ""
    """What is missing for a default sweep, and the way out; empty if nothing is."""
