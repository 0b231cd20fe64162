"""Exact conditional statistics of neurons. Arrays in, arrays out: no files, no models, no language names."""

from actlas.kernels.lape import LapeResult, lape
from actlas.kernels.scores import BACKENDS, concept_scores
from actlas.kernels.stats import DEFAULT_STATS, NAMED_STATS

__all__ = ["BACKENDS", "DEFAULT_STATS", "NAMED_STATS", "LapeResult", "concept_scores", "lape"]
