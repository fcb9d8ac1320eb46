"""Metric specifications as JSON: their names, and those of their floors.

A specification holds everything that can change the numbers of one set of images. Its digest names
a metrics file. Most records have one of a few specifications, so that names are remembered.
"""

import functools

import msgspec

from sweep.files import Json, digest

OF_GENERATED = ("images", "sample_steps")
"""Settings of metrics that say which generated images are measured."""
OF_BOTH = ("num_images", "labels", "reference", "versions", "weights")
"""Parts of a specification that its floor has too."""


def spec_name(spec: Json) -> str:
    """Name of a specification: the start of its digest."""
    return digest(spec)[:16]


def recorded_name(spec: Json) -> str:
    """As spec_name, of a record's specification."""
    return _name_of_text(msgspec.json.encode(spec))


def floor_spec(spec: Json) -> Json:
    """The specification of a floor: real training images in place of the generated ones."""
    metrics = spec.get("metrics")
    if isinstance(metrics, dict):
        metrics = {name: v for name, v in metrics.items() if name not in OF_GENERATED}
    kept = {name: spec[name] for name in OF_BOTH if name in spec}
    return {"images": "train", "metrics": metrics, **kept}


def floor_name(spec: Json) -> str:
    """Name of the floor of a specification."""
    return recorded_name(floor_spec(spec))


@functools.lru_cache(maxsize=1000)
def _name_of_text(spec: bytes) -> str:
    return spec_name(msgspec.json.decode(spec))
