"""The training loop that all families of networks share, and its parts."""
