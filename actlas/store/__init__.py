"""What is on disk. Knows no model and no statistic."""

from actlas.store.corpus.corpus import Corpus, corpus_from_frames
from actlas.store.corpus.importers import import_concept_files, import_parallel, import_table
from actlas.store.cube import Cube, ScoreCube, TokenCounts, TokenCube
from actlas.store.layout import TextBlock
from actlas.store.neuron_sets import read_neuron_sets
from actlas.store.store import Store
from actlas.store.values import BlockValues, TokenIds
from actlas.store.verify import Verified, verify
from actlas.store.write.checkpoint_writer import CheckpointWriter
from actlas.store.write.score_writer import ScoreWriter
from actlas.store.write.upgrade import Upgraded, upgrade
from actlas.store.write.writer import StoreWriter

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
