"""Blocks of neurons, halves of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from actlas.query import open_store
from actlas.query.blocks import neuron_blocks, on_host
from actlas.query.splits import split_halves, text_groups
from actlas.testing.planted import Planting, planted_store


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    planting = Planting(sites={"mlp_pre": (2, 300)}, steps=(0,), sharing=(0.0,), token_sites={}, dtype="bfloat16")
    return planted_store(tmp_path_factory.mktemp("stream") / "a.actlas", planting)


@pytest.mark.parametrize("block_bytes", [1, 128 * 144 * 4, 256 * 144 * 4, 1 << 30])
def test_blocks_make_up_the_cube(path: Path, block_bytes: int) -> None:
    cube = open_store(path).cube("planted-step0", "mlp_pre")
    whole = cube.read()
    seen = np.zeros(whole.shape[:2], dtype=int)
    for block in neuron_blocks(cube, block_bytes=block_bytes):
        np.testing.assert_array_equal(block.values, whole[block.layer, block.neurons])
        assert block.start % 128 == 0
        assert block.values.nbytes <= max(block_bytes, 128 * 144 * 4)
        seen[block.layer, block.neurons] += 1
    assert (seen == 1).all()


def test_some_layers_and_some_texts(path: Path) -> None:
    cube = open_store(path).cube("planted-step0", "mlp_pre")
    blocks = list(neuron_blocks(cube, [1], texts=slice(48, 96)))
    assert [block.layer for block in blocks] == [1]
    np.testing.assert_array_equal(blocks[0].values, cube.read(layer=1, texts=slice(48, 96)))
    assert list(neuron_blocks(cube, [])) == []


def test_halves_do_not_share_content(plain: Any) -> None:
    texts = plain.corpus.texts
    second = split_halves(texts, seed=3)
    halves = texts.with_columns(pl.Series("half", second))
    linked = halves.filter(pl.col("parallel_id").is_not_null()).group_by("parallel_id").agg(pl.col("half").n_unique())
    assert (linked["half"] == 1).all()
    alone = halves.filter(pl.col("parallel_id").is_null())
    assert alone.height == 6
    assert abs(second.mean() - 0.5) < 0.05
    assert (split_halves(texts, seed=3) == second).all()
    assert (split_halves(texts, seed=4) != second).any()


def test_groups_do_not_depend_on_the_order_of_rows() -> None:
    texts = pl.DataFrame({"text_id": [5, 6, 7, 8], "parallel_id": ["a", None, "a", "6"]})
    groups = text_groups(texts)
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3
    shuffled = texts[[3, 1, 0, 2]]
    assert text_groups(shuffled).tolist() == groups[[3, 1, 0, 2]].tolist()


def test_answers_come_to_the_host() -> None:
    class Tensor:
        def cpu(self) -> np.ndarray:
            return np.array([1.0])

    assert on_host(Tensor()).tolist() == [1.0]
    assert on_host(np.array([2.0])).tolist() == [2.0]
