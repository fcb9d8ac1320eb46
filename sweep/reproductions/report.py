"""The list of capsules, and a reproduction as a table or as JSON."""

import json
import math
import sys
from dataclasses import asdict

from model.commands.command_line import MISSING
from model.commands.output import wrapped
from sweep.files import Json
from sweep.reproductions.capsules import CAPSULES, Capsule, capsule_of
from sweep.reproductions.rows import FALSE_ALARMS, Reproduction, Row

COLUMNS = ("quantity", "source", "expected", "ours", "z", "verdict")


def list_capsules(*, as_json: bool) -> str:
    """All capsules: a line each, or JSON."""
    if as_json:
        return json.dumps([described(name) for name in CAPSULES], indent=1)
    width = max(map(len, CAPSULES))
    return "\n".join(f"{name:{width}}  {capsule.title}" for name, capsule in CAPSULES.items())


def reproduce(name: str, *, as_json: bool) -> tuple[str, int]:
    """Run a capsule; returns its report, and the exit code of the command."""
    capsule = capsule_of(name)
    sys.stderr.write(f"{name}: running, which takes up to a minute\n")
    result = capsule.reproduce()
    code = MISSING if result.verdict == "fail" else 0
    if as_json:
        return json.dumps(report_json(name, result), indent=1, allow_nan=False), code
    return report_text(capsule, result), code


def report_text(capsule: Capsule, result: Reproduction) -> str:
    """What was published, what was run, and a table of both."""
    from tabulate import tabulate

    compared = [row for row in result.rows if row.z is not None]
    table = tabulate(
        [cells(row, result) for row in compared],
        COLUMNS,
        disable_numparse=True,
        colalign=("left", "left", "right", "right", "right", "left"),
    )
    others = [
        line
        for row in result.rows
        if row.z is None
        for line in wrapped(f"- not comparable: {row.what}: {row.reason}", indent=2)
    ]
    limit = f"{result.limit:.2f}"
    rule = (
        f"A row passes if |z| is at most {limit}: if all expected numbers are true, all "
        f"{len(compared)} rows pass with a probability of at least {1 - FALSE_ALARMS:.0%}. A lower "
        f"bound (>=) fails below -{limit}. Numbers after +- are standard errors. A reproduction "
        "passes by rows from the paper or from its authors' records; derived rows are our own and "
        "can only let it fail."
    )
    lines = [capsule.title, capsule.source, "", *wrapped(capsule.setting), *wrapped(rule), ""]
    return "\n".join([*lines, table, "", *others, *([""] if others else []), result.verdict])


def cells(row: Row, result: Reproduction) -> list[str]:
    """The cells of a row that is compared."""
    assert row.z is not None
    return [
        row.what,
        row.source,
        with_error(row.expected, row.expected_error),
        with_error(row.ours, row.ours_error),
        f"{row.z:.2f}",
        result.verdict_of(row),
    ]


def with_error(number: float | None, error: float) -> str:
    """A number with its standard error, if it has one, to two digits of it."""
    if number is None:
        return ""
    if not error > 0:
        return f"{number:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{number:.{digits}f} +- {error:.{digits}f}"


def report_json(name: str, result: Reproduction) -> Json:
    """A reproduction for programs."""
    rows = [row_json(row) | {"verdict": result.verdict_of(row)} for row in result.rows]
    return described(name) | {"verdict": result.verdict, "limit": result.limit, "rows": rows}


def row_json(row: Row) -> Json:
    """A row, in which numbers that are not finite are None."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(row).items()
    }


def described(name: str) -> Json:
    """What a capsule is, for programs."""
    capsule = CAPSULES[name]
    return {
        "name": name,
        "title": capsule.title,
        "source": capsule.source,
        "setting": capsule.setting,
    }
