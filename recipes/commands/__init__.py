"""Subcommands that are more than a call."""
