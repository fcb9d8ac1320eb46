"""Filters: they decide which generated images may enter the pool."""
