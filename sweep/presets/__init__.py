"""Presets: sweeps by name."""
