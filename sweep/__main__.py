"""The command `sweep`: presets, plan, run, status, evaluate and watch-spot.

sweep presets
sweep plan quickstart
sweep run quickstart --out runs/quickstart
sweep status runs/quickstart
sweep evaluate runs/quickstart --metrics.names precision recall
sweep watch-spot --cloud aws --address 10.0.0.1:6379
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal, Self

import tyro

from model.commands.command_line import Command, Program
from model.config import MetricsConfig
from model.errors import UsageError
from sweep.commands.request import find_sweep, requested_sweep
from sweep.config import LineageConfig, ResourcesConfig, SweepConfig
from sweep.presets import PRESETS, question


@dataclass(frozen=True, kw_only=True)
class SweepCommand(Command):
    """A command about a sweep that a preset or a file describes."""

    preset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET|FILE")]
    """Preset (`sweep presets` lists them), or .toml or .json file of settings; comes first."""
    store: str | None = None
    """Folder or bucket (s3://, gs://, az://) of models, shared by sweeps; none is --out."""
    axis: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=VALUE,VALUE,...")
    ] = ()
    """Sweep over values of a setting, as in pool.alpha=0.5,1,2; replaces the preset's axis."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """What a trial may use."""
    base: Annotated[LineageConfig, tyro.conf.arg(name="")] = field(default_factory=LineageConfig)
    """Settings of every lineage."""

    @classmethod
    def prepare(cls, args: Sequence[str]) -> tuple[list[str], Self | None]:
        """The words, and the settings of the preset or file that they begin with."""
        if not args or args[0] in ("-h", "--help"):
            return list(args), None
        if args[0].startswith("-"):
            raise UsageError(
                f"sweep {cls.__name__.lower()} needs a preset or a file first; "
                "`sweep presets` lists the presets"
            )
        found = find_sweep(args[0])
        required = {f.name: tyro.MISSING for f in fields(cls) if _is_required(f)}
        return list(args), cls(**required, base=found.base, resources=found.resources)

    def sweep(self) -> SweepConfig:
        """The sweep with this command's settings; raises UsageError."""
        return requested_sweep(self.preset, self.base, self.resources, self.axis)


def _is_required(option: Field) -> bool:
    return option.default is MISSING and option.default_factory is MISSING


@dataclass(frozen=True, kw_only=True)
class Run(SweepCommand):
    """Run a sweep, or what is missing of it: the same command again resumes.

    The settings of the preset or file are the options' defaults: `sweep run quickstart --help`
    shows those.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Results folder; an existing one is resumed or extended."""
    address: str | None = None
    """Address of a running Ray cluster (auto finds it); none starts Ray on this machine."""

    def run(self, args: Sequence[str]) -> int:
        """Compute what is missing, and print the table."""
        from sweep.commands.run import execute

        return execute(
            self.sweep(),
            self.out,
            store=self.store,
            address=self.address,
            command=shlex.join(["sweep", "run", *args]),
        )


@dataclass(frozen=True, kw_only=True)
class Plan(SweepCommand):
    """Say what a sweep would compute, and run nothing.

    The settings of the preset or file are the options' defaults: `sweep plan quickstart --help`
    shows those.
    """

    out: Path | None = None
    """Results folder it would run in, to see what is done already."""
    timings: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR ...")] = ()
    """Other results folders or stores whose finished models tell how long things take."""
    slots: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...")] = (1,)
    """Trials at once, for the time; several numbers give several rows."""
    prices: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Prices by device, as examples/prices.toml; losses of spot machines are not modelled."""

    def run(self, args: Sequence[str]) -> int:
        """Print the plan."""
        from sweep.commands.plan import print_plan

        print_plan(
            self.sweep(),
            out=self.out,
            store=self.store,
            timings=self.timings,
            slots=self.slots,
            prices=self.prices,
        )
        return 0


@dataclass(frozen=True, kw_only=True)
class Presets(Command):
    """List the presets, one line each: the name, and the question that the sweep answers."""

    def run(self, args: Sequence[str]) -> int:
        """Print the list."""
        width = max(map(len, PRESETS))
        for name in PRESETS:
            print(f"{name:{width}}  {question(name)}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Status(Command):
    """Say how far a sweep is, also while it runs: its lineages, and what is at work now.

    With --store alone, say how far each sweep is whose models are in that store.
    """

    directory: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = None
    """Results folder (--out of sweep run)."""
    store: str | None = None
    """The --store the sweep was run with."""
    watch: Annotated[float | None, tyro.conf.arg(metavar="[SECONDS]")] = None
    """Look again every so many seconds (2) until it has ended, and exit as sweep run does."""

    @classmethod
    def prepare(cls, args: Sequence[str]) -> tuple[list[str], Self | None]:
        """The words, with two seconds after a --watch that has none."""
        words: list[str] = []
        for word, after in zip(args, [*args[1:], ""], strict=False):
            alone = word == "--watch" and not after.replace(".", "", 1).isdigit()
            words += [word, "2"] if alone else [word]
        return words, None

    def run(self, args: Sequence[str]) -> int:
        """Print where the lineages are, once or again and again."""
        if self.directory is None:
            if self.store is None or self.watch is not None:
                raise UsageError(
                    "sweep status needs a results folder, or --store alone for all in it"
                )
            from sweep.status.known_sweeps import print_sweeps

            print_sweeps(self.store)
            return 0
        if self.watch is not None:
            from sweep.status.watching import watch

            return watch(self.directory, store=self.store, period=self.watch)
        from sweep.status.report import print_status

        print_status(self.directory, store=self.store)
        return 0


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Take further metrics of a run's finished models, or with another extractor; trains nothing.

    Models are measured in parallel. What a run measures already is not measured again; a later
    `sweep run` into the same folder measures its new models in the same ways.
    """

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Results folder (--out of sweep run)."""
    store: str | None = None
    """The --store the sweep was run with."""
    address: str | None = None
    """Address of a running Ray cluster (auto finds it); none starts Ray on this machine."""
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    """What is measured."""

    def run(self, args: Sequence[str]) -> int:
        """Measure, and print the table."""
        from sweep.commands.evaluate import evaluate

        return evaluate(
            self.directory,
            self.metrics,
            store=self.store,
            address=self.address,
            command=shlex.join(["sweep", "evaluate", *args]),
        )


@dataclass(frozen=True, kw_only=True)
class Stop(Command):
    """Stop a running sweep, also one on a cluster: as Ctrl-C does where it runs.

    Stops every run with this folder name and these settings, ignoring the grid.
    """

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Results folder (--out of sweep run), or a copy of it with the same name."""
    store: str | None = None
    """The --store the sweep was run with."""

    def run(self, args: Sequence[str]) -> int:
        """Ask whoever runs it to stop, and wait."""
        from sweep.status.drivers import stop

        return stop(self.directory, store=self.store)


@dataclass(frozen=True, kw_only=True)
class Clean(Command):
    """Delete what no lineage of a sweep needs: scratch of finished models and damaged files.

    A finished model is deleted only with --force, and only if no lineage names it. What a running
    sweep works on stays.
    """

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Results folder (--out of sweep run)."""
    store: str | None = None
    """The --store the sweep was run with."""
    checkpoints: bool = False
    """Delete the checkpoints of unfinished models too: their training will begin again."""
    force: bool = False
    """Delete models, samples and data that no lineage of the sweep names; not in a shared store."""
    dry_run: bool = False
    """Only say what would be deleted."""

    def run(self, args: Sequence[str]) -> int:
        """Delete, and print what was deleted."""
        from sweep.commands.clean import clean

        return clean(
            self.directory,
            store=self.store,
            checkpoints=self.checkpoints,
            force=self.force,
            dry_run=self.dry_run,
        )


@dataclass(frozen=True, kw_only=True)
class WatchSpot(Command):
    """Wait on a spot machine for its cloud's notice, then have Ray drain this machine as preempted.

    Ray then starts nothing more here, and a trial that is lost with the machine goes on elsewhere.
    Runs until there is a notice; the log goes to stderr.
    """

    cloud: Literal["aws", "gcp"]
    """The cloud whose metadata service is asked."""
    address: str
    """HOST:PORT of the head of the Ray cluster that this machine belongs to."""

    def run(self, args: Sequence[str]) -> int:
        """Wait for a notice."""
        from sweep.tune.spot import watch_here

        watch_here(self.cloud, self.address)
        return 0


PROGRAM = Program(
    name="sweep",
    description="Sweeps of self-consuming generative models: one trial is one whole lineage.",
    commands={
        "presets": Presets,
        "plan": Plan,
        "run": Run,
        "status": Status,
        "evaluate": Evaluate,
        "stop": Stop,
        "clean": Clean,
        "watch-spot": WatchSpot,
    },
)


def main() -> None:
    """Entry point of the console command."""
    sys.exit(PROGRAM.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
