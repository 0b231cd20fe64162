"""What a run may do with a store that is there."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actlas.errors import DamagedStore, RecipeMismatch
from actlas.store import layout
from actlas.store.files.locks import Claim
from actlas.store.integrity.tables import corpus_faults
from actlas.store.store import Store
from actlas.store.values import TokenIds
from actlas.store.write.joining import (
    check_tokens,
    holds_blocks,
    known_dtypes,
    known_tokenizer,
    start_checkpoint_over,
    start_over,
)
from actlas.store.write.writer import existing_store
from tests.store.conftest import Planted


def begun(planted: Planted, path: Path, n_blocks: int) -> None:
    """A store whose run stopped after some blocks."""
    with planted.writer(path) as writer:
        run = planted.begin(writer)
        for _ in range(n_blocks):
            block = run.claim_next()
            assert block is not None
            run.write_block(block, planted.block(block.start, block.stop))
        run.release_claims()


def test_a_store_without_a_block_may_be_begun_anew_by_another_recipe(planted: Planted, tmp_path: Path) -> None:
    begun(planted, tmp_path / "s", 0)
    (tmp_path / "s" / "notes.txt").write_text("mine")
    other = dataclasses.replace(planted.recipe, dtype="float32")
    assert start_over(tmp_path / "s", planted.recipe) is None
    assert start_over(tmp_path / "s", other) == f"dtype {planted.recipe.dtype!r} there, 'float32' asked"
    assert existing_store(tmp_path / "s", other) is None
    assert sorted(os.listdir(tmp_path / "s")) == ["manifests", "notes.txt", "tables"]
    assert start_over(tmp_path / "s", other) is None


def test_a_store_with_a_block_stays(planted: Planted, tmp_path: Path) -> None:
    begun(planted, tmp_path / "s", 1)
    other = dataclasses.replace(planted.recipe, dtype="float32")
    assert holds_blocks(tmp_path / "s")
    assert start_over(tmp_path / "s", other) is None
    with pytest.raises(RecipeMismatch, match="one store holds one recipe"):
        existing_store(tmp_path / "s", other)


def test_a_store_that_is_written_into_stays(planted: Planted, tmp_path: Path) -> None:
    other = dataclasses.replace(planted.recipe, dtype="float32")
    with planted.writer(tmp_path / "s"):
        assert start_over(tmp_path / "s", other) is None
        with planted.writer(tmp_path / "s"):
            pass
        assert start_over(tmp_path / "s", other) is None
    assert not list((tmp_path / "s" / "manifests").glob("*.claim"))
    assert start_over(tmp_path / "s", other) is not None


def test_a_checkpoint_is_begun_anew_in_dtypes_that_keep_more(planted: Planted, tmp_path: Path) -> None:
    begun(planted, tmp_path / "s", 1)
    name, same = next(iter(Store(tmp_path / "s").unfinished)), planted.recipe.dtypes
    more = {**same, "resid": "float32"}
    assert not start_checkpoint_over(tmp_path / "s", name, same)
    assert not start_checkpoint_over(tmp_path / "s", "another", more)
    assert not start_checkpoint_over(tmp_path / "none", name, more)
    with planted.writer(tmp_path / "s"), pytest.raises(RecipeMismatch, match="other processes write into"):
        start_checkpoint_over(tmp_path / "s", name, more)
    claim = Claim.hold(tmp_path / "s" / "manifests" / name / "blocks" / "000001.claim")
    with claim, pytest.raises(RecipeMismatch, match="start this run when they are done"):
        start_checkpoint_over(tmp_path / "s", name, more)
    assert known_dtypes(tmp_path / "s") == same
    assert start_checkpoint_over(tmp_path / "s", name, more) == (planted.recipe.dtype != "float32")
    assert start_checkpoint_over(tmp_path / "s", name, more) is False
    with planted.writer(tmp_path / "s") as writer:
        run = planted.begin(writer)
        assert len(run.pending) == len(run.blocks)


def test_a_folder_without_a_store_is_left_alone(planted: Planted, tmp_path: Path) -> None:
    assert start_over(tmp_path / "none", planted.recipe) is None
    assert not (tmp_path / "none").exists()
    check_tokens(tmp_path / "none", TokenIds(np.zeros(0, np.int32), np.zeros(1, np.int64)))


def test_a_tokenizer_keeps_the_name_that_a_store_with_blocks_has_for_it(planted: Planted, tmp_path: Path) -> None:
    name = planted.recipe.tokenizer
    begun(planted, tmp_path / "s", 0)
    assert known_tokenizer(tmp_path / "s", ("new", name)) == "new"
    begun(planted, tmp_path / "s", 1)
    assert known_tokenizer(tmp_path / "s", ("new", name)) == name
    assert known_tokenizer(tmp_path / "s", ("new", "old")) == "new"


def test_a_store_without_its_tokens_is_damaged(planted: Planted, tmp_path: Path) -> None:
    begun(planted, tmp_path / "s", 1)
    (tmp_path / "s" / layout.TOKEN_IDS).unlink()
    with pytest.raises(DamagedStore, match="tokens.parquet is not there"):
        check_tokens(tmp_path / "s", TokenIds(np.zeros(0, np.int32), np.zeros(1, np.int64)))


def test_texts_that_all_have_the_same_number_of_tokens(planted: Planted, tmp_path: Path) -> None:
    """All cut at the limit, say. Earlier versions wrote them as arrays of fixed width."""
    n_texts, path = planted.corpus.n_texts, tmp_path / "s"
    tokens = TokenIds(np.arange(3 * n_texts, dtype=np.int32), np.arange(0, 3 * n_texts + 1, 3))
    sample = planted.sample.with_columns((3 * pl.col("text_id") + pl.col("position")).cast(pl.Int32).alias("token_id"))
    begun(dataclasses.replace(planted, tokens=tokens, sample=sample), path, 1)
    written = pl.read_parquet(path / layout.TOKEN_IDS)
    assert written.schema["token_ids"] == pl.List(pl.Int32)
    for ids in (pl.col("token_ids"), pl.col("token_ids").list.to_array(3)):
        written.with_columns(ids).write_parquet(path / layout.TOKEN_IDS)
        check_tokens(path, tokens)
        assert list(corpus_faults(Store(path))) == []
        with pytest.raises(RecipeMismatch, match="text 0 first"):
            check_tokens(path, TokenIds(tokens.ids + 1, tokens.offsets))
