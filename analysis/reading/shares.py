"""Class shares of generated images by generation, beside those of the reference."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from analysis.reading.columns import CLASS, metric_columns
from analysis.reading.results import load_class_results, run_names
from model.errors import UsageError
from sweep.records import load_card, load_lineages

SHARE = "class_share"
"""Metric: the share of the generated images that the probe assigns to a class."""
REFERENCE_SHARE = "reference_share"
"""Column of the share of the reference images that are of a class."""
MEASURE = "`sweep evaluate DIR --metrics.names classes` takes them"


class Shares(NamedTuple):
    """The class shares of results folders."""

    frame: pd.DataFrame
    """The table of load_class_results, with the column REFERENCE_SHARE."""
    columns: list[str]
    """Its columns of class shares, one for each extractor."""
    classes: list[str]
    """Names of the classes in the order of the data."""


def load_shares(dirs: Sequence[Path]) -> Shares:
    """Read the class shares of results folders.

    Raises:
        UsageError: As in load_class_results, or no class shares were measured.
        RecordError: As in load_class_results.
    """
    frame = load_class_results(dirs)
    columns = [column for column in metric_columns(frame) if column.startswith(f"{SHARE}/")]
    if not columns:
        raise UsageError(f"DIR must have {SHARE} of a model, got none; {MEASURE}")
    datasets = {
        (run, record.id): (folder, record.dataset)
        for run, folder in run_names(dirs).items()
        for record in load_lineages(folder)
    }
    of_dataset = {place: reference_shares(*place) for place in dict.fromkeys(datasets.values())}
    rows = zip(frame["run"], frame["lineage"], frame[CLASS], strict=True)
    shares = [of_dataset[datasets[run, lineage]].get(str(name)) for run, lineage, name in rows]
    order = dict.fromkeys(name for known in of_dataset.values() for name in known)
    present = dict.fromkeys(map(str, frame[CLASS]))
    classes = [name for name in dict.fromkeys([*order, *present]) if name in present]
    frame = frame.assign(**{REFERENCE_SHARE: pd.Series(shares, frame.index, float)})
    return Shares(frame, columns, classes)


def reference_shares(folder: Path, dataset: str) -> dict[str, float]:
    """Return the share of each class in the reference of a data set; empty if it is unknown."""
    card = load_card(folder, dataset)
    counts = card.reference_class_counts if card else []
    return {card.class_name(i): n / sum(counts) for i, n in enumerate(counts)} if card else {}
