"""A small GPT-2 whose weights are written, not trained: what every part of it detects and does is known beforehand."""
