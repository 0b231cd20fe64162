"""What all writers into one store have in common."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actlas.names import Recipe
from actlas.store import layout
from actlas.store.corpus.corpus import Corpus
from actlas.store.files.codecs import Codec
from actlas.store.files.parquet import read_parquet
from actlas.store.files.shard_writer import ShardThreads
from actlas.store.layout import TextBlock
from actlas.store.log import Log
from actlas.timing import StageTimes


@dataclass(frozen=True)
class WriteContext:
    """Where a checkpoint is written, and by which rules. Made by `StoreWriter`, handed on to every `CheckpointWriter`.

    Attributes:
        path: Folder of the store.
        recipe: What decides the numbers.
        corpus: Texts of the text axis and their labels.
        blocks: Units of work along the text axis.
        block_tokens: Sampled tokens of every block.
        codec: How chunks are compressed.
        threads: Threads that encode and place shards.
        n_threads: How many of them encode.
        store_format: Format of the store, which goes on in its own.
        log: Its log; None in a store of an earlier version.
    """

    path: Path
    recipe: Recipe
    corpus: Corpus
    blocks: tuple[TextBlock, ...]
    block_tokens: tuple[int, ...]
    codec: Codec
    threads: ShardThreads
    n_threads: int
    store_format: int
    log: Log | None

    @cached_property
    def token_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of a token array that sampled tokens own, and the text_id of each."""
        sample = read_parquet(self.path / layout.SAMPLED_TOKENS)
        return sample["row"].to_numpy(), sample["text_id"].to_numpy()

    @property
    def pool(self) -> ThreadPoolExecutor:
        """Threads that encode chunks."""
        return self.threads.pool

    @property
    def sync(self) -> bool:
        """Whether files are flushed to disk before they count."""
        return self.threads.sync

    @property
    def times(self) -> StageTimes:
        """Where the seconds of writing are added up."""
        return self.threads.times
