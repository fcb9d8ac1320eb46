"""Statistics over seeds and generations."""
