"""Names of settings, seeds and metrics in tables and figures, so that each one names one thing.

The names are unescaped; analysis.escapes and analysis.figures.drawing.text escape them for a
format.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd

from analysis.reading.columns import AT, SPLIT, grouped, is_implied, is_missing

MAX_WHOLE = 1e15
"""Whole floats below this are named without exponent."""

METRIC_NAMES = {
    "kid": "KID",
    "fid": "FID",
    "pixel_mean": "mean of pixels",
    "pixel_std": "standard deviation of pixels over images",
    "final_loss": "training loss",
    "real_share": "share of real images in the pool",
    "num_images": "images in the pool",
}


NAMES_IN_PAPERS = {
    "ensemble.size": "models",
    "filter.candidates": "candidates",
    "filter.name": "filter",
    "model.family": "family",
    "pool.alpha": r"$\alpha$",
    "pool.concentration": "$c$",
    "pool.rule": "rule",
    "sample.guidance": "guidance",
    "sample.steps": "sampling steps",
    "sample.stochasticity": r"$\eta$",
    "train.batch_size": "batch size",
    "train.epochs": "epochs",
    "train.lr": "learning rate",
    "train.steps": "steps",
}
"""Setting -> its symbol or name in papers, as TeX; no two settings share one."""

WORSE_IF_HIGHER = (
    "kid",
    "fid",
    "class_tv",
    "class_kid",
    "mean_class_kid",
    "worst_class_kid",
    "lost_classes",
    "memorized",
    "near_copies",
)
WORSE_IF_LOWER = (
    "precision",
    "recall",
    "density",
    "coverage",
    "vendi",
    "class_recall",
    "worst_class_recall",
    "class_entropy",
    "conditional_accuracy",
    "class_accuracy",
    "cas",
    "class_cas",
)
"""Metrics of which one direction is worse, without extractor."""


class Spelled(str):
    """A cell that is already the unique name of its value: JSON, or the name of a setting."""

    __slots__ = ()


def spell(values: Sequence[Any]) -> list[Any]:
    """Return the values of one setting as cells that can be grouped, sorted and named.

    Lists become their JSON. If Python, a reader or pandas would take two different values for the
    same (1, 1.0 and True; 1 and "1"; "1" and "01"; None and NaN; -0.0 and 0.0), or if they look the
    same (two Unicode forms of one letter), all values become their JSON.
    """
    names = [json_identity(value) for value in values]
    unique = dict(zip(names, values, strict=True))
    cells = {name: _plain(value) for name, value in unique.items()}
    views = (map(_as_read_back, cells.values()), map(_as_seen, cells.values()))
    if not all(len(set(view)) == len(unique) for view in views):
        cells = {name: Spelled(json.dumps(value, sort_keys=True)) for name, value in unique.items()}
    return [cells[name] for name in names]


def json_identity(value: Any) -> Hashable:
    """Return what is equal for values with the same JSON only: 1, 1.0 and true differ."""
    kind = type(value)
    if kind in (str, int, bool, type(None)):
        return kind, value
    return (kind, repr(value)) if kind is float else json.dumps(value, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple, dict)):
        return Spelled(json.dumps(value, sort_keys=True, ensure_ascii=False))
    return None if is_missing(value) else value


def _as_read_back(cell: Any) -> Any:
    """The cell as pandas reads it from a csv file."""
    with suppress(ValueError):
        if isinstance(cell, str):
            return None if is_missing(number := float(cell)) else number
    return cell


def _as_seen(cell: Any) -> str:
    return unicodedata.normalize("NFC", exact_name(cell))


def exact_name(value: Any) -> str:
    """Name a value as exactly as a setting of its type can be: no other value has this name.

    Missing values are a dash. Text is quoted if it could be mistaken for something else.
    """
    if is_missing(value):
        return "-"
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < MAX_WHOLE
        return str(int(value)) if whole else repr(value)
    if isinstance(value, str) and not isinstance(value, Spelled):
        return quoted_if_unclear(value)
    return str(value)


def quoted_if_unclear(text: str) -> str:
    """Return text, as JSON if it would be unclear where it ends in a list, or that it is there."""
    unclear = (
        text in ("", "-") or text.startswith('"') or any(s in text for s in (", ", " = ", ";"))
    )
    return json.dumps(text, ensure_ascii=False) if unclear else text


class Labels:
    """Names the values in the columns of one table; a value has one name in all that is made of it.

    A float has six significant digits, or as many as distinguish it from the others in its column.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self._names: dict[str, dict[Any, str]] = {}

    def name(self, column: str, value: Any) -> str:
        """Name a value of a column."""
        if isinstance(value, Spelled):
            return value
        if column not in self._names:
            self._names[column] = _name_values(self._frame[column])
        return self._names[column][None if is_missing(value) else value]

    def names(self, column: str, values: Iterable[Any]) -> list[str]:
        """Name the unique values of a column, in order."""
        return list(dict.fromkeys(self.name(column, value) for value in dict.fromkeys(values)))

    def list_settings(self, values: Mapping[str, Any]) -> str:
        """Name settings in full: `model.family = ddim, sample.steps = 20`."""
        return ", ".join(f"{axis} = {self.name(axis, value)}" for axis, value in values.items())

    def describe_setting(self, values: Mapping[str, Any], among: Sequence[str] = ()) -> str:
        """Name settings by the last part of their names: `alpha = 1, epochs = 40`.

        `among` holds more axes, whose short names must not be confused with these.
        """
        names = short_names(list({**values, **dict.fromkeys(among)}))
        return ", ".join(f"{names[a]} = {self.name(a, value)}" for a, value in values.items())

    def describe_implied(self, frame: pd.DataFrame, axis: str, by: Sequence[str]) -> str:
        """Say which value a setting has that follows from others.

        For example, `model.conditional = True for family = exact-mixture, otherwise False`.
        """
        causes = next(([one] for one in by if is_implied(frame, axis, [one])), by)
        owners: dict[str, list[str]] = {}
        for values, _ in grouped(frame, [axis, *causes]):
            of = owners.setdefault(self.name(axis, values.pop(axis)), [])
            is_next = bool(of) and len(causes) == 1  # rule = fresh or grow
            of.append(self.name(*values.popitem()) if is_next else self.describe_setting(values))
        usual = max(owners, key=lambda name: len(owners[name]))
        others = [f"{name} for {' or '.join(of)}" for name, of in owners.items() if name != usual]
        return f"{axis} = {', '.join([*others, f'otherwise {usual}' if others else usual])}"

    def file_name(
        self, first: str, values: Mapping[str, Any], among: Sequence[str] = ()
    ) -> list[str]:
        """Return the parts of a file's name; `among` is as in describe_setting."""
        names = short_names(list({**values, **dict.fromkeys(among)}))
        return [first, *(f"{names[a]}-{self.name(a, value)}" for a, value in values.items())]

    def describe_seeds(self, frame: pd.DataFrame) -> str:
        """List the seeds of a part of the table: `seeds 0, 1, 2`."""
        seeds = self.list_seeds(frame)
        return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"

    def list_seeds(self, frame: pd.DataFrame) -> list[str]:
        """Name the seeds of a part of the table in order."""
        return sorted(self.names("seed", frame["seed"]), key=lambda s: (len(s), s))

    def describe_splits(self, frame: pd.DataFrame) -> str:
        """List the splits of the data of a part of the table: `split_seed 0, 1`, or nothing."""
        if SPLIT not in frame:
            return ""
        splits = sorted(self.names(SPLIT, frame[SPLIT]), key=lambda s: (len(s), s))
        return f"split_seed {', '.join(splits)}"


def _name_values(column: Iterable[Any]) -> dict[Any, str]:
    """Map the values of a column to their names, None standing for missing ones."""
    values = dict.fromkeys(None if is_missing(value) else value for value in column)
    counts = Counter(map(_short_name, values))
    shorts = {value: _short_name(value) for value in values}
    return {v: exact_name(v) if counts[short] > 1 else short for v, short in shorts.items()}


def _short_name(value: Any) -> str:
    if isinstance(value, float) and not is_missing(value) and not value.is_integer():
        return f"{value:g}"
    return exact_name(value)


def short_names(axes: Sequence[str]) -> dict[str, str]:
    """Name each dotted axis by its last part, or in full if two axes share it."""
    last = [axis.rsplit(".", 1)[-1] for axis in axes]
    return {a: s if last.count(s) == 1 else a for a, s in zip(axes, last, strict=True)}


def name_metric(metric: str) -> str:
    """Return a metric's name for the axis of a figure, without its extractor."""
    name = metric.split("/", 1)[0]
    return METRIC_NAMES.get(name, name.replace("_", " "))


def direction(metric: str) -> int:
    """1 if higher numbers of a metric are worse, -1 if lower ones are, 0 if neither is."""
    name = metric.split("/", 1)[0]
    return (name in WORSE_IF_HIGHER) - (name in WORSE_IF_LOWER)


def name_extractor(metric: str) -> str | None:
    """Return the feature extractor in a metric's name, or None if it has none."""
    return metric.split("/", 1)[1].split(AT)[0] if "/" in metric else None
