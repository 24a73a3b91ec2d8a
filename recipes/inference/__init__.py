"""Fine-tuned models and encoders applied to new text."""
