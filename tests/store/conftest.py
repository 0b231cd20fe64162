"""A small store with values that can be told apart, written through the writer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actlas.compiled.bfloat16 import bfloat16_to_float32, float32_to_bfloat16
from actlas.names import Checkpoint, Recipe, TokenSample
from actlas.store import BlockValues, CheckpointWriter, Corpus, StoreWriter, TokenIds, corpus_from_frames

LAYERS, NEURONS, WIDTH, PER_TEXT = 3, 200, 24, 2


@dataclass
class Planted:
    """What a store should hold."""

    corpus: Corpus
    recipe: Recipe
    tokens: TokenIds
    sample: pl.DataFrame
    values: dict[str, np.ndarray]
    vectors: np.ndarray

    def writer(self, path: Path, texts_per_block: int = 32, **options: object) -> StoreWriter:
        return StoreWriter(path, self.recipe, self.corpus, self.tokens, self.sample, texts_per_block=texts_per_block, **options)

    def begin(self, writer: StoreWriter, name: str = "model-step1", step: int | None = 1) -> CheckpointWriter:
        cubes = {site: array.shape[:2] for site, array in self.values.items()}
        return writer.checkpoint(
            Checkpoint(name, "model", step),
            {"weight_hash": f"hash of {name}", "backend": "hf", "dtype": "float32"},
            cubes,
            {"resid": (LAYERS, WIDTH)},
            {"mlp_hidden": (LAYERS, NEURONS)},
        )

    def stored(self, array: np.ndarray) -> np.ndarray:
        return float32_to_bfloat16(array) if self.recipe.dtype == "bfloat16" else array.astype(self.recipe.dtype)

    def expected(self, array: np.ndarray) -> np.ndarray:
        stored = self.stored(array)
        return bfloat16_to_float32(stored) if self.recipe.dtype == "bfloat16" else stored

    def block(self, start: int, stop: int) -> BlockValues:
        languages = np.array([self.corpus.languages.index(lang) for lang in self.corpus.texts["language"][start:stop]])
        present = np.bincount(languages, minlength=len(self.corpus.languages)).astype(np.int64)
        return BlockValues(
            cubes={site: self.stored(array[:, :, start:stop]) for site, array in self.values.items()},
            tokens={"resid": self.stored(self.vectors[:, PER_TEXT * start : PER_TEXT * stop])},
            counts={"mlp_hidden": np.broadcast_to(present[:, None, None], (len(present), LAYERS, NEURONS)).copy()},
            n_tokens=10 * present,
            loss_sum=2.0 * (stop - start),
            loss_tokens=stop - start,
        )

    def write(self, path: Path, name: str = "model-step1", step: int | None = 1, **options: object) -> Path:
        with self.writer(path, **options) as writer:
            run = self.begin(writer, name, step)
            while (block := run.claim_next()) is not None:
                run.write_block(block, self.block(block.start, block.stop))
            assert run.finish({"fidelity": 0.0})
        return path


def plant(dtype: str = "float16", n_texts: int = 150) -> Planted:
    rng = np.random.default_rng(0)
    language = np.where(np.arange(n_texts) < n_texts // 3, "en", "es")
    texts = pl.DataFrame({"text": [f"text {i}" for i in range(n_texts)], "language": language})
    labels = pl.DataFrame({"text_id": np.arange(n_texts), "concept": "water", "is_concept": rng.random(n_texts) < 0.3})
    corpus = corpus_from_frames(texts, labels)
    lengths = rng.integers(PER_TEXT, 9, n_texts)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = TokenIds(rng.integers(0, 50, offsets[-1]).astype(np.int32), offsets)
    ids = np.repeat(np.arange(n_texts), PER_TEXT)
    positions = np.tile(np.arange(PER_TEXT, dtype=np.int32), n_texts)
    first = tokens.ids[offsets[ids] + positions]
    sample = pl.DataFrame({"text_id": ids, "position": positions, "token_id": first})
    recipe = Recipe(corpus.fingerprint, "tokenizer", ("mlp_hidden", "resid"), dtype=dtype, tokens=TokenSample(PER_TEXT))
    values = {
        "mlp_hidden": rng.standard_normal((LAYERS, NEURONS, n_texts)).astype(np.float32),
        "resid": rng.standard_normal((LAYERS, WIDTH, n_texts)).astype(np.float32),
    }
    vectors = rng.standard_normal((LAYERS, PER_TEXT * n_texts, WIDTH)).astype(np.float32)
    return Planted(corpus, recipe, tokens, sample, values, vectors)


@pytest.fixture
def planted() -> Planted:
    return plant()


@pytest.fixture
def store_path(planted: Planted, tmp_path: Path) -> Path:
    return planted.write(tmp_path / "run.actlas")
