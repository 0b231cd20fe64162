"""Top texts against a plain sort."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlas.errors import CubeNotFound, QueryError
from actlas.query import TABLES, Atlas, neuron_texts, open_store, top_texts
from actlas.query.neurons import top_columns


@given(st.integers(1, 40), st.integers(1, 45), st.integers(0, 5))
def test_columns_by_a_full_sort(n_columns: int, n: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-2, 3, (6, n_columns)).astype(np.float16)
    columns, kept = top_columns(values, n)
    for row in range(6):
        wanted = sorted(range(n_columns), key=lambda at: (-values[row, at], at))[:n]
        assert columns[row].tolist() == wanted
        assert kept[row].tolist() == values[row, wanted].tolist()


def test_every_neuron_by_a_plain_sort(scored: Atlas, plain: Any) -> None:
    frame = top_texts(scored, sites=["mlp_pre", "attn_out"], checkpoints=["planted-step64"], n=7, block_bytes=1)
    assert frame.schema == pl.Schema(dict(TABLES["top_texts"].columns))
    assert frame.height == 128 * 7
    for site in ("attn_out", "mlp_pre"):
        values = plain.values("planted-step64", site)
        part = frame.filter(site=site)
        for layer, neuron in np.ndindex(values.shape[:2]):
            rows = part.filter(layer=layer, neuron=neuron)
            x = values[layer, neuron]
            wanted = sorted(range(x.size), key=lambda text_id: (-x[text_id], text_id))[:7]
            assert rows["text_id"].to_list() == wanted
            assert rows["value"].to_list() == x[wanted].tolist()
            assert rows["rank"].to_list() == list(range(1, 8))


def test_one_neuron_from_the_table_or_from_the_cube(asked: Atlas, count_chunks: Callable[[], int]) -> None:
    count_chunks()
    few = neuron_texts(asked, "planted-step0", "mlp_pre", 1, 3, n=4)
    assert count_chunks() == 0
    more = neuron_texts(asked, "planted-step0", "mlp_pre", 1, 3, n=9)
    assert count_chunks() == 3
    assert few.equals(more.head(4))
    assert few.columns == ["rank", "value", "language", "text_id", "text"]
    by_sql = asked.sql("FROM neuron_texts('planted-step0', 'mlp_pre', 1, 3, n := 9)")
    assert by_sql.with_columns(pl.col("rank").cast(pl.Int32)).equals(more)
    other = neuron_texts(asked, "planted-step0", "attn_out", 0, 3, n=2)
    assert other.height == 2


def test_more_than_a_corpus_has_is_refused(scored: Atlas) -> None:
    frame = top_texts(scored, sites=["attn_out"], checkpoints=["planted-step0"], n=144)
    assert frame.height == 48 * 144
    with pytest.raises(QueryError, match="n = 145, but the corpus of .* has 144 texts; ask for 144 or fewer"):
        top_texts(scored, sites=["attn_out"], n=145)
    with pytest.raises(QueryError, match="n = 145, but the corpus"):
        neuron_texts(scored, "planted-step0", "attn_out", 0, 0, n=145)


def test_what_is_not_there_is_refused(bare: Path) -> None:
    store = open_store(bare)
    with pytest.raises(QueryError, match="no neuron 40 in layer 0"):
        neuron_texts(store, "planted-step0", "mlp_pre", 0, 40)
    with pytest.raises(CubeNotFound):
        top_texts(store, sites=["resid"])
    with pytest.raises(QueryError, match="n must be at least 1, not 0"):
        top_texts(store, sites=["mlp_pre"], n=0)
