"""The model families as test parameters: one whose optional package is absent is skipped."""

from importlib.util import find_spec

import pytest

from model.families import FAMILIES
from model.networks.objective import OBJECTIVES

NEEDS_DIFFUSERS = pytest.mark.skipif(
    find_spec("diffusers") is None, reason="diffusers is in the extra `diffusers` alone"
)
UNET2D = (NEEDS_DIFFUSERS, pytest.mark.slow)
"""The package takes seconds to import."""


def with_marks(names: list[str]) -> list:
    return [pytest.param(name, marks=UNET2D if name == "unet2d" else ()) for name in names]


EVERY_FAMILY = with_marks(list(FAMILIES))
NETWORKS = with_marks(list(OBJECTIVES))
"""Those that train a network in steps."""
