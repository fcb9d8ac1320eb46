"""Where a sweep stands, and who runs it."""
