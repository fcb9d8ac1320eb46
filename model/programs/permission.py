"""Whether the user lets this process run programs that settings name; given on each command line.

No file records the permission, so that settings of a stranger run nothing.
"""

from collections.abc import Sequence

from model.errors import UsageError, shown

OPTION = "--allow-command"
_given: set[str] = set()


def allow_commands(allowed: bool) -> None:
    """Say whether this process may run programs that settings name."""
    _given.clear()
    _given.update({OPTION} if allowed else ())


def commands_allowed() -> bool:
    """Whether this process may run programs that settings name."""
    return OPTION in _given


def check_allowed(setting: str, command: str) -> None:
    """Raise UsageError unless this process may run programs that settings name."""
    if not commands_allowed():
        raise UsageError(
            f"{OPTION} must be given to run the program of {setting}, {shown(command)}; read the "
            "command line and the program first if they are not yours"
        )


def unallowed(args: Sequence[str]) -> list[str]:
    """The arguments of a command without the permission."""
    return [word for word in args if word.replace("_", "-") != OPTION]
