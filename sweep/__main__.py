"""The command `sweep`: presets, data, plan, run, reproduce and others.

sweep presets
sweep data my-images --sheet sheet.png
sweep plan quickstart
sweep run quickstart --out runs/quickstart
sweep status runs/quickstart
sweep evaluate runs/quickstart --metrics.names precision recall
sweep reproduce kazdan-2024
sweep watch-spot --cloud aws --address 10.0.0.1:6379
"""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import tyro

from model.commands.command_line import Command, Program
from model.config import DataConfig
from model.errors import UsageError
from sweep.commands.on_folders import (
    Clean,
    Evaluate,
    PlanningCommand,
    Status,
    Stop,
    TalkingCommand,
)
from sweep.commands.request import check_axis_words, find_sweep, requested_sweep
from sweep.config import LineageConfig, ResourcesConfig, SweepConfig


@dataclass(frozen=True, kw_only=True)
class SweepCommand(PlanningCommand):
    """A command that takes a sweep from a preset or a file."""

    FIRST: ClassVar = ("preset", "out", "axis", "base")

    preset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET|FILE")]
    """Preset (see `sweep presets`), or a .toml or .json file of settings. Must come first."""
    store: str | None = None
    """Folder or bucket (s3://, gs://, az://) of models; default: that of earlier runs, or --out."""
    axis: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=VALUE,VALUE,...")
    ] = ()
    """Sweep over values of a setting, e.g. pool.alpha=0.5,1,2. Replaces the preset's axis."""
    base: Annotated[LineageConfig, tyro.conf.arg(name="")] = field(default_factory=LineageConfig)
    """Settings of every lineage."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """Resources that a trial may use."""

    @classmethod
    def prepare(cls, args: Sequence[str]) -> tuple[list[str], Self | None]:
        """Return the arguments, and defaults from the preset or file that comes first."""
        if not args or args[0] in ("-h", "--help"):
            return list(args), None
        if args[0].startswith("-"):
            raise UsageError(
                f"sweep {cls.__name__.lower()} needs a preset or a file first; "
                "`sweep presets` lists the presets"
            )
        check_axis_words(args)
        super().prepare(args)
        preset = find_sweep(args[0])
        required = {f.name: tyro.MISSING for f in fields(cls) if _is_required(f)}
        return list(args), cls(**required, base=preset.base, resources=preset.resources)

    def sweep(self) -> SweepConfig:
        """Return the sweep with this command's settings; raises UsageError."""
        return requested_sweep(self.preset, self.base, self.resources, self.axis)


def _is_required(option: Field) -> bool:
    return option.default is MISSING and option.default_factory is MISSING


@dataclass(frozen=True, kw_only=True)
class Run(TalkingCommand, SweepCommand):
    """Run a sweep, or resume it: models that are already finished are not trained again.

    The settings of the preset or file become the defaults of the options, which
    `sweep run quickstart --help` shows.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Results folder. An existing one is resumed or extended."""
    address: str | None = None
    """Address of a running Ray cluster (auto finds it); none starts Ray on this machine."""
    fail_fast: bool = False
    """End the run when a lineage fails, instead of going on with the others."""
    log: Annotated[tuple[Literal["csv", "wandb"], ...], tyro.conf.arg(metavar="csv|wandb...")] = ()
    """Also write the numbers of each generation to csv files, or to Weights & Biases."""
    allow_world_writable: bool = False
    """Use a store, results folder or cache that every user of the machine can write to."""
    require_same_environment: bool = False
    """Refuse to mix results of different versions, devices or numbers of threads."""
    accept_changed_plugins: bool = False
    """Use results of other code of a plug-in, whose version is still the same."""
    allow_command: bool = False
    """Run the programs that train.command and sample.command name (family command)."""

    def run(self, args: Sequence[str]) -> int:
        """Compute what is missing and print the table."""
        self.set_verbosity()
        from model.programs.permission import allow_commands, unallowed
        from sweep.commands.run import execute

        allow_commands(self.allow_command)
        return execute(
            self.sweep(),
            self.out,
            store=self.store,
            address=self.address,
            allow_world_writable=self.allow_world_writable,
            same_environment=self.require_same_environment,
            accept_changed_plugins=self.accept_changed_plugins,
            fail_fast=self.fail_fast,
            log=self.log,
            command=shlex.join(["sweep", "run", *unallowed(args)]),
        )


@dataclass(frozen=True, kw_only=True)
class Plan(SweepCommand):
    """Show what a sweep would compute, without running it.

    The settings of the preset or file become the defaults of the options, which
    `sweep plan quickstart --help` shows.
    """

    out: Path | None = None
    """Results folder of the sweep, to see what is already done."""
    timings: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR ...")] = ()
    """Other results folders or stores, whose finished models are used to estimate times."""
    slots: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...")] = (1,)
    """Number of parallel trials to estimate the time for; one row per number."""
    prices: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Prices by device, e.g. examples/prices.toml. Lost spot machines are not modelled."""
    forecast: bool = False
    """Also forecast the variance of each generation from the data and the sampler alone."""
    format: Literal["text", "json"] = "text"
    """Text, or one JSON object for programs."""

    def run(self, args: Sequence[str]) -> int:
        """Print the plan."""
        from sweep.commands.plan import look_ahead

        outlook = look_ahead(
            self.sweep(),
            out=self.out,
            store=self.store,
            timings=self.timings,
            slots=self.slots,
            prices=self.prices,
            with_forecast=self.forecast,
        )
        if self.format == "json":
            print(json.dumps(outlook.to_json(), indent=1, allow_nan=False))
        else:
            outlook.print()
        return 0


@dataclass(frozen=True, kw_only=True)
class Preregister(SweepCommand):
    """Write down what a sweep is expected to show, before any of the models concerned exists.

    The hypothesis is about the mean difference of a metric between two settings with the same
    seeds. `analysis verdict` says later whether it is supported, refuted or undecided.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Results folder in which the sweep will run."""
    name: str
    """Name of the hypothesis."""
    hypothesis: Annotated[str, tyro.conf.arg(metavar="TEXT")]
    """The hypothesis in your words."""
    contrast: Annotated[tuple[str, ...], tyro.conf.arg(metavar="AXIS=VALUE...")]
    """The setting, e.g. pool.alpha=2."""
    against: Annotated[tuple[str, ...], tyro.conf.arg(metavar="V1|AXIS=VALUE...")]
    """Its control: V1 of the same lineage, or a setting that differs in these values only."""
    expected: Literal["greater", "smaller", "equal"]
    """Of setting minus control: above the margin, below minus the margin, or between the two."""
    generation: int
    """Generation that is compared."""
    metric: str = "kid"
    """Metric of the sweep, without extractor."""
    margin: float = 0.0
    """Smallest difference that matters, in units of the metric."""
    confidence: float = 0.95
    """Coverage of the interval that decides."""
    post_hoc: bool = False
    """Accept models that exist already, and mark the hypothesis as made after them."""

    def run(self, args: Sequence[str]) -> int:
        """Write the hypothesis."""
        from sweep.commands.preregister import Claim, preregister

        claim = Claim(
            name=self.name,
            text=self.hypothesis,
            metric=self.metric,
            contrast=self.contrast,
            against=self.against,
            generation=self.generation,
            expected=self.expected,
            margin=self.margin,
            confidence=self.confidence,
        )
        record = preregister(
            self.sweep(), self.out, claim, store=self.store, post_hoc=self.post_hoc
        )
        after = ", after some of its models" if record.post_hoc else ""
        print(f"{record.name}: {len(record.pairs)} pairs, written {record.written}{after}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Presets(PlanningCommand):
    """List the presets and the question that each one answers, or print one as a TOML file."""

    preset: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET|FILE")] = None
    """Preset, or a sweep's file, to print with its settings: redirect it to a file, and edit it."""

    def run(self, args: Sequence[str]) -> int:
        """Print the list, or the settings."""
        from sweep.commands.presets import list_presets, sweep_toml

        print(sweep_toml(find_sweep(self.preset)) if self.preset else list_presets(), end="")
        return 0


@dataclass(frozen=True, kw_only=True)
class Data(PlanningCommand):
    """Show what a run would read of a folder, a file or a known data set, and what it would not.

    Images are counted by class, format, mode and size, and split, cropped and resized as in a run.
    The first line of the output has the options with which `sweep run` reads the same.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH|NAME")]
    """Folder of images, .npz or .parquet file or folder, or data.name. Must come first."""
    sheet: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None
    """Write a sheet of training images, a row for each class; an existing file is replaced."""
    data: DataConfig = field(default_factory=DataConfig)
    """How to read it."""

    @classmethod
    def prepare(cls, args: Sequence[str]) -> tuple[list[str], Self | None]:
        """Return the arguments, and defaults for what the first one names."""
        super().prepare(args)
        if not args or args[0].startswith("-"):
            return list(args), None
        from sweep.estimate.data import settings_of

        return list(args), cls(source=tyro.MISSING, data=settings_of(args[0]))

    def run(self, args: Sequence[str]) -> int:
        """Read the data, and print what is in them."""
        from sweep.estimate.data import describe_data, settings_of

        given = settings_of(self.source).path
        if given not in (None, self.data.path):
            raise UsageError(
                f"data.path must be left out beside PATH, got {self.data.path!r} and {given!r}"
            )
        print(describe_data(self.data, self.sheet))
        return 0


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Show whether sweeps can run on this machine, and how fast: every line is looked up or tried.

    Trains the networks of the presets quickstart and paper for up to 20 steps. What is tried in
    folders and buckets is deleted again. The exit code is 1 if a default sweep cannot run.
    """

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Results folder of a run, to try to write there."""
    store: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|URL")] = None
    """Folder or bucket (s3://, gs://, az://) of models, to try to write there."""
    skip_training: bool = False
    """Leave out the trainings, which take up to two minutes on a CPU."""
    format: Literal["text", "json"] = "text"
    """Text, or one JSON object for programs."""

    def run(self, args: Sequence[str]) -> int:
        """Print the facts."""
        from sweep.commands.doctor.report import doctor

        return doctor(
            out=self.out,
            store=self.store,
            skip_training=self.skip_training,
            as_json=self.format == "json",
        )


@dataclass(frozen=True, kw_only=True)
class Reproduce(Command):
    """Repeat a published result with a small experiment, and compare both numbers.

    Without a name, list the results. An experiment takes up to a minute on a CPU. The exit code is
    1 if ours contradict the published numbers; docs/reproductions.md describes the comparison.
    """

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None
    """Published result, by first author and year."""
    format: Literal["text", "json"] = "text"
    """Text, or JSON for programs."""

    def run(self, args: Sequence[str]) -> int:
        """Print the list, or the comparison."""
        from sweep.reproductions.report import list_capsules, reproduce

        as_json = self.format == "json"
        if self.name is None:
            print(list_capsules(as_json=as_json))
            return 0
        text, code = reproduce(self.name, as_json=as_json)
        print(text)
        return code


@dataclass(frozen=True, kw_only=True)
class WatchSpot(Command):
    """Wait for a spot notice to this machine, then have Ray drain the machine as preempted.

    Ray then starts nothing new here, and trials that are lost with the machine resume on another.
    Runs until a notice arrives; the log goes to stderr.
    """

    cloud: Literal["aws", "gcp"]
    """Cloud whose metadata service to query."""
    address: str
    """HOST:PORT of the head node of this machine's Ray cluster."""

    def run(self, args: Sequence[str]) -> int:
        """Wait for a notice and drain the machine."""
        from sweep.tune.spot import watch_here

        watch_here(self.cloud, self.address)
        return 0


PROGRAM = Program(
    name="sweep",
    description="Sweeps of self-consuming generative models. One trial is one whole lineage.",
    commands={
        "presets": Presets,
        "data": Data,
        "plan": Plan,
        "preregister": Preregister,
        "run": Run,
        "status": Status,
        "evaluate": Evaluate,
        "stop": Stop,
        "clean": Clean,
        "doctor": Doctor,
        "reproduce": Reproduce,
        "watch-spot": WatchSpot,
    },
)


def main() -> None:
    """Entry point of the console command."""
    sys.exit(PROGRAM.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
