"""Facts of the versions of registered variants: edited code never answers to an old key."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_sweep import CARD, make_lineage

from model.config import DataConfig
from model.data.datasets import DATASETS, Loader, dataset_key
from model.errors import UsageError
from model.family_facts import FAMILY_FACTS, FamilyFacts
from model.features.extractors import EXTRACTORS, Extractor, extractor_label
from model.features.probe import Probe
from model.filters.table import FILTERS, Filter
from model.metrics.table import METRICS, Metric
from sweep.config import LineageConfig
from sweep.lineage.feature_blocks import features_key
from sweep.planning.lineages import lineage_id
from sweep.planning.nodes import plan_lineage
from sweep.planning.rules import POOL_RULES, PoolRule

REGISTRIES: dict[str, dict[str, Any]] = {
    "family": FAMILY_FACTS,
    "rule": POOL_RULES,
    "filter": FILTERS,
    "extractor": EXTRACTORS,
    "metric": METRICS,
    "data": DATASETS,
}
PLAIN: dict[str, Any] = {"metrics.names": ["kid", "fid"], "metrics.extractor": "random-conv"}
TYPICAL = {"filter.name": "typicality", "filter.candidates": 2.0, "filter.extractor": "pixels"}
CONFIDENT = TYPICAL | {"filter.name": "confidence"}
SELECTING = {"train.select": "best_kid", "data.validation_fraction": 0.1}
FOCAL = {"pool.concentration": 0.5, "pool.focal_classes": ["one"], "filter.extractor": "pixels"}

MODELS = {"V_1", "V_2"}
MEASURED = {"metrics", "features", "label"}
CASES: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("family", "ddim", {}, MODELS),
    ("family", "flow", {}, set()),
    ("rule", "grow", {}, {"V_2"}),
    ("rule", "mix", {}, set()),
    ("filter", "typicality", TYPICAL, {"V_2"}),
    ("filter", "confidence", TYPICAL, set()),
    ("filter", "none", {}, set()),
    ("extractor", "random-conv", {}, MEASURED),
    ("extractor", "random-conv", SELECTING, MODELS | MEASURED),
    ("extractor", "pixels", {}, set()),
    ("extractor", "pixels", TYPICAL, {"V_2"}),
    ("extractor", "pixels", FOCAL, {"V_2"}),
    ("metric", "kid", {}, {"metrics"}),
    ("metric", "kid", SELECTING, MODELS | {"metrics"}),
    ("metric", "fid", SELECTING, {"metrics"}),
    ("metric", "recall", {}, set()),
    ("probe", "", {}, set()),
    ("probe", "", {"metrics.names": ["kid", "classes"]}, {"metrics"}),
    ("probe", "", TYPICAL, set()),
    ("probe", "", CONFIDENT, {"V_2"}),
    ("probe", "", FOCAL, {"V_2"}),
    ("data", "digits", {}, {"data set"}),
    ("data", "npz", {}, set()),
]


def config_of(changes: Mapping[str, Any]) -> LineageConfig:
    return make_lineage({**PLAIN, **changes})


def keys(changes: Mapping[str, Any]) -> dict[str, str]:
    """The keys of everything that a lineage of two models has."""
    config = config_of(changes)
    card = replace(CARD, num_validation=10)
    first, second = plan_lineage(config, card)
    return {
        "V_1": first.key,
        "V_2": second.key,
        "metrics": first.metrics[0].spec,
        "features": features_key({"dataset": "x"}, config.metrics),
        "label": extractor_label(config.metrics),
        "data set": dataset_key(config.data),
        "lineage": lineage_id(config, card),
    }


def raise_version(monkeypatch: pytest.MonkeyPatch, registry: str, name: str) -> None:
    """As whoever edits the variant's code should."""
    if registry == "probe":
        monkeypatch.setattr(Probe, "version", Probe.version + 1)
        return
    entry = REGISTRIES[registry][name]
    changed = replace(entry, version=entry.version + 1)
    monkeypatch.setitem(REGISTRIES[registry], name, changed)


@pytest.mark.parametrize(("registry", "name", "changes", "affected"), CASES)
def test_another_version_changes_the_keys_of_what_it_affects_and_no_others(
    registry, name, changes, affected, monkeypatch
):
    """A lineage keeps its id, so that the same command computes anew what is affected."""
    before = keys(changes)
    raise_version(monkeypatch, registry, name)
    after = keys(changes)
    assert {thing for thing in before if before[thing] != after[thing]} == affected


def test_every_registry_and_the_probe_have_a_case_that_changes_keys():
    assert {case[0] for case in CASES if case[3]} == {*REGISTRIES, "probe"}


def test_the_label_of_a_later_version_says_so(monkeypatch):
    """Numbers of two versions must not share a column."""
    raise_version(monkeypatch, "extractor", "random-conv")
    assert extractor_label(config_of({}).metrics) == "random-conv-64-v2"


LATER = {("family", "edm"): 2}
"""Versions that are in keys. An entry is added only where code was changed on purpose."""


def test_first_versions_are_in_no_key():
    """Keys from before there were versions stay valid."""
    later = {
        (registry, name): entry.version
        for registry, entries in REGISTRIES.items()
        for name, entry in entries.items()
        if entry.version > 1
    }
    assert later == LATER
    assert "version" not in str([node.inputs for node in plan_lineage(config_of({}), CARD)])


@pytest.mark.parametrize("kind", [FamilyFacts, PoolRule, Filter, Extractor, Metric, Loader])
def test_a_version_cannot_be_forgotten(kind):
    """It has no default."""
    (version,) = (field for field in fields(kind) if field.name == "version")
    assert (version.default, version.default_factory) == (MISSING, MISSING)


FIELDS = {
    "family": ("model.family", {}, "ddim"),
    "rule": ("pool.rule", {}, "grow"),
    "filter": ("filter.name", TYPICAL, "typicality"),
    "extractor": ("metrics.extractor", {}, "random-conv"),
    "metric": ("metrics.names", {}, "kid"),
}


@pytest.mark.parametrize("version", [None, 0, -1, "1", True, 1.0, "missing"])
@pytest.mark.parametrize("registry", FIELDS)
def test_a_variant_without_a_version_is_an_error_of_the_plan(registry, version, monkeypatch):
    """Whatever somebody has put into a registry."""
    field, changes, name = FIELDS[registry]
    entry = REGISTRIES[registry][name]
    values = {f.name: getattr(entry, f.name) for f in fields(entry)} | {"version": version}
    if version == "missing":
        del values["version"]
    monkeypatch.setitem(REGISTRIES[registry], name, SimpleNamespace(**values))
    with pytest.raises(UsageError, match=f"^{field}={name} must have a version, a whole number"):
        keys(changes)


def test_a_data_set_without_a_version_is_an_error(monkeypatch):
    entry = DATASETS["digits"]
    monkeypatch.setitem(DATASETS, "digits", replace(entry, version=0))
    with pytest.raises(UsageError, match=r"^data\.name=digits must have a version"):
        dataset_key(DataConfig(name="digits"))
