"""Task kinds, one file each: how a task is learnt, predicted and scored."""
