"""Images to features, and a classifier on them."""
