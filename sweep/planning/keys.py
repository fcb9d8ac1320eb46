"""The keys of nodes and streams: SHA-256 of all that can change a number, and of nothing else.

A key is made of the recipe of the pool, the family and training settings, the seed, the generation
and the member; metrics, resources and names are in none. Must not know files or torch.
"""

import hashlib
import json
from dataclasses import asdict, fields
from typing import Any

from model.config import ModelConfig, SampleConfig, TrainConfig
from model.errors import UsageError
from model.family_facts import FAMILY_FACTS

NUMERICS_VERSION = 1
"""Raised whenever the same settings would train or sample other numbers. If that is true of one
family alone, raise `numerics` of its record in model/family_facts.py instead."""


def canonical(config: Any) -> dict[str, Any]:
    """The settings that belong in a key: without those at their frozen `key_default`.

    A field added later carries metadata {"key_default": how the code behaved before it}, and one
    that changes no number {"in_key": False}; so old keys stay what they were.
    """
    kept: dict[str, Any] = {}
    values = asdict(config)
    for f in fields(config):
        value = values[f.name]
        if not f.metadata.get("in_key", True):
            continue
        if "key_default" in f.metadata and value == f.metadata["key_default"]:
            continue
        kept[f.name] = value
    return kept


def digest(data: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `data`: sorted names, no spaces, shortest floats."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def node_inputs(
    *,
    recipe: list[dict[str, Any]],
    model: ModelConfig,
    train: TrainConfig,
    num_steps: int,
    seed: int,
    generation: int,
    member: int,
    selection: dict[str, Any] | None = None,
    parent: str = "",
    first_recipe: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """All inputs of a node, as JSON: what its key is the hash of, and its config.json.

    Args:
        recipe: The pool's segments.
        model: Family and network.
        train: Training settings; `auto` values resolved before.
        num_steps: Optimiser steps, as the settings give them for this pool.
        seed: The lineage's.
        generation: 1 for the first.
        member: 0 for the first.
        selection: With train.select=best_kid, the metric specification that selects.
        parent: Key of the node whose weights are continued; empty from scratch.
        first_recipe: With model.normalization=first_pool, that pool's segments.
    """
    if train.precision == "auto":
        raise UsageError("train.precision must be resolved before keys are made, got 'auto'")
    inputs = {
        "numerics": NUMERICS_VERSION,
        "recipe": recipe,
        "model": canonical(model),
        "train": canonical(train),
        "num_steps": num_steps,
        "seed": seed,
        "generation": generation,
        "member": member,
    }
    if (version := FAMILY_FACTS[model.family].numerics) > 1:
        inputs["family_numerics"] = version
    inputs |= {"selection": selection} if selection else {}
    inputs |= {"first_recipe": first_recipe} if first_recipe else {}
    return inputs | ({"parent": parent} if parent else {})


def stream_key(node_key: str, sample: SampleConfig) -> str:
    """Key of the images a node's model draws with a sampler."""
    return digest({"node": node_key, "sample": canonical(sample)})


def class_stream_key(stream: str, label: int) -> str:
    """Key of the images of one class among those that a conditional model draws."""
    return digest({"stream": stream, "label": label})
