"""EXPERIMENTS.md shows what its commands print of committed records, and cites nothing else."""

import re
from pathlib import Path

import pytest
from cogapp import Cog

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "EXPERIMENTS.md").read_text()
DOCS = [str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")]
RECORDED, MEASURED_BY_HAND = PAGE.split("\n# Measurements of speed\n")
PREAMBLE, *ENTRIES = re.split(r"^(?=## )", RECORDED, flags=re.MULTILINE)
TITLES = [entry.split("\n", 1)[0].removeprefix("## ") for entry in ENTRIES]

BLOCK = re.compile(
    r'<!-- \[\[\[cog show\("(?P<command>[^"]*)"\) \]\]\] -->\n'
    r"(?P<output>.*?)```sh\n.*?```\n<!-- \[\[\[end\]\]\] -->\n",
    re.DOTALL,
)
SETUP = re.compile(r"^Setup: .*?(?:\n\n|\Z)", re.MULTILINE | re.DOTALL)
NO_PROSE = re.compile(
    r"^## [^\n]*|<!--.*?-->|```.*?```|`[^`]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL
)
NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)"
CITED = re.compile(rf"(?<![\w.])(?:{NUMBER} \+- {NUMBER}|{NUMBER})")


def numbers(text: str) -> set[str]:
    """Intervals, and numbers outside them; not those that are part of a name, as V_1 and 8x8."""
    return {number.replace(",", "") for number in CITED.findall(" ".join(text.split()))}


def parts(cited: set[str]) -> set[str]:
    """The numbers, and the two numbers of each interval."""
    return cited | {part for number in cited for part in number.split(" +- ")}


def findings(entry: str) -> str:
    """The text of an entry without its tables, its paragraph about what was run, and code."""
    return NO_PROSE.sub(" ", SETUP.sub("", BLOCK.sub("\n\n", entry)))


@pytest.mark.parametrize("entry", ENTRIES, ids=TITLES)
def test_tables_are_what_their_commands_print(entry, monkeypatch):
    """`uv run just docs` updates them."""
    monkeypatch.chdir(ROOT)
    assert BLOCK.search(entry)
    assert Cog().process_string(PREAMBLE + entry) == PREAMBLE + entry


@pytest.mark.parametrize("entry", ENTRIES, ids=TITLES)
def test_numbers_in_sentences_are_in_the_tables(entry):
    printed = numbers(" ".join(block["output"] for block in BLOCK.finditer(entry)))
    cited = numbers(findings(entry))
    assert cited
    assert cited - parts(printed) == set()


def test_numbers_of_the_introduction_are_in_the_tables():
    printed = numbers(" ".join(block["output"] for block in BLOCK.finditer(RECORDED)))
    assert numbers(findings(PREAMBLE)) - parts(printed) == set()


@pytest.mark.parametrize("path", ["README.md", *sorted(DOCS)])
def test_intervals_in_the_documentation_are_in_the_tables(path):
    printed = numbers(" ".join(block["output"] for block in BLOCK.finditer(RECORDED)))
    cited = {number for number in numbers((ROOT / path).read_text()) if "+-" in number}
    assert cited - printed == set()
    assert cited or path not in ("README.md", "docs/guide.md")


def test_every_committed_run_is_in_a_table():
    commands = " ".join(block["command"] for block in BLOCK.finditer(RECORDED))
    runs = {path.parent for path in ROOT.glob("experiments/*/sweep.json")}
    shown = {path for word in commands.split() for path in ROOT.glob(word) if path in runs}
    assert shown == runs


def test_numbers_are_found_in_sentences():
    text = "V_4 of 8x8 rose by 1,000 (0.5 +- 0.25), from 2.\nThen -0.1\n+- 2e-3; `x=7`."
    entry = f"## 2026-01-01: title 3\n\nSetup: 4 and\n5.\n\n{text}\n\n![6](7.png)\n"
    assert numbers(findings(entry)) == {"6", "1000", "0.5 +- 0.25", "2", "-0.1 +- 2e-3"}
    assert parts({"0.5 +- 0.25"}) == {"0.5 +- 0.25", "0.5", "0.25"}


def test_other_entries_say_that_they_were_measured_by_hand():
    introduction, *entries = re.split(r"^## ", MEASURED_BY_HAND, flags=re.MULTILINE)
    assert "measured by hand" in introduction
    assert entries
    assert not BLOCK.search(MEASURED_BY_HAND)
