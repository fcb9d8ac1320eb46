"""The commands on the results folder of a sweep: status, evaluate, stop and clean."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import tyro

from model.commands.command_line import Command, PluginCommand
from model.commands.output import set_verbosity
from model.config import MetricsConfig
from model.errors import UsageError
from sweep.planning.plugins import TABLES


@dataclass(frozen=True, kw_only=True)
class PlanningCommand(PluginCommand):
    """A command that plans a sweep, and so needs the plug-ins that its settings name."""

    TABLES: ClassVar = TABLES


@dataclass(frozen=True, kw_only=True)
class TalkingCommand(Command):
    """A command that prints its progress."""

    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(aliases=["-q"])] = False
    """Print only warnings, errors and the final table."""
    verbose: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(aliases=["-v"])] = False
    """Also print the store, the extractors, Ray's logs, and each finished model that is reused."""

    def set_verbosity(self) -> None:
        """Make these options hold for this process; raises UsageError if both are given."""
        if self.quiet and self.verbose:
            raise UsageError("--quiet must not be used with --verbose, got both; use one of them")
        set_verbosity(quiet=self.quiet, verbose=self.verbose)


@dataclass(frozen=True, kw_only=True)
class FolderCommand(Command):
    """A command on a results folder."""

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Results folder (--out of sweep run)."""
    store: str | None = None
    """Store of the run, if it is not the one that DIR/sweep.json names."""


@dataclass(frozen=True, kw_only=True)
class Status(Command):
    """Show the progress of a sweep, also while it runs: its lineages and its running trials.

    With --store and no results folder, show the progress of every sweep in that store.
    """

    directory: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = None
    """Results folder (--out of sweep run)."""
    store: str | None = None
    """Store of the run, if it is not the one that DIR/sweep.json names."""
    watch: Annotated[float | None, tyro.conf.arg(metavar="[SECONDS]")] = None
    """Refresh every SECONDS (default 2) until the sweep ends; the exit code is sweep run's."""
    format: Literal["text", "json"] = "text"
    """Text, or one JSON object for programs."""

    @classmethod
    def prepare(cls, args: Sequence[str]) -> tuple[list[str], Self | None]:
        """Return the arguments, with the default of two seconds after a bare --watch."""
        words: list[str] = []
        for word, after in zip(args, [*args[1:], ""], strict=False):
            is_bare = word == "--watch" and not after.replace(".", "", 1).isdigit()
            words += [word, "2"] if is_bare else [word]
        return words, None

    def run(self, args: Sequence[str]) -> int:
        """Print the progress, once or repeatedly."""
        if self.format == "json" and (self.directory is None or self.watch is not None):
            raise UsageError(
                "--format json must be used with a results folder and without --watch, got another "
                "use; repeat the command to follow a sweep"
            )
        if self.directory is None:
            if self.store is None or self.watch is not None:
                raise UsageError(
                    "sweep status needs a results folder, or only --store to show every sweep in it"
                )
            from sweep.status.known_sweeps import print_sweeps

            print_sweeps(self.store)
            return 0
        if self.watch is not None:
            from sweep.status.display import watch

            return watch(self.directory, store=self.store, period=self.watch)
        from sweep.status.report import print_status

        print_status(self.directory, store=self.store, as_json=self.format == "json")
        return 0


@dataclass(frozen=True, kw_only=True)
class Evaluate(FolderCommand, TalkingCommand, PlanningCommand):
    """Measure finished models with more metrics or another extractor. Trains nothing.

    Models are measured in parallel, and existing measurements are kept. A later `sweep run` into
    the same folder takes the added metrics of its new models too.
    """

    address: str | None = None
    """Address of a running Ray cluster (auto finds it); none starts Ray on this machine."""
    remove: bool = False
    """Take these metrics out of the sweep again; their numbers stay in the store."""
    floors: bool = False
    """Measure only missing floors (real training images), which needs the data set and no model."""
    allow_world_writable: bool = False
    """Use a store, results folder or cache that every user of the machine can write to."""
    accept_changed_plugins: bool = False
    """Use results of other code of a plug-in, whose version is still the same."""
    allow_command: bool = False
    """Run the programs that sample.command names (family command)."""
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    """Metrics to take."""

    def run(self, args: Sequence[str]) -> int:
        """Measure the models and print the table."""
        self.set_verbosity()
        from model.programs.permission import allow_commands, unallowed
        from sweep.commands.evaluate import evaluate, remove
        from sweep.commands.floors import evaluate_floors

        if self.floors:
            return evaluate_floors(self.directory, store=self.store)
        if self.remove:
            command = shlex.join(["sweep", "evaluate", *args])
            return remove(self.directory, self.metrics, store=self.store, command=command)
        allow_commands(self.allow_command)
        return evaluate(
            self.directory,
            self.metrics,
            store=self.store,
            address=self.address,
            allow_world_writable=self.allow_world_writable,
            accept_changed_plugins=self.accept_changed_plugins,
            command=shlex.join(["sweep", "evaluate", *unallowed(args)]),
        )


@dataclass(frozen=True, kw_only=True)
class Stop(FolderCommand):
    """Stop a running sweep, like Ctrl-C in its terminal. Also works for a sweep on a cluster.

    Stops every run with this folder name and these settings, ignoring the grid, so that DIR may
    also be a copy of the folder with the same name.
    """

    def run(self, args: Sequence[str]) -> int:
        """Ask the processes that run the sweep to stop, and wait for them."""
        from sweep.status.drivers import stop

        return stop(self.directory, store=self.store)


@dataclass(frozen=True, kw_only=True)
class Clean(FolderCommand, PlanningCommand):
    """Delete what no lineage of a sweep needs: scratch of finished models and damaged files.

    A finished model is deleted only with --force, and only if no lineage refers to it. Files in use
    by a running sweep are kept, and so is any file whose path does not have a form of our own.
    """

    checkpoints: bool = False
    """Also delete the checkpoints of unfinished models, whose training then starts over."""
    force: bool = False
    """Also delete models, samples and data that no lineage refers to; not in a shared store."""
    dry_run: bool = False
    """Only print what would be deleted."""

    def run(self, args: Sequence[str]) -> int:
        """Delete the files and print a summary."""
        from sweep.commands.clean import clean

        return clean(
            self.directory,
            store=self.store,
            checkpoints=self.checkpoints,
            force=self.force,
            dry_run=self.dry_run,
        )
