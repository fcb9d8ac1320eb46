"""Names of settings, seeds and metrics in tables, figures and file names."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.reading.columns import AT, is_missing

LONGEST_STEM = 240
"""Longest file name without suffix in characters; file systems allow 255 bytes in all."""

METRIC_NAMES = {
    "kid": "KID",
    "fid": "FID",
    "pixel_mean": "mean of pixels",
    "pixel_std": "standard deviation of pixels over images",
    "final_loss": "training loss",
    "real_share": "share of real images in the pool",
    "num_images": "images in the pool",
}


def format_value(value: Any) -> str:
    """Format a setting's value: whole numbers without a decimal point, missing ones as a dash."""
    if is_missing(value):
        return "-"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:g}"
    return str(value)


def list_settings(values: Mapping[str, Any]) -> str:
    """Format settings with full names: `model.family = ddim, sample.steps = 20`."""
    return ", ".join(f"{axis} = {format_value(value)}" for axis, value in values.items())


def short_names(axes: Sequence[str]) -> dict[str, str]:
    """Name each dotted axis by its last part, or in full if two axes share it."""
    last = [axis.rsplit(".", 1)[-1] for axis in axes]
    return {a: s if last.count(s) == 1 else a for a, s in zip(axes, last, strict=True)}


def describe_setting(values: Mapping[str, Any], among: Sequence[str] = ()) -> str:
    """Format settings for a figure, with alpha as a Greek letter: `alpha = 1, epochs = 40`.

    `among` holds more axes, whose short names must not be confused with these.
    """
    names = short_names(list({**values, **dict.fromkeys(among)}))
    return ", ".join(f"{symbol(names[a])} = {format_value(v)}" for a, v in values.items())


def symbol(name: str) -> str:
    """Return a setting's name for matplotlib, with alpha as a Greek letter."""
    return r"$\alpha$" if name == "alpha" else name


def file_stem(first: str, values: Mapping[str, Any], among: Sequence[str] = ()) -> str:
    """Return a file name without suffix, of letters, digits, dots and dashes.

    The end of a name that is too long is replaced by a hash of the whole name.
    """
    names = short_names(list({**values, **dict.fromkeys(among)}))
    parts = [first, *(f"{names[a]}-{format_value(v)}" for a, v in values.items())]
    stem = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-")
    if len(stem) <= LONGEST_STEM:
        return stem
    digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
    return f"{stem[: LONGEST_STEM - len(digest) - 1]}-{digest}"


def describe_seeds(frame: pd.DataFrame) -> str:
    """Format the seeds of a table: `seeds 0, 1, 2`."""
    seeds = sorted({format_value(seed) for seed in frame["seed"]}, key=lambda s: (len(s), s))
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"


def name_metric(metric: str) -> str:
    """Return a metric's name for the axis of a figure, without its extractor."""
    name = metric.split("/", 1)[0]
    return METRIC_NAMES.get(name, name.replace("_", " "))


def name_extractor(metric: str) -> str | None:
    """Return the feature extractor in a metric's name, or None if it has none."""
    return metric.split("/", 1)[1].split(AT)[0] if "/" in metric else None
