"""A model runs here and nowhere else: texts to batches to a backend to pooled values to the store's writer."""

from actlas.extract.options import CheckpointResult, ExtractOptions, ExtractSummary, Progress
from actlas.extract.run import extract_activations

__all__ = ["CheckpointResult", "ExtractOptions", "ExtractSummary", "Progress", "extract_activations"]
