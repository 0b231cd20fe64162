"""Triton decides when a kernel is defined whether to interpret it, so this stands before anything that imports one."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
