"""Which checkpoints there are: names to steps, files to hashes, and fetching the next while one runs."""
