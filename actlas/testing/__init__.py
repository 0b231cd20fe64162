"""What tests of actlas, and of what is built on it, can start from: small stores with planted answers, a tiny random model,
and one whose weights are written, so that all that can be found in it is known.

`actlas.testing.contracts` holds test classes that a backend or a store of one's own can inherit; it alone needs pytest.
"""

from actlas.testing.planted import Planting, planted_corpus, planted_store, planted_values, stored
from actlas.testing.planted_gpt2.checkpoints import planted_model
from actlas.testing.planted_gpt2.plan import ModelPlan
from actlas.testing.random_model import random_checkpoint

__all__ = [
    "ModelPlan",
    "Planting",
    "planted_corpus",
    "planted_model",
    "planted_store",
    "planted_values",
    "random_checkpoint",
    "stored",
]
