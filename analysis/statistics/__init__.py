"""Numbers over seeds."""
