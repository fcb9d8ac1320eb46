"""Sweeps of lineages: pools, keys, the store, the lineage loop, and its Ray Tune trial."""
