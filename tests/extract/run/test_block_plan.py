"""How large blocks are, and what they take of the disk."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from actlas.errors import (
    DiskTooSmall,
)
from actlas.extract.run import block_plan
from actlas.store.store import Store
from tests.extract.runs import extract


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tiny_models, small_corpus, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(block_plan.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskTooSmall, match="before compression"):
        extract(tiny_models("llama"), small_corpus, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    extract(tiny_models("llama"), small_corpus, tmp_path / "s", checks_disk=False)


def test_values_in_memory_decide_how_large_blocks_are(tiny_models, small_corpus, tmp_path):
    folder = tiny_models("llama")
    extract(folder, small_corpus, tmp_path / "small", texts_per_block=None, value_bytes=1)
    extract(folder, small_corpus, tmp_path / "large", texts_per_block=None)
    blocks = {name: len(list((tmp_path / name / "manifests/llama/blocks").glob("*.json"))) for name in ("small", "large")}
    assert blocks == {"small": -(-small_corpus.n_texts // 32), "large": 1}
    cubes = [Store(tmp_path / name).cube("llama", "mlp_pre").read() for name in blocks]
    np.testing.assert_allclose(*cubes, rtol=1e-3, atol=1e-4)
