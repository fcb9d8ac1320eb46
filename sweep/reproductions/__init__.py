"""Published results that small experiments on a CPU repeat, each with a verdict."""
