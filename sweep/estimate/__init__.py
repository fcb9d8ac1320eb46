"""How long a sweep will take, what it costs, and how large it is."""
