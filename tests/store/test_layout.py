from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actlas.store import layout


@given(st.integers(1, 40), st.integers(1, 20000), st.integers(1, 5000), st.integers(1, 1024))
def test_shards_are_multiples_of_chunks_and_cover_the_array(layers: int, neurons: int, texts: int, block: int) -> None:
    plan = layout.cube_plan(layers, neurons, texts, min(block, texts), "bfloat16")
    assert all(shard % chunk == 0 for shard, chunk in zip(plan.shard, plan.chunk, strict=True))
    assert plan.shard[1] >= neurons
    assert plan.dtype == "uint16"
    assert np.array([plan.fill_value], np.uint16).dtype == np.uint16
    one_layer = plan.shard[1] * plan.shard[2] * 2
    assert plan.shard[0] == 1 or plan.shard[0] * one_layer <= layout.SHARD_BYTES


@given(st.integers(1, 10_000), st.integers(1, 2000))
def test_blocks_partition_the_text_axis(texts: int, size: int) -> None:
    blocks = layout.text_blocks(texts, size)
    assert blocks[0].start == 0
    assert all(a.stop == b.start for a, b in pairwise(blocks))
    assert blocks[-1].stop == texts
    assert [block.index for block in blocks] == list(range(len(blocks)))


def test_every_token_block_owns_its_rows() -> None:
    plan = layout.token_plan(4, 64, n_blocks=3, block_tokens=700, dtype="float16")
    assert plan.shape[1] == 3 * plan.shard[1]
    assert plan.shard[1] >= 700
