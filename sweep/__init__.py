"""Sweeps of self-consuming lineages: pools, keys, the store, the lineage loop, and its Ray Tune trial."""
