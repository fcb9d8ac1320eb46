"""Custom variants: each file adds one with a few functions and a line, and runs a tiny lineage."""
