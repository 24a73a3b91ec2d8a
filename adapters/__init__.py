"""Models: architectures, positions, attention, tokenizers and embeddings. The guide is README.md."""
