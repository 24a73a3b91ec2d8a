"""Terminologies and ontologies in the formats of their releases, one file a family of formats."""
