"""Collects all facts about a machine, and prints them as text or JSON."""

import json
from pathlib import Path

from model.commands.command_line import MISSING
from model.commands.output import wrapped
from sweep.commands.doctor import machine, places
from sweep.commands.doctor.facts import Fact
from sweep.commands.doctor.speed import Speed, measure
from sweep.store.store import open_store

PRESETS = ("quickstart", "paper")
"""Presets whose networks are timed."""
INDENT = 12
"""Columns of a fact's name."""


def doctor(*, out: Path | None, store: str | None, skip_training: bool, as_json: bool) -> int:
    """Print what is known about this machine; returns 1 if a default sweep cannot run, else 0.

    Raises:
        UsageError: The store is neither a folder nor the URL of a bucket.
    """
    opened = None if store is None else open_store(store)
    facts = [
        machine.python_fact(),
        machine.packages_fact(),
        machine.gpu_fact(),
        machine.cpu_fact(),
        machine.memory_fact(),
        machine.ray_fact(),
        *places.place_facts(out, opened),
        places.weights_fact(),
    ]
    speeds = [] if skip_training else [measure(preset) for preset in PRESETS]
    problems = [fact.problem for fact in facts if fact.problem]
    if as_json:
        print(json.dumps(facts_json(facts, speeds, problems), indent=1, allow_nan=False))
    else:
        shown = [each.fact() if isinstance(each, Speed) else each for each in speeds]
        for fact in [*facts, *shown]:
            print("\n".join(fact_lines(fact)))
        print()
        words = f"{len(problems)} of the lines above say{'s' if len(problems) == 1 else ''} why"
        print(
            "A default sweep can run here."
            if not problems
            else f"No default sweep can run here: {words}."
        )
    return MISSING if problems else 0


def fact_lines(fact: Fact) -> list[str]:
    """The lines of a fact, and of its problem."""
    lines = wrapped(f"{fact.name:{INDENT}}{fact.text}", indent=INDENT)
    if fact.problem:
        lines += wrapped(f"{'':{INDENT}}MISSING: {fact.problem}", indent=INDENT)
    return lines


def facts_json(facts: list[Fact], speeds: list[Speed | Fact], problems: list[str]) -> dict:
    """The facts and speeds for programs."""
    device, threads, count = machine.trials_at_once()
    measured = [each for each in speeds if isinstance(each, Speed)]
    others = [each for each in speeds if isinstance(each, Fact)]
    return {
        "can_run": not problems,
        "problems": problems,
        "device": device,
        "threads_per_trial": threads,
        "trials_at_once": count,
        "facts": [
            {"name": each.name, "text": each.text, "problem": each.problem or None}
            for each in [*facts, *others]
        ],
        "speeds": [each.to_json() for each in measured],
    }
