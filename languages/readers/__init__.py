"""Readers of labelled files, one a format: what `reader` names in a pack."""
