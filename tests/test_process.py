"""Facts of the memory of a process that computes."""

import os
import subprocess
import sys

import pytest

from model.commands.process import keep_freed_memory

HAS_GLIBC = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
STEPS = """
import resource
from model.commands.process import keep_freed_memory

def count_faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        arrays = [b"x" * size for size in (2**26, 2**20, 2**26)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(count_faults(4))
keep_freed_memory()
count_faults(1)
print(count_faults(4))
"""
"""Prints the page faults of four steps with arrays of 64 and 1 MiB, as glibc is and prepared."""


@pytest.mark.skipif(not HAS_GLIBC, reason="other allocators are left as they are")
def test_a_step_uses_the_memory_of_the_last_one_again():
    """Otherwise the kernel clears all pages of large arrays in every step."""
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    usual, prepared = map(int, done.stdout.split())

    assert usual >= 4 * 2 * 2**26 // os.sysconf("SC_PAGE_SIZE")
    assert prepared < usual / 100


def test_a_system_without_mallopt_is_left_as_it_is(monkeypatch):
    """There is no such function on macOS."""
    monkeypatch.setattr(sys, "platform", "darwin")
    keep_freed_memory()
