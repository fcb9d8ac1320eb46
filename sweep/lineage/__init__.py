"""One lineage computed: train, sample, measure, build the next pool."""
