"""Facts of files of trained models: whatever was changed in one, it is a line that names it."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from model.checkpoint import Checkpoint
from model.commands.checkpoint_file import class_names_of, read_checkpoint, trained_model
from model.config import ModelConfig, SampleConfig, TrainConfig
from model.errors import UsageError
from model.families import FAMILIES
from model.job import Diverged, TrainingJob
from model.randomness import Purpose
from model.streams import Stream

NETWORK = ModelConfig(family="flow", widths=(4, 4), block_depth=1, stem_width=4, embedding_dim=4)
TINY = {
    "network": NETWORK,
    "classes": replace(NETWORK, conditional=True),
    "gaussian": ModelConfig(family="gaussian"),
    "gaussian classes": ModelConfig(family="gaussian", conditional=True),
    "exact gaussian": ModelConfig(family="exact-gaussian"),
    "exact mixture": ModelConfig(family="exact-mixture", conditional=True),
    "exact kernels": ModelConfig(family="exact-empirical", conditional=True),
    "vae": replace(NETWORK, family="vae", latent_dim=2),
}


def train(model: ModelConfig) -> Checkpoint:
    """A model of twelve 4x4 images of two classes, one of which has a name that is no ASCII."""
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 4, 4), np.uint8)
    job = TrainingJob(
        model=model,
        train=TrainConfig(epochs=None, steps=2, batch_size=4),
        num_steps=2,
        seed=(0, 1, 0),
        num_classes=2,
        class_names=("\u00e9", 'a "quoted" sha256'),
    )
    return FAMILIES[model.family].fit(images, np.arange(12) % 2, job).checkpoint


TRAINED = {name: train(model) for name, model in TINY.items()}
DATA = {name: checkpoint.to_bytes() for name, checkpoint in TRAINED.items()}
kinds = pytest.mark.parametrize("kind", [name for name in TINY if name != "network"])


def draw(checkpoint: Checkpoint) -> np.ndarray:
    """Four images of the model."""
    stream = Stream(
        checkpoint=checkpoint,
        config=SampleConfig(steps=1),
        seed=(0, 1, 0),
        purpose=Purpose.SAMPLE,
    )
    return stream.preview(4)


def read(data: bytes) -> Checkpoint:
    return trained_model(data, source="V_1")


def without_checksum(checkpoint: Checkpoint) -> bytes:
    """The file that an earlier version wrote."""
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
    return save(tensors, metadata={"settings": json.dumps(checkpoint.settings)})


@kinds
def test_a_whole_file_is_read(kind):
    """And draws the images of the model in memory."""
    assert np.array_equal(draw(read(DATA[kind])), draw(TRAINED[kind]))


@kinds
@given(data=st.data())
def test_any_changed_byte_is_an_error_that_names_the_file(kind, data):
    """In the length, the header, its padding, the checksum itself or the weights."""
    whole = DATA[kind]
    header = 8 + int.from_bytes(whole[:8], "little")
    regions = [(0, 7), (8, header - 1), (header, len(whole) - 1)]
    start, end = data.draw(st.sampled_from(regions))
    changed = bytearray(whole)
    changed[data.draw(st.integers(start, end))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UsageError, match=r"^V_1 must "):
        read(bytes(changed))


@kinds
@given(data=st.data())
def test_a_cut_or_longer_file_is_an_error_that_names_it(kind, data):
    whole = DATA[kind]
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    longer = whole + data.draw(st.binary(min_size=1, max_size=9))
    for changed in (cut, longer):
        with pytest.raises(UsageError, match=r"^V_1 must "):
            read(changed)


def test_the_checksum_does_not_depend_on_the_names_of_classes():
    """A name that looks like a checksum is not taken for it."""
    names = [f'", "sha256": "{"0" * 64}', f'sha256": "{"0" * 64}']
    checkpoint = TRAINED["classes"]
    named = replace(checkpoint, settings=checkpoint.settings | {"class_names": names})
    assert list(class_names_of(read(named.to_bytes()))) == names


@kinds
def test_a_file_of_an_earlier_version_is_read_with_a_warning(kind):
    """Without one where the caller has compared its SHA-256 with a record's."""
    old = without_checksum(TRAINED[kind])
    with pytest.warns(UserWarning, match=r"^V_1 has no checksum, because an earlier version"):
        found = read(old)
    assert np.array_equal(draw(found), draw(TRAINED[kind]))
    trained_model(old, source="V_1", verified=True)


STRANGE = (
    None, True, False, -1, 0, 1, 8.5, 10**30, 10**400, 1e308, -1e-320, float("nan"), float("inf"),
    "", "x", "ddim", "\x1b[31m", [], [1], [[]], ["x"], [10**9], [1] * 9, {}, {"x": 1}, [None],
)  # fmt: skip
"""Values of every type, some of them right somewhere."""


def places(table: dict[str, Any], path: tuple = ()) -> Iterator[tuple]:
    """Every setting of a nested table, and the table."""
    for name, value in table.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from places(value, (*path, name))
        elif isinstance(value, list):
            yield from ((*path, name, number) for number in range(len(value)))


def changed_at(stored: Any, path: tuple, change: Callable[[Any, Any], None]) -> Any:
    """A copy of settings after `change` of the container and the name at the path."""
    copy = json.loads(json.dumps(stored))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    change(inner, path[-1])
    return copy


def accepts(checkpoint: Checkpoint) -> bool:
    """Whether a file with these contents, and the right checksum, is read and drawn from.

    The only alternative is one line that names the file.
    """
    with contextlib.suppress(Diverged):
        try:
            draw(read(checkpoint.to_bytes()))
        except UsageError as error:
            line = str(error)
        else:
            return True
        assert line.startswith("V_1")
        assert "\n" not in line
        return False
    return True


@kinds
@given(data=st.data())
def test_a_setting_of_another_value_is_read_or_a_line(kind, data):
    """Wherever it is in the file, at any depth."""
    checkpoint = TRAINED[kind]
    path = data.draw(st.sampled_from(list(places(checkpoint.settings))))
    value = data.draw(st.sampled_from(STRANGE))
    stored = changed_at(checkpoint.settings, path, lambda at, name: at.__setitem__(name, value))
    accepts(replace(checkpoint, settings=stored))


@pytest.mark.slow
@kinds
@pytest.mark.parametrize("number", range(len(STRANGE)))
def test_any_setting_of_any_value_is_read_or_a_line(kind, number):
    """All of them."""
    checkpoint = TRAINED[kind]
    for path in places(checkpoint.settings):
        stored = changed_at(
            checkpoint.settings, path, lambda at, name: at.__setitem__(name, STRANGE[number])
        )
        accepts(replace(checkpoint, settings=stored))


@kinds
def test_a_missing_or_unknown_setting_is_a_line(kind):
    checkpoint = TRAINED[kind]
    for path in places(checkpoint.settings):
        lacking = changed_at(checkpoint.settings, path, lambda at, name: at.pop(name))
        assert not accepts(replace(checkpoint, settings=lacking)), path
    for stored in (
        checkpoint.settings | {"wdith": 1},
        checkpoint.settings | {"model": checkpoint.settings["model"] | {"wdith": 1}},
    ):
        assert not accepts(replace(checkpoint, settings=stored))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": "x"}, "V_1 must be a model trained by this package: shape must be a whole"),
        ({"shape": [1, 4]}, r"shape must be three positive numbers, got \(1, 4\)"),
        ({"shape": [1, 10**9, 4]}, "data.image_size must be at most 4,096, got"),
        ({"shape": [3, 4, 4]}, r"mean must be \(torch.float32, \(3,\)\), got .*\(1,\)"),
        ({"shape": [1, 7, 7]}, "data.image_size must be divisible by 2"),
        ({"dtype": "int8"}, "dtype must be one of uint8, float32, got 'int8'; did you mean"),
        ({"family": "ddim"}, r"family must be model.family \(flow\), got 'ddim'"),
        ({"bounded": 1}, "bounded must be true or false, got 1"),
        ({"num_classes": 10**9}, "num_classes must be from 1 to 100,000, got 1000000000"),
        ({"num_classes": 3}, "class_names must name all 3 classes or none, got 2 names"),
        ({"class_names": [1, 2]}, "class_names must be a string, got 1"),
        ({"model": []}, r"model must be a table of settings, got \[\]"),
    ],
)
def test_the_line_names_the_setting(change, message):
    checkpoint = TRAINED["classes"]
    with pytest.raises(UsageError, match=message):
        read(replace(checkpoint, settings=checkpoint.settings | change).to_bytes())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": [4, 10**12]}, "model.widths must be at most"),
        ({"widths": [4, 2**16]}, "must have the weights of its settings, got"),
        ({"block_depth": 1000}, "must have the weights of its settings, got"),
        ({"stem_width": 2**16}, "must have the weights of its settings, got"),
        ({"embedding_dim": 6}, "must have the weights of its settings, got"),
        ({"widths": []}, "model.widths must be one or more positive numbers"),
        ({"widths": "x"}, "model.widths must be a whole number, got 'x'"),
        ({"family": "flwo"}, "model.family must be one of .*; did you mean 'flow'"),
    ],
)
def test_a_network_of_another_size_is_never_built(change, message):
    """Not even one that no machine could hold."""
    checkpoint = TRAINED["network"]
    stored = checkpoint.settings | {"model": checkpoint.settings["model"] | change}
    with pytest.raises(UsageError, match=message):
        read(replace(checkpoint, settings=stored).to_bytes())


def test_a_network_of_the_same_size_with_other_names_is_a_line():
    checkpoint = TRAINED["network"]
    tensors = {name.replace("stem", "steam"): t for name, t in checkpoint.tensors.items()}
    with pytest.raises(UsageError, match=r"^V_1's weights must be those of this network"):
        draw(read(replace(checkpoint, tensors=tensors).to_bytes()))


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "missing": lambda tensor: None,
    "another type": lambda tensor: tensor.to(torch.bfloat16),
    "integers": lambda tensor: tensor.to(torch.int64),
    "another shape": lambda tensor: tensor.reshape(1, *tensor.shape),
    "empty": lambda tensor: tensor.flatten()[:0],
    "longer": lambda tensor: torch.cat([tensor, tensor], -1) if tensor.ndim else tensor.reshape(1),
}


@kinds
@pytest.mark.parametrize("change", CHANGES)
def test_any_tensor_that_does_not_fit_is_a_line(kind, change):
    checkpoint = TRAINED[kind]
    for name, tensor in checkpoint.tensors.items():
        changed = CHANGES[change](tensor)
        tensors = {k: t for k, t in checkpoint.tensors.items() if k != name}
        tensors |= {} if changed is None else {name: changed}
        assert not accepts(replace(checkpoint, tensors=tensors)), name


@kinds
@pytest.mark.parametrize("name", ["ema.another", "raw.another", "adam.0.step", "ema.mean.9"])
def test_a_tensor_too_many_is_a_line(kind, name):
    checkpoint = TRAINED[kind]
    tensors = checkpoint.tensors | {name: torch.zeros(1)}
    assert not accepts(replace(checkpoint, tensors=tensors))


@kinds
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_have_diverged(kind, number):
    """No image is drawn from them."""
    checkpoint = TRAINED[kind]
    tensors = {name: torch.full_like(t, number) for name, t in checkpoint.tensors.items()}
    with pytest.raises(Diverged):
        draw(read(replace(checkpoint, tensors=tensors).to_bytes()))


def test_a_file_that_is_not_there_is_a_line(tmp_path: Path):
    with pytest.raises(UsageError, match=r"CHECKPOINT must be an existing file, got .*x'"):
        read_checkpoint(tmp_path / "x")
    (tmp_path / "x").mkdir()
    with pytest.raises(UsageError, match="CHECKPOINT must be an existing file"):
        read_checkpoint(tmp_path / "x")
