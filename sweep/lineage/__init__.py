"""Computes one lineage: train, sample, measure, build the next pool."""
