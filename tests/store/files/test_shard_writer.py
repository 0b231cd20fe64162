from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from actlas.store import layout
from actlas.store.files.codecs import CODECS
from actlas.store.files.group_writer import create_array
from actlas.store.files.shard_writer import write_shards

POOL = ThreadPoolExecutor(2)


@settings(max_examples=25, deadline=None)
@given(
    layers=st.integers(1, 4),
    neurons=st.integers(1, 300),
    texts=st.integers(1, 150),
    block=st.sampled_from([1, 7, 64]),
    codec=st.sampled_from(sorted(CODECS)),
)
def test_zarr_reads_what_we_assemble(
    tmp_path_factory: pytest.TempPathFactory, layers: int, neurons: int, texts: int, block: int, codec: str
) -> None:
    root = tmp_path_factory.mktemp("s")
    plan = layout.cube_plan(layers, neurons, texts, min(block, texts), "float16")
    values = np.random.default_rng(0).standard_normal((layers, neurons, texts)).astype(np.float16)
    create_array(root, "cubes/a/b", plan, CODECS[codec], {})
    for start in range(0, texts, min(block, texts)):
        part = values[:, :, start : start + min(block, texts)]
        write_shards(root, "cubes/a/b", plan, CODECS[codec], part, start=(0, 0, start), pool=POOL, sync=False)
    np.testing.assert_array_equal(zarr.open_array(root / "cubes/a/b", mode="r")[:], values)
    assert not list(root.rglob("*.tmp"))


def test_a_misaligned_write_raises(tmp_path: Path) -> None:
    plan = layout.cube_plan(1, 8, 100, 32, "float16")
    with pytest.raises(ValueError, match="not on the shard grid"):
        write_shards(tmp_path, "a", plan, CODECS["lz4"], np.zeros((1, 8, 32), np.float16), start=(0, 0, 16), pool=POOL)
