"""Measures floors without models, in the process of a command (see sweep.lineage.floors).

Trials measure a floor with the first model of its specification. What remains are floors of results
of earlier versions, or of trials that ended in between.
"""

import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from model.config import DataConfig, MetricsConfig
from model.data.datasets import load_dataset
from model.errors import MissingFileError, UsageError, writing
from model.features.ready import check_ready
from sweep.config import ResourcesConfig, SweepConfig, restored
from sweep.finished import Finished
from sweep.lineage.datasets import ARRAYS, check_same_data, load_prepared
from sweep.planning.lineages import PlannedLineage
from sweep.planning.measurements import MetricsPlan, metric_versions, plan_floor
from sweep.records import (
    DatasetCard,
    LineageRecord,
    MetricsRecord,
    load_card,
    load_lineages,
    load_metrics,
)
from sweep.results_folder import copy_floors, read_sweep, store_location
from sweep.specifications import floor_name
from sweep.store.store import Store, existing_store, open_store

LOG = logging.getLogger(__name__)

Floors = dict[tuple[str, str], tuple[DataConfig, DatasetCard, MetricsPlan]]
"""Floors by data set and specification: settings and card of the data set, and what to measure."""


def evaluate_floors(out: Path, *, store: str | None) -> int:
    """Measure the missing floors of a results folder or of a copy without models; returns 0.

    Only records are read, so that neither models nor the packages that train them are needed.

    Raises:
        OneLineError: The data set is neither in the store nor where its settings say, or numbers
            were measured with other weights.
    """
    out = out.absolute()
    sweep = read_sweep(out)
    kept = existing_store(store_location(out, store), sweep.resources)
    wanted = recorded_floors(out, sweep)
    missing = {name: each for name, each in wanted.items() if kept.read_floor(*name) is None}
    for _, _, plan in missing.values():
        check_ready(plan.config, fetch=True, section="metrics")
    measure_floors(missing, kept, sweep.resources)
    with writing(out):
        copy_floors(out, wanted, kept)
    print(f"measured {len(missing)} floors; {len(wanted) - len(missing)} exist", file=sys.stderr)
    return 0


def recorded_floors(out: Path, sweep: SweepConfig) -> Floors:
    """The floors of all specifications of the metrics in a results folder.

    Specifications of metrics that have another version now are left out.
    """
    weights = {m.extractor: m.weights for m in (*sweep.evaluations, sweep.base.metrics)}
    floors: Floors = {}
    for record in load_lineages(out):
        data = restored(DataConfig(), record.config["data"], "data.")
        for measured in _recorded_metrics(out, record):
            name = record.dataset, floor_name(measured.spec)
            if name in floors or (card := load_card(out, record.dataset)) is None:
                continue
            config = restored(MetricsConfig(), measured.spec["metrics"], "metrics.")
            config = replace(config, weights=weights.get(config.extractor))
            if metric_versions(config) == measured.spec.get("versions", {}):
                floors[name] = data, card, plan_floor(measured.spec, config)
    return floors


def _recorded_metrics(out: Path, record: LineageRecord) -> Iterator[MetricsRecord]:
    for generation, keys in enumerate(record.nodes, start=1):
        for member, key in enumerate(keys):
            for spec in record.all_specs(generation, member):
                if (measured := load_metrics(out, key, spec)) is not None:
                    yield measured


def add_floors(
    lineages: Sequence[PlannedLineage],
    finished: Finished,
    store: Store,
    resources: ResourcesConfig,
) -> None:
    """Measure missing floors of finished models; a line says why if that is not possible."""
    try:
        measure_floors(missing_floors(lineages, finished, store), store, resources)
    except (MissingFileError, UsageError) as error:
        LOG.warning("%s", f"a floor is missing: {error}")


def missing_floors(lineages: Sequence[PlannedLineage], finished: Finished, store: Store) -> Floors:
    """The floors that a store lacks of the specifications by which models were measured."""
    wanted: Floors = {}
    for lineage in lineages:
        for node in lineage.nodes:
            for plan in node.all_metrics:
                name = lineage.card.key, floor_name(plan.inputs)
                if name not in wanted and (node.key, plan.spec) in finished.metrics:
                    floor = plan_floor(plan.inputs, plan.config)
                    wanted[name] = lineage.config.data, lineage.card, floor
    return {name: each for name, each in wanted.items() if store.read_floor(*name) is None}


def measure_floors(missing: Floors, store: Store, resources: ResourcesConfig) -> None:
    """Measure floors in this process. The store may lack everything but the data sets' cards.

    Raises:
        UsageError, MissingFileError: A data set is not in the store, and its files are gone or hold
            other data; or the extractor's weights are missing.
    """
    for key in dict.fromkeys(key for key, _ in missing):
        of_data = [each for (other, _), each in missing.items() if other == key]
        _measure(*of_data[0][:2], [plan for _, _, plan in of_data], store, resources)


def _measure(
    config: DataConfig,
    card: DatasetCard,
    plans: Sequence[MetricsPlan],
    store: Store,
    resources: ResourcesConfig,
) -> None:
    """Measure floors of one data set."""
    import torch

    from model.commands.process import prepare_process
    from sweep.lineage.feature_blocks import FeatureBlocks
    from sweep.lineage.floors import measure_floor
    from sweep.lineage.measurement import Measurement

    device = "cuda" if resources.device != "cpu" and torch.cuda.is_available() else "cpu"
    prepare_process(device, max(1, int(resources.cpus_per_trial or 1)))
    with ExitStack() as stack:
        if store.datasets.has_file(card.key, ARRAYS):
            data, blocks = load_prepared(card, store), store
        else:  # a copy without arrays, which should not be filled with features
            data = load_dataset(config)
            check_same_data(config, card, data, store.location)
            blocks = open_store(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        features = FeatureBlocks(card=card, data=data, store=blocks, device=device)
        measurement = Measurement(data=data, features=features)
        for plan in plans:
            store.write_floor(card.key, plan.spec, measure_floor(plan, measurement))
