"""What a language is: its pack, its text, readers of corpora and annotations, synthetic cases."""
