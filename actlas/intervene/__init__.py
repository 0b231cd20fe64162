"""Runs a model with neurons set to what an answer says; the sets that a store holds, and files of them."""

from actlas.intervene.exports import export_neurons
from actlas.intervene.foreign import read_neurons

__all__ = ["export_neurons", "read_neurons"]
