"""How a case ended, in one word."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from fuzz_case import Case

GOOD = ("ok", "refused", "missing")
BAD = ("TRACEBACK", "HANG", "CRASH", "NONSENSE", "CHANGED", "REFUSED", "MESSAGE")
REACHED_RAY = 77
ECHO = 200
"""Maximum number of characters of an input that a message repeats."""


def judge(case: Case, outcome: Mapping[str, Any]) -> str:
    """One of GOOD or BAD.

    TRACEBACK  a traceback, or exit code 70, which is a bug of ours
    HANG       still running after 20 seconds
    CRASH      ended by a signal, or without memory
    CHANGED    a command that only reads has changed the folder
    NONSENSE   accepted, although the type or a rule forbids it; or not seen by a check
    REFUSED    refused, although it is valid
    MESSAGE    a refusal that is not one line (or one box), repeats more than ECHO characters of the
               input, or names neither field nor file
    """
    code, said = outcome["code"], outcome["stderr"]
    if outcome["hung"]:
        return "HANG"
    if code is None or "MemoryError" in said:
        return "CRASH"
    if "Traceback" in said or code in (70, 120) or "Traceback" in outcome["stdout"]:
        return "TRACEBACK"
    if outcome["changed"]:
        return "CHANGED"
    accepted = code in (0, REACHED_RAY)
    if accepted and case.rule in ("refuse", "not ok"):
        return "NONSENSE"
    if case.rule == "refuse" and code != 2:
        return "NONSENSE"
    if case.rule == "accept" and not accepted:
        return "REFUSED"
    if code == 2:
        return "refused" if is_plain(case, said) else "MESSAGE"
    return "ok" if accepted else "missing" if code == 1 else "TRACEBACK"


def is_plain(case: Case, said: str) -> bool:
    """Whether a refusal is one line or one box that names what is wrong."""
    lines = [line for line in said.splitlines() if not re.match(r"(warning|note): ", line)]
    errors = [line for line in lines if line.startswith("error: ")]
    box = any(line.startswith("\u256d") for line in lines)
    runs = case.command in ("sweep run", "sweep evaluate")  # which print progress before an error
    if len(errors) + box != 1 or (errors and len(lines) != 1 and not runs):
        return False
    flat = re.sub(r"[\s\u2500-\u257f]", "", said)
    if any(re.sub(r"\s", "", text[: ECHO + 60]) in flat for text in case.inputs):
        return False
    names = [re.sub(r"\s", "", name) for name in case.names if case.rule == "refuse"]
    return not names or any(name in flat for name in names)


def table(results: Iterable[tuple[Case, str]]) -> str:
    """Counts by command and kind of result."""
    counts: dict[str, Counter[str]] = {}
    for case, word in results:
        counts.setdefault(case.command, Counter())[word] += 1
    columns = [word for word in (*GOOD, *BAD) if any(c[word] for c in counts.values())]
    width = max(map(len, counts), default=0)
    lines = [f"{'command':{width}}  cases  " + "  ".join(columns)]
    for command, count in sorted(counts.items()):
        numbers = "  ".join(f"{count[word]:>{len(word)}}" for word in columns)
        lines.append(f"{command:{width}}  {sum(count.values()):>5}  {numbers}")
    total: Counter[str] = sum(counts.values(), Counter())
    numbers = "  ".join(f"{total[word]:>{len(word)}}" for word in columns)
    lines.append(f"{'all':{width}}  {sum(total.values()):>5}  {numbers}")
    return "\n".join(lines)
