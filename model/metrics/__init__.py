"""Metrics: features of images to numbers."""
