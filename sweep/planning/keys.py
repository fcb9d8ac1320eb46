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
from model.family_facts import FAMILY_FACTS, used_settings
from model.programs.files import program_inputs
from model.randomness import Purpose
from sweep.files import encoded, encoded_object, text_digest
from sweep.records import class_stream_key
from sweep.remembered import remembered, remembered_by_object

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


@remembered_by_object
def settings_text(config: Any) -> str:
    """`canonical` settings as canonical JSON."""
    return encoded(canonical(config))


def keyed_settings(model: ModelConfig, train: TrainConfig) -> dict[str, dict[str, Any]]:
    """The settings of `model` and `train` that are in a node's key."""
    used = used_settings(model)
    if used is None:
        return {"model": canonical(model), "train": canonical(train)}
    return {"model": {k: v for k, v in canonical(model).items() if k in used}, "train": {}}


@remembered(lambda model, train: (model, train))
def settings_texts(model: ModelConfig, train: TrainConfig) -> dict[str, str]:
    """`keyed_settings` as canonical JSON, by group."""
    return {name: encoded(settings) for name, settings in keyed_settings(model, train).items()}


def node_inputs(
    *,
    recipe: str,
    model: ModelConfig,
    train: TrainConfig,
    num_steps: int,
    seed: int,
    generation: int,
    member: int,
    selection: dict[str, Any] | None = None,
    parent: str = "",
    first_recipe: str = "",
    rule: Mapping[str, int | str] = {},
    num_drawn: int | None = None,
) -> str:
    """All inputs of a node as canonical JSON. Its key is their hash; its config.json has them.

    Args:
        recipe: The pool's segments, as canonical JSON.
        model: Family and network.
        train: Training settings, with `auto` values resolved.
        num_steps: Optimiser steps that the settings imply for this pool.
        seed: Seed of the lineage.
        generation: 1 for the first.
        member: 0 for the first.
        selection: Metric specification that selects the checkpoint with train.select=best_kid.
        parent: Key of the node whose weights training continues from; empty from scratch.
        first_recipe: Segments of the first pool with model.normalization=first_pool, as canonical
            JSON; else empty.
        rule: Version of the pool rule that made the pool; empty at the first version.
        num_drawn: Number of images that the training also draws, if it does.
    """
    if train.precision == "auto":
        raise UsageError("train.precision must be resolved before keys are made, got 'auto'")
    if train.initial_checkpoint is not None and train.initial_sha256 is None:
        raise UsageError("train.initial_sha256 must be known before keys are made, got None")
    facts = FAMILY_FACTS[model.family]
    numbers = {
        "numerics": NUMERICS_VERSION,
        "num_steps": num_steps,
        "seed": seed,
        "generation": generation,
        "member": member,
        **later_version("model.family", model.family, facts, key="family_numerics"),
        **rule,
    }
    inputs = {name: encoded(number) for name, number in numbers.items()}
    inputs |= {"recipe": recipe, **settings_texts(model, train)}
    if selection and used_settings(model) is None:  # train.select has an effect
        inputs["selection"] = encoded(selection)
    inputs |= {"first_recipe": first_recipe} if first_recipe else {}
    inputs |= {"parent": encoded(parent)} if parent else {}
    inputs |= {"num_drawn": encoded(num_drawn)} if num_drawn is not None else {}
    inputs |= {name: encoded(value) for name, value in program_inputs(model).items()}
    return encoded_object(inputs)


def stream_key(node_key: str, sample: SampleConfig, purpose: Purpose = Purpose.SAMPLE) -> str:
    """Key of the images that a node's model draws with a sampler, for pools or to be measured."""
    named = "" if purpose is Purpose.SAMPLE else f'"purpose":{int(purpose)},'
    return text_digest(f'{{"node":"{node_key}",{named}"sample":{settings_text(sample)}}}')


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
