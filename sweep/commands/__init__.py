"""What each command of `sweep` does."""
