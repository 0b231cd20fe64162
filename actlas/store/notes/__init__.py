"""What is noted of a checkpoint while it is written, and kept as a table beside its record."""
