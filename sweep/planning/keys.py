"""The keys of nodes and streams, and the blocks in which a store keeps a stream.

A key is a SHA-256 of everything that can change a result. A node's key covers the recipe of the
pool, the family and training settings, the seed, the generation and the member. Metrics, resources
and names are not part of any key.
"""

import functools
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from model.blocks import CLASS_BLOCK, SAMPLE_BATCH, num_blocks, num_class_blocks
from model.config import ModelConfig, SampleConfig, TrainConfig, stored_settings
from model.errors import UsageError, later_version
from model.family_facts import FAMILY_FACTS
from model.randomness import Purpose
from sweep.files import digest
from sweep.records import class_stream_key

NUMERICS_VERSION = 1
"""Increase it whenever the same settings would train or sample different numbers. If that is true
of one family only, increase `version` in its record in model/family_facts.py instead."""


def canonical(config: Any) -> dict[str, Any]:
    """The settings that belong in a key, without those at their frozen `key_default`.

    Old keys stay valid because a field added later has metadata {"key_default": the value that
    matches the earlier behaviour}. A field that changes no result has {"in_key": False}.
    """
    ignored = _ignored(type(config))
    return {name: v for name, v in stored_settings(config).items() if name not in ignored}


@functools.cache
def _ignored(kind: Any) -> set[str]:
    return {f.name for f in fields(kind) if not f.metadata.get("in_key", True)}


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
    rule: Mapping[str, int] = {},
) -> dict[str, Any]:
    """All inputs of a node as JSON. Its key is their hash, and its config.json contains them.

    Args:
        recipe: The pool's segments.
        model: Family and network.
        train: Training settings, with `auto` values resolved.
        num_steps: Optimiser steps that the settings imply for this pool.
        seed: Seed of the lineage.
        generation: 1 for the first.
        member: 0 for the first.
        selection: Metric specification that selects the checkpoint with train.select=best_kid.
        parent: Key of the node whose weights training continues from; empty from scratch.
        first_recipe: Segments of the first pool with model.normalization=first_pool.
        rule: Version of the pool rule that made the pool; empty at the first version.
    """
    if train.precision == "auto":
        raise UsageError("train.precision must be resolved before keys are made, got 'auto'")
    inputs: dict[str, Any] = {
        "numerics": NUMERICS_VERSION,
        "recipe": recipe,
        "model": canonical(model),
        "train": canonical(train),
        "num_steps": num_steps,
        "seed": seed,
        "generation": generation,
        "member": member,
    }
    facts = FAMILY_FACTS[model.family]
    inputs |= later_version("model.family", model.family, facts, key="family_numerics")
    inputs |= {"selection": selection} if selection else {}
    inputs |= {"first_recipe": first_recipe} if first_recipe else {}
    inputs |= {"parent": parent} if parent else {}
    return inputs | dict(rule)


def stream_key(node_key: str, sample: SampleConfig, purpose: Purpose = Purpose.SAMPLE) -> str:
    """Key of the images that a node's model draws with a sampler, for pools or to be measured."""
    inputs = {"node": node_key, "sample": canonical(sample)}
    return digest(inputs if purpose is Purpose.SAMPLE else {**inputs, "purpose": int(purpose)})


def store_key(stream: str, label: int | None) -> str:
    """Name of the folder of a stream, or of one of its classes."""
    return stream if label is None else class_stream_key(stream, label)


def blocks_of(label: int | None, count: int) -> int:
    """Number of blocks that hold the first `count` images of a stream, or of one of its classes."""
    return num_blocks(count) if label is None else num_class_blocks(count)


def blocks_with(label: int | None, images: range) -> range:
    """Numbers of the blocks that hold a range of images of a stream, or of one of its classes."""
    return range(images.start // block_size(label), blocks_of(label, images.stop))


def block_size(label: int | None) -> int:
    """Images per block."""
    return SAMPLE_BATCH if label is None else CLASS_BLOCK
