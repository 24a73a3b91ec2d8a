"""Evaluation: held-out text, fine-tuning on tasks, probes."""
