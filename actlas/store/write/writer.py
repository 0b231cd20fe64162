"""Writing a store: blocks of texts are claimed, written as whole shards, committed; a checkpoint shows once all of them are.

The unit of work is one block of texts of one checkpoint, all sites together. Its owner holds a claim that dies with the process.
Whatever stops a run, the same call again finds the blocks without a commit record and writes exactly those.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from actlas.errors import RecipeMismatch
from actlas.names import Checkpoint, Recipe
from actlas.store import layout
from actlas.store.corpus.corpus import Corpus
from actlas.store.corpus.text_sets import sets_frame
from actlas.store.dtypes import SiteDtype
from actlas.store.files.atomic import clear_temporaries, create_once, read_json, to_json, write_atomically
from actlas.store.files.codecs import CODECS, DEFAULT_CODEC
from actlas.store.files.digests import file_record, record_files
from actlas.store.files.group_writer import create_leaf
from actlas.store.files.locks import Claim
from actlas.store.files.parquet import parquet_bytes
from actlas.store.files.shard_writer import ShardThreads
from actlas.store.log import Log, has_log
from actlas.store.records import begun_checkpoints, read_about
from actlas.store.states import StatePlan
from actlas.store.values import Shapes, TokenIds
from actlas.store.write.block_claims import BlockClaims
from actlas.store.write.checkpoint_writer import CheckpointWriter
from actlas.store.write.context import WriteContext
from actlas.store.write.joining import creation_claim, differences, join
from actlas.timing import StageTimes


class StoreWriter:
    """Creates a store, or joins the one that is there if it was made by the same recipe.

    Args:
        path: Folder of the store.
        recipe: What decides the numbers.
        corpus: Texts of the text axis (already without those that the recipe drops) and their labels.
        tokens: Their token ids.
        sample: Sampled tokens in text order: text_id, position, token_id; further columns are kept. None keeps no token vectors.
        texts_per_block: Rows of a block; see `layout.texts_per_block`. An existing store keeps its own.
        codec: Name in `codecs.CODECS`. An existing store keeps its own.
        sync: Whether every shard is flushed to disk before it is committed; without it a power cut can lose committed shards.
        n_threads: Threads that encode chunks; None for one per core.
        times: Where the seconds of "transpose", "encode", "file", "sync", "commit" and, of states, "accumulate" are added up.

    Raises:
        RecipeMismatch: If the store there was made by another recipe or from another corpus.
    """

    def __init__(
        self,
        path: Path | str,
        recipe: Recipe,
        corpus: Corpus,
        tokens: TokenIds,
        sample: pl.DataFrame | None = None,
        *,
        texts_per_block: int = layout.CHUNK_TEXTS,
        codec: str = DEFAULT_CODEC.name,
        sync: bool = True,
        n_threads: int | None = None,
        times: StageTimes | None = None,
    ) -> None:
        self.path, self.recipe, self.corpus, self._sync = Path(path), recipe, corpus, sync
        n_threads = n_threads or os.cpu_count() or 1
        threads = ShardThreads(
            ThreadPoolExecutor(n_threads, thread_name_prefix="actlas-encode"),
            ThreadPoolExecutor(1, thread_name_prefix="actlas-finish"),
            sync,
            StageTimes() if times is None else times,
        )
        with Claim.hold(creation_claim(self.path)):
            about = existing_store(self.path, recipe)
            about = about or self._create(tokens, sample, min(texts_per_block, max(corpus.n_texts, 1)), codec)
            self._joined = join(self.path)
            self._intention.unlink(missing_ok=True)
        self.blocks = layout.text_blocks(corpus.n_texts, about["texts_per_block"])
        block_tokens = tuple(about["sampled_tokens_per_block"])
        its_codec, log = CODECS[about["codec"]], Log(self.path) if has_log(about) else None
        if log is not None:
            log.complete(sync=sync)
        self.context = WriteContext(
            self.path, recipe, corpus, self.blocks, block_tokens, its_codec, threads, n_threads, about["format"], log
        )

    @property
    def _intention(self) -> Path:
        """What is to be created, while it is created."""
        return self.path / "manifests" / "create.json"

    def _create(self, tokens: TokenIds, sample: pl.DataFrame | None, texts_per_block: int, codec: str) -> dict[str, Any]:
        """Corpus first; the root's zarr.json comes last and makes the folder a store.

        Where no lock keeps another machine from creating the same store, what the first one wrote down holds for both: from
        then on both write the same bytes.
        """
        own = {"recipe": self.recipe.to_json(), "codec": codec, "texts_per_block": texts_per_block}
        create_once(self._intention, [to_json(own)], sync=self._sync)
        try:
            first = read_json(self._intention)
        except FileNotFoundError:
            first = own  # the other machine has created the store and removed the file
        if (existing := existing_store(self.path, self.recipe)) is not None:
            return existing
        check_recipe(Recipe.from_json(first["recipe"]), self.recipe, self.path)
        about = self._write_corpus(tokens, sample, first["texts_per_block"], first["codec"])
        clear_temporaries(self.path, is_deep=False)
        clear_temporaries(self.path / "corpus")
        clear_temporaries(self.path / "manifests", is_deep=False)
        return about

    def _write_corpus(self, tokens: TokenIds, sample: pl.DataFrame | None, texts_per_block: int, codec: str) -> dict[str, Any]:
        blocks = layout.text_blocks(self.corpus.n_texts, texts_per_block)
        texts = self.corpus.texts.with_columns(pl.Series("n_tokens", tokens.lengths, dtype=pl.Int32))
        per_block = [0] * len(blocks)
        if sample is not None and sample.height:
            rows = np.searchsorted(texts["text_id"].to_numpy(), sample["text_id"].to_numpy())
            if (np.diff(rows) < 0).any():
                raise ValueError("sampled tokens must come in the order of the corpus' texts")
            block_of = rows // texts_per_block
            per_block = np.bincount(block_of, minlength=len(blocks)).tolist()
            block_rows = layout.token_plan(1, 1, len(blocks), max(per_block), "float32").shape[1] // len(blocks)
            first = np.concatenate([[0], np.cumsum(per_block)])[block_of]
            array_rows = block_of * block_rows + np.arange(sample.height) - first
            sample = sample.select(pl.Series("row", array_rows, dtype=pl.Int64), pl.all())
            self._write(layout.SAMPLED_TOKENS, [parquet_bytes(sample)])
        lists = np.split(tokens.ids, tokens.offsets[1:-1])[: texts.height]
        # cast as well: texts that all have the same number of tokens, cut at the limit say, would become an array of fixed width
        ids = pl.DataFrame({"text_id": texts["text_id"], "token_ids": pl.Series(lists).cast(pl.List(pl.Int32))})
        self._write(layout.TOKEN_IDS, [parquet_bytes(ids)])
        self._write(layout.TEXTS, [parquet_bytes(texts)])
        self._write(layout.LABELS, [parquet_bytes(self.corpus.labels)])
        if self.recipe.states is not None:
            self._write(layout.STATE_SETS, [parquet_bytes(sets_frame(self.corpus.text_sets))])
        for folder in layout.OTHER_FILES:
            # readers that list what is in the store would warn of the files of a folder that is no group
            create_leaf(self.path, folder, sync=self._sync)
        about = {
            "format": layout.FORMAT_VERSION,
            "recipe": self.recipe.to_json(),
            "recipe_fingerprint": self.recipe.fingerprint,
            "corpus_fingerprint": self.corpus.fingerprint,
            "codec": codec,
            "texts_per_block": texts_per_block,
            "sampled_tokens_per_block": per_block,
        }
        if self.corpus.declared is not None:
            about["declared"] = self.corpus.declared.to_json()
        if layout.FORMAT_VERSION > 1:
            about["log"] = True
        root = to_json({"zarr_format": 3, "node_type": "group", "attributes": {"actlas": about}})
        if has_log(about):
            corpus = sorted(path.relative_to(self.path).as_posix() for path in (self.path / "corpus").glob("*.parquet"))
            Log(self.path).begin((file_record("zarr.json", root), *record_files(self.path, corpus)), sync=self._sync)
        self._write("zarr.json", [root])
        return about

    def _write(self, name: str, parts: Iterable[bytes]) -> None:
        write_atomically(self.path / name, parts, sync=self._sync)

    def checkpoint(
        self,
        checkpoint: Checkpoint,
        provenance: Mapping[str, Any],
        cubes: Shapes,
        token_cubes: Shapes | None = None,
        counts: Shapes | None = None,
        states: StatePlan | None = None,
        claims: BlockClaims | None = None,
        dtypes: Mapping[str, SiteDtype] | None = None,
    ) -> CheckpointWriter:
        """Begin a checkpoint, or go on with one that was begun.

        Args:
            checkpoint: Which one.
            provenance: At least ``weight_hash``; whatever else should be known of it later.
            cubes: site -> (layers, neurons).
            token_cubes: site -> (layers, channels).
            counts: site -> (layers, neurons), for sites whose active tokens are counted.
            states: What is kept of the pooled values in place of cubes.
            claims: Claims of its blocks, where one may be reserved already.
            dtypes: What is known of the stored dtypes of sites; where a site is stored in another dtype than the recipe has.

        Returns:
            Its writer.

        Raises:
            RecipeMismatch: If it was begun with other weights or other shapes.

        Example:
            >>> begun = store_writer.checkpoint(Checkpoint("tiny-step2", "tiny", 2), {"weight_hash": "b2"}, {"mlp_pre": (1, 8)})
            >>> begun.is_complete, len(begun.pending)
            (False, 1)
        """
        token_cubes = (token_cubes or {}) if any(self.context.block_tokens) else {}
        return CheckpointWriter(self.context, checkpoint, provenance, cubes, token_cubes, counts or {}, states, claims, dtypes)

    def same_weights(self, checkpoint_id: str, weight_hash: str) -> list[str]:
        """Other checkpoints of the store, begun or complete, that hold the very same weights.

        Args:
            checkpoint_id: The checkpoint that is not looked for.
            weight_hash: Hash of its weights.

        Returns:
            Ids of checkpoints.

        Example:
            >>> _ = store_writer.checkpoint(Checkpoint("tiny-step2", "tiny", 2), {"weight_hash": "b2"}, {"mlp_pre": (1, 8)})
            >>> store_writer.same_weights("tiny-step3", "b2")
            ['tiny-step2']
        """
        return same_weights(self.path, checkpoint_id, weight_hash)

    def close(self) -> None:
        """Stop the threads, once what was started is done.

        Example:
            >>> store_writer.close()
        """
        self.context.pool.shutdown()
        self.context.threads.finisher.shutdown()
        self._joined.release()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def same_weights(path: Path, checkpoint_id: str, weight_hash: str) -> list[str]:
    """Other checkpoints of the store at `path`, begun or complete, that hold the very same weights; none if there is no store."""
    return [
        record.checkpoint
        for record in begun_checkpoints(path)
        if record.checkpoint != checkpoint_id and record.weight_hash == weight_hash
    ]


def existing_store(path: Path, recipe: Recipe) -> dict[str, Any] | None:
    """What the store at `path` says of itself; None if there is none.

    Raises:
        RecipeMismatch: If it was made by another recipe, or not by actlas.
    """
    if not (path / "zarr.json").exists():
        return None
    about = read_about(path)
    if about is None:
        raise RecipeMismatch(f"{path} is a zarr hierarchy that actlas did not make; extract into a new folder")
    check_recipe(Recipe.from_json(about["recipe"]), recipe, path)
    return about


def check_recipe(existing: Recipe, asked: Recipe, path: Path) -> None:
    """Refuse a run whose recipe differs from the store's.

    Raises:
        RecipeMismatch: Naming every field that differs.
    """
    if existing == asked:
        return
    differs = differences(existing, asked)
    raise RecipeMismatch(f"one store holds one recipe, and {path} was made with another ({differs}). Extract into a new store")
