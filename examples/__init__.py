"""Variants of one's own: each file adds one, by a function and a line, and runs a tiny lineage."""
