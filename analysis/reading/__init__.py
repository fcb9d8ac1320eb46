"""Reads results folders into one tidy table, and names its settings and metrics."""
