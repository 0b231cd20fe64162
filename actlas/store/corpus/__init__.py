"""The texts of a run: their tables, how they are read from files, and which texts share labels.

The names below are loaded when first used: a corpus is read without what imports one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actlas.lazy import lazily

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

__getattr__, __dir__ = lazily(__name__, _HOMES, __all__)
