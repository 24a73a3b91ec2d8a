"""A run: settings, data, objective, loop, strategies, evaluation, commands."""
