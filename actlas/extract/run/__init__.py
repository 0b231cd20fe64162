"""A run: prepared once, then checkpoint after checkpoint, block after block."""
