"""What the store and the kernels both stand on: loops compiled by numba, LLVM instructions of our own, bits of bfloat16."""
