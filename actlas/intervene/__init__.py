"""Runs a model with neurons set to what an answer says; the sets that a store holds, and files of them."""

from actlas.intervene.exports import export_neurons
from actlas.intervene.foreign import read_neurons
from actlas.intervene.live import LiveModel, load_live
from actlas.intervene.patching import patch
from actlas.intervene.steering import ablate, steer

__all__ = ["LiveModel", "ablate", "export_neurons", "load_live", "patch", "read_neurons", "steer"]
