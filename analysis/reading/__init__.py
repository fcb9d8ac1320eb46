"""Results folders as one tidy table, and the words for what is in it."""
