"""Estimates of a sweep's duration, cost and size."""
