"""Facts of the memory of a process that computes."""

import os
import subprocess
import sys

import pytest
import torch
from tiny_sweep import make_sweep, plan_in

from model.commands.process import keep_freed_memory
from sweep.store.store import open_store

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


@pytest.mark.ray
def test_a_trial_prepares_its_process_before_it_computes(tmp_path, monkeypatch):
    """Trials that forget it are a third slower, and use the threads of other trials."""
    from sweep.tune.trial import TrialJob, lineage_generations

    store, threads = open_store(tmp_path), torch.get_num_threads()
    (lineage,) = plan_in(make_sweep(), store)
    job = TrialJob(
        store=store,
        lineages={"one": (lineage.config, lineage.card)},
        evaluations=(),
        device="cpu",
        images_on="auto",
        num_threads=threads + 1,
        checkpoint_seconds=60,
    )
    found = []
    monkeypatch.setattr(
        "model.commands.process.keep_freed_memory",
        lambda: found.append((torch.get_num_threads(), list(tmp_path.glob("generations/*")))),
    )
    try:
        next(lineage_generations("one", job))
    finally:
        torch.set_num_threads(threads)

    assert found == [(threads + 1, [])]
