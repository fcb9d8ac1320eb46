"""Feature extractors, and what is computed from features: neighbours, products, a classifier."""
