"""The command `model`: its subcommands and what they share."""
