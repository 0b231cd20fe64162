"""Questions about what a live model did when answers were handed back to it."""
