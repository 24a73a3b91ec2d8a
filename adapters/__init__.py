"""What a model is: architectures, positions, attention, tokenizers and rows."""
