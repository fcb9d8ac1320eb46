"""A plug-in with a preset.

sweep run half-real --import examples/own_preset.py --out runs/half-real
"""

from dataclasses import replace

from sweep.config import PoolConfig
from sweep.presets.bases import Preset, over_seeds
from sweep.presets.table import quickstart


def half_real() -> Preset:
    """Does a pool that always stays half real protect from collapse? Digits, two rules."""
    base, _ = quickstart()
    base = replace(base, pool=PoolConfig(rule="mix", alpha=1.0))
    return base, over_seeds({"pool.rule": ["mix", "grow"]})


PRESETS = {"half-real": half_real}
