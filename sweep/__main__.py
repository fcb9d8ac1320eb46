"""The command `sweep`: presets, plan, run, status, evaluate and watch-spot.

sweep presets
sweep plan quickstart
sweep run quickstart --out runs/quickstart
sweep status runs/quickstart
sweep evaluate runs/quickstart --metrics.names precision recall
sweep watch-spot --cloud aws --address 10.0.0.1:6379
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from model.commands.command_line import parse, run_program
from model.config import MetricsConfig
from model.errors import UsageError
from sweep.config import LineageConfig, ResourcesConfig, SweepConfig
from sweep.request import read_request


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """Options of `plan` and `run` alike."""

    store: str | None = None
    """Folder, or URL of a bucket (s3://, gs://, az://), for models and samples, shared by sweeps;
    none keeps them in --out."""
    axis: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=VALUE,VALUE,...")
    ] = ()
    """Sweep over values of a setting, as in pool.alpha=0.5,1,2; replaces the preset's axis."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """What a trial may use."""
    base: Annotated[LineageConfig, tyro.conf.arg(name="")] = field(default_factory=LineageConfig)
    """Settings of every lineage."""


@dataclass(frozen=True, kw_only=True)
class _Run(_Sweep):
    """Run a sweep, or what is missing of it: the same command again resumes.

    PRESET|FILE comes first: a preset (`sweep presets` lists them), or a .toml or .json file of
    settings. Its settings are the options' defaults: `sweep run quickstart --help` shows those.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Results folder; an existing one is resumed or extended."""
    address: str | None = None
    """Address of a running Ray cluster (auto finds it); none starts Ray on this machine."""


@dataclass(frozen=True, kw_only=True)
class _Plan(_Sweep):
    """Say what a sweep would compute, and run nothing.

    PRESET|FILE comes first: a preset (`sweep presets` lists them), or a .toml or .json file of
    settings. Its settings are the options' defaults: `sweep plan quickstart --help` shows those.
    """

    out: Path | None = None
    """Results folder it would run in, to see what is done already."""
    timings: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR ...")] = ()
    """Other results folders or stores whose finished models tell how long things take."""
    slots: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...")] = (1,)
    """Trials at once, for the time; several numbers give several rows."""
    prices: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Prices by device, as examples/prices.toml; losses of spot machines are not modelled."""


@dataclass(frozen=True, kw_only=True)
class _Presets:
    """List the presets, one line each: the name, and the question that the sweep answers."""


@dataclass(frozen=True, kw_only=True)
class _Status:
    """Say how far a sweep is, also while it runs: its lineages, and what is at work now.

    With --store alone: how far each sweep is whose models are there.
    """

    directory: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = None
    """Results folder (--out of sweep run)."""
    store: str | None = None
    """The --store the sweep was run with."""
    watch: Annotated[float | None, tyro.conf.arg(metavar="[SECONDS]")] = None
    """Look again every so many seconds (2) until it has ended, and exit as sweep run does."""


@dataclass(frozen=True, kw_only=True)
class _Evaluate:
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


@dataclass(frozen=True, kw_only=True)
class _Stop:
    """Stop a running sweep, also one on a cluster: as Ctrl-C does where it runs.

    All runs are meant whose folder has this name and whose settings, but for the grid, are these.
    """

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Results folder (--out of sweep run), or a copy of it with the same name."""
    store: str | None = None
    """The --store the sweep was run with."""


@dataclass(frozen=True, kw_only=True)
class _Clean:
    """Delete what a sweep's store holds in vain: scratch of finished models and damaged files.

    A finished model is deleted with --force alone, and only where no lineage names it. What a
    running sweep works on stays.
    """

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Results folder (--out of sweep run)."""
    store: str | None = None
    """The --store the sweep was run with."""
    checkpoints: bool = False
    """Delete the checkpoints of unfinished models too: they will begin anew."""
    force: bool = False
    """Delete models, samples and data that no lineage of the sweep names; not in a shared store."""
    dry_run: bool = False
    """Only say what would be deleted."""


@dataclass(frozen=True, kw_only=True)
class _WatchSpot:
    """Wait on a spot machine for its cloud's notice, then have Ray drain this machine as preempted.

    Ray then starts nothing here any more, and a trial that is lost with the machine goes on
    elsewhere. Runs until there is a notice; the log goes to stderr.
    """

    cloud: Literal["aws", "gcp"]
    """Whose metadata service is asked."""
    address: str
    """HOST:PORT of the head of the Ray cluster that this machine belongs to."""


def presets(args: list[str]) -> int:
    """List the presets, one line each."""
    from sweep.presets import PRESETS

    parse(_Presets, args, prog="sweep presets")
    width = max(map(len, PRESETS))
    for name, make in PRESETS.items():
        print(f"{name:{width}}  {make().description}")
    return 0


def plan(args: list[str]) -> int:
    """Print what a sweep would compute."""
    sweep, options = _parse(_Plan, args, "plan")
    from sweep.report import print_plan

    print_plan(
        sweep,
        out=options.out,
        store=options.store,
        timings=options.timings,
        slots=options.slots,
        prices=options.prices,
    )
    return 0


def run(args: list[str]) -> int:
    """Run a sweep."""
    sweep, options = _parse(_Run, args, "run")
    from sweep.execution import execute

    command = "sweep run " + " ".join(map(_quoted, args))
    return execute(
        sweep, options.out, store=options.store, address=options.address, command=command
    )


def status(args: list[str]) -> int:
    """Print how far a sweep is."""
    options = parse(_Status, _with_value(args, "--watch", "2"), prog="sweep status")
    if options.directory is None:
        if options.store is None or options.watch is not None:
            raise UsageError("sweep status needs a results folder, or --store alone for all in it")
        from sweep.registry import print_sweeps

        print_sweeps(options.store)
        return 0
    if options.watch is not None:
        from sweep.watching import watch

        return watch(options.directory, store=options.store, period=options.watch)
    from sweep.report import print_status

    print_status(options.directory, store=options.store)
    return 0


def evaluate(args: list[str]) -> int:
    """Measure a run's finished models."""
    options = parse(_Evaluate, args, prog="sweep evaluate")
    from sweep.evaluation import evaluate

    return evaluate(
        options.directory,
        options.metrics,
        store=options.store,
        address=options.address,
        command="sweep evaluate " + " ".join(map(_quoted, args)),
    )


def stop(args: list[str]) -> int:
    """Stop a running sweep."""
    options = parse(_Stop, args, prog="sweep stop")
    from sweep.presence import stop

    return stop(options.directory, store=options.store)


def clean(args: list[str]) -> int:
    """Delete what a sweep's store holds in vain."""
    options = parse(_Clean, args, prog="sweep clean")
    from sweep.cleaning import clean

    return clean(
        options.directory,
        store=options.store,
        checkpoints=options.checkpoints,
        force=options.force,
        dry_run=options.dry_run,
    )


def watch_spot(args: list[str]) -> int:
    """Wait for a spot notice to this machine."""
    options = parse(_WatchSpot, args, prog="sweep watch-spot")
    from sweep.spot import watch_here

    watch_here(options.cloud, options.address)
    return 0


def _parse(kind: type, args: list[str], command: str) -> tuple[SweepConfig, Any]:
    """The sweep asked for, and the command's options."""
    prog = f"sweep {command} PRESET|FILE"
    if not args or args[0].startswith("-"):
        if args and args[0] in ("-h", "--help"):
            parse(kind, ["--help"], prog=prog)
        raise UsageError(
            f"sweep {command} needs a preset or a file first; `sweep presets` lists the presets"
        )
    return read_request(kind, args[0], args[1:], prog=prog)


def _with_value(args: list[str], flag: str, value: str) -> list[str]:
    """The words with a value behind a flag that stands without one."""
    found: list[str] = []
    for word, after in zip(args, [*args[1:], "-"], strict=False):
        alone = word == flag and not after.replace(".", "", 1).isdigit()
        found += [word, value] if alone else [word]
    return found


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


COMMANDS = {
    "presets": presets,
    "plan": plan,
    "run": run,
    "status": status,
    "evaluate": evaluate,
    "stop": stop,
    "clean": clean,
    "watch-spot": watch_spot,
}

USAGE = """usage: sweep {presets,plan,run,status,evaluate,stop,clean,watch-spot} ...

Sweeps of self-consuming generative models: one trial is one whole lineage.

  sweep presets                       list the presets, one line each
  sweep plan PRESET|FILE [options]    say what would be computed; run nothing
  sweep run PRESET|FILE --out DIR     run it, resume it or extend it
  sweep status DIR                    say how far it is; with --store alone, each sweep there
  sweep evaluate DIR --metrics...     take further metrics of its models; train nothing
  sweep stop DIR                      stop it, from any machine that sees its store
  sweep clean DIR                     delete scratch of finished models and damaged files
  sweep watch-spot --cloud aws|gcp --address HOST:PORT
                                      drain this spot machine when its cloud takes it back

sweep COMMAND --help lists a command's options."""


def main() -> None:
    """Entry point of the console command."""
    sys.exit(run_program("sweep", USAGE, COMMANDS))


if __name__ == "__main__":
    main()
