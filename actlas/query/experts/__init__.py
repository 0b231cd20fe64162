"""The experts of a checkpoint: as arrays, as tables, and where they come from."""
