"""Texts that a model writes while it is steered, and what can be said of them: language, presence of a concept."""

from actlas.intervene.generation.languages import IDENTIFIER, Identifier, identifiable, identify_languages

__all__ = ["IDENTIFIER", "Identifier", "identifiable", "identify_languages"]
