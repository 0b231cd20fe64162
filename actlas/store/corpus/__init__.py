"""The texts of a run: their tables, how they are read from files, and which texts share labels."""

from actlas.store.corpus.corpus import Corpus, corpus_from_frames
from actlas.store.corpus.importers import import_concept_files, import_parallel, import_table

__all__ = ["Corpus", "corpus_from_frames", "import_concept_files", "import_parallel", "import_table"]
