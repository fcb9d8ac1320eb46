"""The reference of the commands names each of them; .ci/run compares its text with --help."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import PROGRAM as ANALYSIS
from model.__main__ import PROGRAM as MODEL
from sweep.__main__ import PROGRAM as SWEEP

PAGE = (Path(__file__).parents[1] / "docs" / "cli.md").read_text()
PROGRAMS = {program.name: program.commands for program in (SWEEP, ANALYSIS, MODEL)}
COMMANDS = [*PROGRAMS, *(f"{p} {name}" for p, commands in PROGRAMS.items() for name in commands)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help_in_the_reference(command):
    """A heading, and below it a block that cog fills with the command's usage."""
    block = re.escape(f'<!-- [[[cog show("{command}") ]]] -->\n```text\nusage: {command} ')
    assert re.search(rf"^##+ {command}$(?:(?!\n#).)*?{block}", PAGE, re.MULTILINE | re.DOTALL)


def test_the_reference_has_no_command_that_is_none():
    assert re.findall(r'cog show\("(.*)"\)', PAGE) == [
        words for p in PROGRAMS for words in COMMANDS if words.split()[0] == p
    ]


def test_the_reference_names_nothing_of_the_machine_that_made_it():
    """A default that is a path of one user would fail the comparison of every other."""
    assert not re.search(r"/(home|root|Users|tmp|work)/|~/", PAGE)


def test_no_help_imports_what_computes():
    """So that it answers at once: not even numpy, or the packages that plan and store."""
    code = """
import sys
from analysis.__main__ import PROGRAM as ANALYSIS
from model.__main__ import PROGRAM as MODEL
from sweep.__main__ import PROGRAM as SWEEP
for program in (ANALYSIS, MODEL, SWEEP):
    for words in ([], *([name] for name in program.commands)):
        assert program.run([*words, "--help"]) == 0
for name in ("plan", "run"):
    assert SWEEP.run([name, "quickstart", "--help"]) == 0
computing = "numpy scipy pandas sklearn PIL matplotlib torch ray obstore sweep.store"
parsing = "msgspec sweep.planning.nodes tomllib"
print([name for name in f"{computing} {parsing}".split() if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
