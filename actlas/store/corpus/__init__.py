"""The texts of a run: their tables, how they are read from files, and which texts share labels.

The names below are loaded when first used: a corpus is read without what imports one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Corpus": "actlas.store.corpus.corpus",
    "corpus_from_frames": "actlas.store.corpus.corpus",
    "import_concept_files": "actlas.store.corpus.importers",
    "import_parallel": "actlas.store.corpus.importers",
    "import_table": "actlas.store.corpus.importers",
}

__all__ = ["Corpus", "corpus_from_frames", "import_concept_files", "import_parallel", "import_table"]

if TYPE_CHECKING:
    from actlas.store.corpus.corpus import Corpus, corpus_from_frames
    from actlas.store.corpus.importers import import_concept_files, import_parallel, import_table


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'actlas.store.corpus' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
