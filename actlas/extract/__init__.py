"""A model runs here and nowhere else: texts to batches to a backend to pooled values to the store's writer.

The names below are loaded when first used, so that the options of a run can be read without the store.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "CheckpointResult": "actlas.extract.results",
    "ExtractOptions": "actlas.extract.options",
    "ExtractSummary": "actlas.extract.results",
    "Progress": "actlas.extract.results",
    "estimate_extraction": "actlas.extract.estimate",
    "extract_activations": "actlas.extract.api",
    "prove_sites": "actlas.extract.check",
}

__all__ = [
    "CheckpointResult",
    "ExtractOptions",
    "ExtractSummary",
    "Progress",
    "estimate_extraction",
    "extract_activations",
    "prove_sites",
]

if TYPE_CHECKING:
    from actlas.extract.api import extract_activations
    from actlas.extract.check import prove_sites
    from actlas.extract.estimate import estimate_extraction
    from actlas.extract.options import ExtractOptions
    from actlas.extract.results import CheckpointResult, ExtractSummary, Progress


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'actlas.extract' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
