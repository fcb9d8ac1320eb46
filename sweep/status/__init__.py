"""The progress of a sweep, and the processes that run it."""
