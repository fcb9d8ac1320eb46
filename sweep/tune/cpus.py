"""How many CPUs this process may use.

A batch system or a container grants a process a part of the machine. Neither os.cpu_count() nor Ray
notices an affinity mask, or a quota of a control group below the root's.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows control groups."""
OWN_GROUPS = Path("/proc/self/cgroup")
"""Lists this process's groups: number, controllers and path of each, with colons in between."""


def usable_cpus() -> int:
    """Return the size of the affinity mask, or the control groups' quota if that is smaller."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:  # macOS has no masks
        count = os.cpu_count() or 1
    with suppress(OSError):
        count = min([count, *map(math.floor, quotas(OWN_GROUPS.read_text(), CGROUPS))])
    return max(1, count)


def quotas(own_groups: str, mounted: Path) -> Iterator[float]:
    """Yield the CPUs that each control group of a process grants, its parents included.

    Args:
        own_groups: Content of /proc/self/cgroup.
        mounted: Folder of all groups; it shows parts of them only in some containers.
    """
    for line in own_groups.splitlines():
        _, controllers, path = line.split(":", 2)
        roots = [mounted / controllers]
        if not controllers:  # version 2, which may be mounted beside version 1
            roots = [mounted, mounted / "unified"]
        elif "cpu" not in controllers.split(","):
            continue
        for root in roots:
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root):
                    yield from _quota(folder)


def _quota(group: Path) -> Iterator[float]:
    """Yield the quota of one group, in either version's files, if it has one."""
    with suppress(OSError):
        quota, period = (group / "cpu.max").read_text().split()
        if quota != "max":
            yield int(quota) / int(period)
    with suppress(OSError):
        quota = int((group / "cpu.cfs_quota_us").read_text())
        if quota > 0:  # -1 stands for none
            yield quota / int((group / "cpu.cfs_period_us").read_text())
