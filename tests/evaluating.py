"""Running `model evaluate`, and digits as folders and files that it measures."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from model.__main__ import PROGRAM
from model.config import DataConfig
from model.data.datasets import load_dataset
from model.images import encode_png

DIGITS = load_dataset(DataConfig())
assert DIGITS.labels is not None
LABELS = DIGITS.labels
CLASSES = DIGITS.class_names
GENERATED, REFERENCE, TRAIN = np.split(DIGITS.train[:360], [60, 180])
"""Indices of digits that stand in for drawn ones, and of held-out and training ones."""


def run(*args: object) -> int:
    words = [str(arg) for arg in args]
    return PROGRAM.run(["evaluate", "--metrics.extractor", "pixels", *words])


def measured(capsys: pytest.CaptureFixture[str], *args: object) -> dict:
    """What the command prints as json."""
    capsys.readouterr()
    assert run("--format", "json", *args) == 0
    return json.loads(capsys.readouterr().out)


def error_of(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The one line of a mistake."""
    capsys.readouterr()
    assert run(*args) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    (line,) = streams.err.splitlines()
    assert line.startswith("error: ")
    return line


def write_folder(folder: Path, indices: np.ndarray, *, classes: bool = False) -> Path:
    """Digits as PNG files named by their place, flat or in class folders."""
    for place, index in enumerate(indices):
        part = folder / CLASSES[LABELS[index]] if classes else folder
        part.mkdir(parents=True, exist_ok=True)
        image = DIGITS.images[index].transpose(1, 2, 0)
        (part / f"{place:06}.png").write_bytes(encode_png(image))
    return folder


def write_npz(path: Path, indices: np.ndarray, **arrays: object) -> Path:
    return save_arrays(path, {"images": DIGITS.images[indices], **arrays})


def save_arrays(path: Path, arrays: Mapping[str, object]) -> Path:
    """An .npz file of any arrays."""
    np.savez(path, allow_pickle=True, **{k: np.asarray(v) for k, v in arrays.items()})
    return path
