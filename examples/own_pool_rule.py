"""A custom pool rule: real images and the newest samples, without those of older generations.

    uv run --extra all python -m examples.own_pool_rule

To use it in sweeps, put the function and the POOL_RULES line into sweep/planning/rules.py.
"""

from dataclasses import replace

from examples.in_process import TINY, compute, show
from sweep.config import PoolConfig
from sweep.planning.pool import Pool, only_real
from sweep.planning.rules import POOL_RULES, PoolRule, Step


def newest_only(step: Step) -> Pool:
    """D_{n+1} consists of the real images of D_n, and S_n."""
    return only_real(step.current) + step.new


POOL_RULES["newest"] = PoolRule(
    num_new=POOL_RULES["grow"].num_new, combine=newest_only, uses_alpha=True, version=1
)

if __name__ == "__main__":
    show(compute(replace(TINY, pool=PoolConfig(rule="newest", alpha=0.5))))
