"""Checks of what a run needs on this machine, before Ray starts and before anything is written."""

import sys
from collections.abc import Collection, Iterable, Sequence

from model.commands.plugins import LOADED
from model.config import MetricsConfig
from model.data.torchvision import must_download
from model.data.torchvision_table import TORCHVISION_SETS
from model.errors import UsageError
from model.features.ready import check_ready
from model.programs.permission import check_allowed
from model.programs.settings import SAMPLE, TRAIN
from sweep.environment import describe_environment, differing_facts
from sweep.finished import ENDED, Finished, environments_of, lineage_status
from sweep.planning.lineages import PlannedLineage
from sweep.planning.nodes import outline_of


def check_extractors_ready(
    lineages: Sequence[PlannedLineage], evaluations: Collection[MetricsConfig], *, fetch: bool
) -> None:
    """Check that the feature extractors that lineages need can run here.

    Args:
        lineages: The lineages.
        evaluations: Metrics in addition to the lineages' own.
        fetch: Whether to download published weights that are missing; otherwise a line on stderr
            says that they will be downloaded.

    Raises:
        UsageError: A package is missing, or weights are of another network.
        MissingFileError: Weights do not exist, or cannot be downloaded.
    """
    needed = {
        (section, MetricsConfig(names=(), extractor=each.extractor, weights=each.weights)): None
        for lineage in lineages
        for section, each in outline_of(lineage.config, lineage.card, evaluations).extractors
    }
    added = {each.extractor for each in evaluations}
    for section, config in needed:
        try:
            lacks_weights = check_ready(config, fetch=fetch, section=section)
        except UsageError as error:
            if config.extractor not in added:
                raise
            raise UsageError(
                f"{error}; sweep evaluate --remove drops metrics that sweep evaluate added"
            ) from None
        if lacks_weights:
            print(
                f"note: the weights of {section}.extractor {config.extractor} are not here; "
                "sweep run downloads them before it starts",
                file=sys.stderr,
            )


def note_downloads(lineages: Sequence[PlannedLineage]) -> None:
    """Print a line on stderr for each data set that a run has to download first."""
    unprepared = {x.config.data for x in lineages if x.card.fingerprint is None}
    for data in sorted(unprepared, key=str):
        if data.name in TORCHVISION_SETS and must_download(data):
            print(
                f"note: the images of data.name {data.name} are not here; sweep run downloads them "
                "before it starts",
                file=sys.stderr,
            )


def check_environments(finished: Finished, *, is_complete: bool, same: bool) -> None:
    """Say in one line on stderr if results come from different environments.

    Args:
        finished: The results so far.
        is_complete: Whether nothing is left to compute; otherwise this process's environment counts
            as well.
        same: Whether to raise an error instead.

    Raises:
        UsageError: `same` is set, and the environments differ.
    """
    environments = environments_of(finished)
    if environments and not is_complete:
        from sweep.lineage.environment import environment

        environments.append(describe_environment(environment()))
    differing = differing_facts(environments)
    if differing and same:
        raise UsageError(
            f"--require-same-environment must find one environment, got {differing} (results); "
            "go on in the environment of the first ones, or leave the option out"
        )
    if differing:
        print(f"note: results come from different environments: {differing}", file=sys.stderr)


def check_plugins(finished: Finished, *, accept_changed: bool) -> None:
    """Raise UsageError if there are results of other code of a plug-in with the same version.

    That the version is the same follows from the results' keys, which contain it. Comments,
    docstrings and layout are not code; if only they differ, a line on stderr says so.

    Args:
        finished: The results so far.
        accept_changed: Whether the user says that the new code gives the same results.
    """
    other_source: dict[str, None] = {}
    other_code: dict[str, None] = {}
    for record in (*finished.nodes.values(), *finished.metrics.values()):
        for name, known in record.environment.get("plugins", {}).items():
            plugin = LOADED[name]
            if plugin.code != known["code"]:
                other_code[name] = None
            if plugin.source != known["source"]:
                other_source[name] = None
    if other_code and not accept_changed:
        names = " and ".join(other_code)
        raise UsageError(
            f"plug-in{'s' * (len(other_code) > 1)} {names} must have the code with which earlier "
            "results were made, got other code; change the version of each variant that gives "
            "other results now, or pass --accept-changed-plugins if none does"
        )
    for name in other_source:
        print(
            f"note: the source of plug-in {name} has changed since earlier results", file=sys.stderr
        )


def check_programs_allowed(lineages: Iterable[PlannedLineage], *, train: bool = True) -> None:
    """Raise UsageError if lineages run a program and the user has not allowed it.

    Args:
        lineages: Those with something to compute.
        train: Whether models may be trained; images may be drawn in any case.
    """
    for settings in {node.settings for lineage in lineages for node in lineage.nodes}:
        if train and settings.train.command is not None:
            check_allowed(TRAIN, settings.train.command)
        if settings.sample.command is not None:
            check_allowed(SAMPLE, settings.sample.command)


def unfinished(lineages: Sequence[PlannedLineage], finished: Finished) -> list[PlannedLineage]:
    """The lineages that lack a model or a measurement."""
    return [x for x in lineages if lineage_status(x, finished, error=None).status not in ENDED]
