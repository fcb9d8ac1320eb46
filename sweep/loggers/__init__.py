"""Progress of lineages for other programs: csv files, and runs of Weights & Biases."""
