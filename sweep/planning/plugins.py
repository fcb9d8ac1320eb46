"""What plug-ins of a sweep may add."""

from collections.abc import Iterable

from model.commands import plugins
from model.commands.plugins import Plugin, install_plugins

TABLES: plugins.Tables = {
    **plugins.TABLES,
    "POOL_RULES": "sweep.planning.rules",
    "PRESETS": "sweep.presets.table",
}
"""The dicts of this project that plug-ins can extend."""


def install(sent: Iterable[Plugin]) -> None:
    """Load the plug-ins that a sweep's driver has sent to this process."""
    install_plugins(sent, TABLES)
