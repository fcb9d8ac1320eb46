"""What a sweep will compute: lineages, pools, keys, before anything runs."""
