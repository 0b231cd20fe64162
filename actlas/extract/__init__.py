"""A model runs here and nowhere else: texts to batches to a backend to pooled values to the store's writer."""

from actlas.extract.api import extract_activations
from actlas.extract.options import ExtractOptions
from actlas.extract.results import CheckpointResult, ExtractSummary, Progress

__all__ = ["CheckpointResult", "ExtractOptions", "ExtractSummary", "Progress", "extract_activations"]
