"""Options that several commands of `analysis` have."""

from pathlib import Path
from typing import Annotated

import tyro

Dirs = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR...")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")]
Settings = Annotated[tuple[str, ...], tyro.conf.arg(metavar="AXIS=VALUE...")]
Steps = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    tyro.conf.arg(metavar="NAME:AXIS=VALUE,AXIS=VALUE,..."),
]
File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
Width = Annotated[str, tyro.conf.arg(metavar="column|page|INCHES")]
