"""Loops compiled by numba and LLVM instructions of our own: what the store and the kernels both stand on."""
