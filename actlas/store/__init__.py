"""What is on disk. Knows no model and no statistic.

The names below are loaded when first used: where things lie is told without what reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actlas.lazy import lazily

_HOMES = {
    "BlockValues": "actlas.store.values",
    "CheckpointWriter": "actlas.store.write.checkpoint_writer",
    "Corpus": "actlas.store.corpus.corpus",
    "Cube": "actlas.store.cube",
    "ScoreCube": "actlas.store.cube",
    "ScoreWriter": "actlas.store.write.score_writer",
    "Store": "actlas.store.store",
    "StoreWriter": "actlas.store.write.writer",
    "TextBlock": "actlas.store.layout",
    "TokenCounts": "actlas.store.cube",
    "TokenCube": "actlas.store.cube",
    "TokenIds": "actlas.store.values",
    "Upgraded": "actlas.store.write.upgrade",
    "Verified": "actlas.store.integrity",
    "corpus_from_frames": "actlas.store.corpus.corpus",
    "import_concept_files": "actlas.store.corpus.importers",
    "import_parallel": "actlas.store.corpus.importers",
    "import_table": "actlas.store.corpus.importers",
    "read_neuron_sets": "actlas.store.neuron_sets",
    "upgrade": "actlas.store.write.upgrade",
    "verify": "actlas.store.integrity",
}

__all__ = [
    "BlockValues",
    "CheckpointWriter",
    "Corpus",
    "Cube",
    "ScoreCube",
    "ScoreWriter",
    "Store",
    "StoreWriter",
    "TextBlock",
    "TokenCounts",
    "TokenCube",
    "TokenIds",
    "Upgraded",
    "Verified",
    "corpus_from_frames",
    "import_concept_files",
    "import_parallel",
    "import_table",
    "read_neuron_sets",
    "upgrade",
    "verify",
]

if TYPE_CHECKING:
    from actlas.store.corpus.corpus import Corpus, corpus_from_frames
    from actlas.store.corpus.importers import import_concept_files, import_parallel, import_table
    from actlas.store.cube import Cube, ScoreCube, TokenCounts, TokenCube
    from actlas.store.integrity import Verified, verify
    from actlas.store.layout import TextBlock
    from actlas.store.neuron_sets import read_neuron_sets
    from actlas.store.store import Store
    from actlas.store.values import BlockValues, TokenIds
    from actlas.store.write.checkpoint_writer import CheckpointWriter
    from actlas.store.write.score_writer import ScoreWriter
    from actlas.store.write.upgrade import Upgraded, upgrade
    from actlas.store.write.writer import StoreWriter

__getattr__, __dir__ = lazily(__name__, _HOMES, __all__)
