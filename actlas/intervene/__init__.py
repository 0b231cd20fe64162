"""Runs a model with neurons set to what an answer says; the sets that a store holds, and files of them."""

from actlas.intervene.concepts.latents import concept_latents
from actlas.intervene.concepts.prompts import translation_prompts
from actlas.intervene.concepts.run import patch_concepts
from actlas.intervene.concepts.words import WordTable, read_words
from actlas.intervene.directions import language_direction
from actlas.intervene.effects.options import EffectOptions
from actlas.intervene.effects.run import measure_effects
from actlas.intervene.effects.summary import effect_summary
from actlas.intervene.engines import vllm_columns
from actlas.intervene.exports import export_direction, export_neurons
from actlas.intervene.foreign import read_neurons
from actlas.intervene.frames import module_columns
from actlas.intervene.generation import Forcing, ProbeAt, Sampling, generate_steered, steering_summary
from actlas.intervene.live import LiveModel, load_live
from actlas.intervene.patching import patch
from actlas.intervene.steering import ablate, steer

__all__ = [
    "EffectOptions",
    "Forcing",
    "LiveModel",
    "ProbeAt",
    "Sampling",
    "WordTable",
    "ablate",
    "concept_latents",
    "effect_summary",
    "export_direction",
    "export_neurons",
    "generate_steered",
    "language_direction",
    "load_live",
    "measure_effects",
    "module_columns",
    "patch",
    "patch_concepts",
    "read_neurons",
    "read_words",
    "steer",
    "steering_summary",
    "translation_prompts",
    "vllm_columns",
]
