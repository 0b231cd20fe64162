"""Exact conditional statistics of neurons. Arrays in, arrays out: no files, no models, no language names."""

from actlas.kernels.labels import ConceptLabels, prepare_labels
from actlas.kernels.lape import LapeResult, lape
from actlas.kernels.scores import BACKENDS, concept_scores
from actlas.kernels.states import HISTOGRAM_STATS, MOMENT_STATS, CountState, HistogramState, MomentState
from actlas.kernels.stats import DEFAULT_STATS, NAMED_STATS

__all__ = [
    "BACKENDS",
    "DEFAULT_STATS",
    "HISTOGRAM_STATS",
    "MOMENT_STATS",
    "NAMED_STATS",
    "ConceptLabels",
    "CountState",
    "HistogramState",
    "LapeResult",
    "MomentState",
    "concept_scores",
    "lape",
    "prepare_labels",
]
