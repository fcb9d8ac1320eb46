"""Real images: data sets, their readers and their splits."""
