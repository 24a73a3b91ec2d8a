"""The three strategies: what a base becomes before it is trained."""
