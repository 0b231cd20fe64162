"""Texts that a model writes while it is steered, and what can be said of them: language, presence of a concept."""

from actlas.intervene.generation.languages import IDENTIFIER, Identifier, identifiable, identify_languages
from actlas.intervene.generation.presence import has_word, probe_texts
from actlas.intervene.generation.probing import ProbeAt
from actlas.intervene.generation.run import generate_steered
from actlas.intervene.generation.settings import Forcing, ForeignNeurons, Sampling
from actlas.intervene.generation.summary import steering_summary

__all__ = [
    "IDENTIFIER",
    "Forcing",
    "ForeignNeurons",
    "Identifier",
    "ProbeAt",
    "Sampling",
    "generate_steered",
    "has_word",
    "identifiable",
    "identify_languages",
    "probe_texts",
    "steering_summary",
]
