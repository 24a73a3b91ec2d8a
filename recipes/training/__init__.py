"""Training: objectives, batches, the loop, checkpoints, processes."""
