"""Settings of a process that trains, samples or measures: torch's threads, and freed memory."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Settings of glibc's mallopt, from malloc.h."""


def prepare_process(device: str, threads: int) -> None:
    """Set the number of torch's threads and, on a CPU, keep freed memory."""
    import torch

    torch.set_num_threads(threads)
    if device == "cpu":
        keep_freed_memory()


def keep_freed_memory() -> None:
    """Keep memory that the main thread frees, instead of returning it to the system.

    Each step frees and allocates the same large arrays. By default, glibc maps those above 32 MiB
    anew each time and shrinks the heap if its end is free, and the kernel clears every page again
    at its first use. Other allocators (musl's, macOS's) are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
