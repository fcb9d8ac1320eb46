"""Filters: which images may enter the pool."""
