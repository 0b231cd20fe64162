"""What tests of actlas, and of what is built on it, can start from: small stores with planted answers, a tiny random model.

`actlas.testing.contracts` holds test classes that a backend or a store of one's own can inherit; it alone needs pytest.
"""

from actlas.testing.planted import Planting, planted_corpus, planted_store, planted_values, stored
from actlas.testing.random_model import random_checkpoint

__all__ = ["Planting", "planted_corpus", "planted_store", "planted_values", "random_checkpoint", "stored"]
