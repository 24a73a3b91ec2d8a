"""The text of a run: sources, filters, tokenized shards, overlap with test documents."""
