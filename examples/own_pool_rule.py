"""A plug-in with a pool rule: real images and the newest samples, without older generations.

sweep run quickstart --import examples/own_pool_rule.py --pool.rule newest --out runs/newest
"""

from sweep.planning.pool import Pool, only_real
from sweep.planning.rules import POOL_RULES as OURS
from sweep.planning.rules import PoolRule, Step


def newest_only(step: Step) -> Pool:
    """D_{n+1} consists of the real images of D_n, and S_n."""
    return only_real(step.current) + step.new


POOL_RULES = {
    "newest": PoolRule(
        num_new=OURS["grow"].num_new, combine=newest_only, uses_alpha=True, version="1"
    )
}
