"""Families with an exact score: of one Gaussian, of a Gaussian per class, or of kernels."""
