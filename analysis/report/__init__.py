"""One self-contained HTML page of some results folders."""
