"""Runs a model with neurons set to what an answer says; the sets that a store holds, and files of them.

The names below are loaded when first used, so that the options of a verb can be read without the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actlas.lazy import lazily

_HOMES = {
    "EffectOptions": "actlas.intervene.effects.options",
    "Forcing": "actlas.intervene.generation",
    "LiveModel": "actlas.intervene.live",
    "ProbeAt": "actlas.intervene.generation",
    "Sampling": "actlas.intervene.generation",
    "WordTable": "actlas.intervene.concepts.words",
    "ablate": "actlas.intervene.steering",
    "active_experts": "actlas.intervene.tokens.typed",
    "concept_latents": "actlas.intervene.concepts.latents",
    "effect_summary": "actlas.intervene.effects.summary",
    "export_direction": "actlas.intervene.exports",
    "export_neurons": "actlas.intervene.exports",
    "generate_steered": "actlas.intervene.generation",
    "language_direction": "actlas.intervene.directions",
    "load_live": "actlas.intervene.live",
    "measure_effects": "actlas.intervene.effects.run",
    "module_columns": "actlas.intervene.frames",
    "patch": "actlas.intervene.patching",
    "patch_concepts": "actlas.intervene.concepts.run",
    "read_neurons": "actlas.intervene.foreign",
    "read_words": "actlas.intervene.concepts.words",
    "steer": "actlas.intervene.steering",
    "steering_summary": "actlas.intervene.generation",
    "text_token_values": "actlas.intervene.tokens.typed",
    "text_tokens": "actlas.intervene.tokens.typed",
    "token_values": "actlas.intervene.tokens.run",
    "translation_prompts": "actlas.intervene.concepts.prompts",
    "vllm_columns": "actlas.intervene.engines",
}

__all__ = [
    "EffectOptions",
    "Forcing",
    "LiveModel",
    "ProbeAt",
    "Sampling",
    "WordTable",
    "ablate",
    "active_experts",
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
    "text_token_values",
    "text_tokens",
    "token_values",
    "translation_prompts",
    "vllm_columns",
]

if TYPE_CHECKING:
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
    from actlas.intervene.tokens.run import token_values
    from actlas.intervene.tokens.typed import active_experts, text_token_values, text_tokens

__getattr__, __dir__ = lazily(__name__, _HOMES, __all__)
