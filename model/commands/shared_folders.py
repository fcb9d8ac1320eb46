"""Which other users of a machine can change a folder, and so the results in it.

Nothing in a store or results folder is ever run, so other users could change numbers, not run code.
Every folder above counts too, because whoever can rename one can put another in its place.
"""

import grp
import os
import pwd
import stat
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from model.errors import UsageError

EVERYONE = "every user of this machine"


@dataclass(frozen=True, kw_only=True, slots=True)
class Writer:
    """Somebody else who can change what is below a path."""

    name: str
    path: Path
    """The file or folder that lets them."""
    mode: int
    """Its permissions."""


def check_shared(places: Mapping[str, Iterable[Path]], *, allow_everyone: bool = False) -> None:
    """Warn of files and folders that other users can change.

    A folder that a group shares on purpose is legitimate, so it is only warned of.

    Args:
        places: Files and folders by the option that names them; they need not exist.
        allow_everyone: Only warn of what every user of the machine can change.

    Raises:
        UsageError: Every user of the machine can change one of them.
    """
    for option, paths in places.items():
        writers = {each.name: each for path in paths for each in other_writers(path)}
        everyone = writers.get(EVERYONE)
        if everyone is not None and not allow_everyone:
            raise UsageError(
                f"{option} must not be in a folder that {EVERYONE} can write to, got "
                f"{everyone.path} (mode {everyone.mode:04o}); chmod o-w {everyone.path}, or pass "
                "--allow-world-writable"
            )
        if writers:
            listed = ", ".join(f"{name} (through {each.path})" for name, each in writers.items())
            warnings.warn(
                f"{option} can be changed by {listed}, and so can the results in it; "
                "docs/security.md explains this",
                stacklevel=2,
            )


def other_writers(path: Path) -> Iterator[Writer]:
    """Yield who else can change a file or folder, or one that will be made at this path."""
    path = path.expanduser().absolute()
    for each in dict.fromkeys((path, Path(os.path.realpath(path)))):
        existing = [place for place in (each, *each.parents) if os.path.lexists(place)]
        for place in existing:
            yield from _writers_of(place, is_target=place == each)


def _writers_of(path: Path, *, is_target: bool) -> Iterator[Writer]:
    """Yield who else can change one file or folder, or rename what is in it.

    In a folder with the sticky bit, like /tmp, others can add files but not rename ours, so it
    matters only if it is the folder in which results are looked for.
    """
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    # Root, and the owner of / in a namespace without root, can change everything anyway.
    if status.st_uid not in (os.getuid(), 0, Path("/").stat().st_uid):
        yield Writer(name=f"user {_user_name(status.st_uid)}", path=path, mode=mode)
    if stat.S_ISLNK(status.st_mode) or (mode & stat.S_ISVTX and not is_target):
        return
    if mode & stat.S_IWOTH:
        yield Writer(name=EVERYONE, path=path, mode=mode)
    elif mode & stat.S_IWGRP and not _is_own_group(status.st_gid):
        yield Writer(name=f"group {_group_name(status.st_gid)}", path=path, mode=mode)


def _is_own_group(gid: int) -> bool:
    """Whether a group has no other members: that of root, or the one named after the user."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return group.gr_name in (user.pw_name, "root") and set(group.gr_mem) <= {user.pw_name, "root"}


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
