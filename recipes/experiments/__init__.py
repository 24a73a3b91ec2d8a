"""Many runs side by side: sweeps, studies, comparisons of vocabularies."""
