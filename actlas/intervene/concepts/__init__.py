"""Concept patching: latents of translation prompts put into other prompts, and which concept the model then says.

The names below are loaded when first used, so that words and prompts can be had without the model's libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "WordTable": "actlas.intervene.concepts.words",
    "concept_latents": "actlas.intervene.concepts.latents",
    "patch_concepts": "actlas.intervene.concepts.run",
    "read_words": "actlas.intervene.concepts.words",
    "translation_prompts": "actlas.intervene.concepts.prompts",
}

__all__ = ["WordTable", "concept_latents", "patch_concepts", "read_words", "translation_prompts"]

if TYPE_CHECKING:
    from actlas.intervene.concepts.latents import concept_latents
    from actlas.intervene.concepts.prompts import translation_prompts
    from actlas.intervene.concepts.run import patch_concepts
    from actlas.intervene.concepts.words import WordTable, read_words


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'actlas.intervene.concepts' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
