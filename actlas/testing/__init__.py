"""What tests of actlas, and of what is built on it, can start from: small stores with planted answers."""

from actlas.testing.planted import Planting, planted_corpus, planted_store, planted_values, stored

__all__ = ["Planting", "planted_corpus", "planted_store", "planted_values", "stored"]
