"""Implementations of the commands of `sweep`."""
