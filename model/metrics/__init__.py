"""Metrics, which are computed from features of images."""
