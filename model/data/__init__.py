"""Real images: data sets, how they are read, and how they are split."""
