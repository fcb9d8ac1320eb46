"""The subcommands of the command `model`, and code they share."""
