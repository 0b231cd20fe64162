"""One file per question. Each reads the store, calls the kernels and returns a frame."""
