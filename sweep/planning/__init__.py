"""What a sweep will compute, known before anything runs: lineages, pools and keys."""
