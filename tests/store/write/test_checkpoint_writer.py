"""One checkpoint: claimed, written and committed block by block, visible when all are in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from actlas.errors import IncompleteCube, RecipeMismatch
from actlas.store import Store
from tests.store.conftest import Planted
from tests.store.write.test_writer import contents


def test_uncommitted_checkpoint_is_invisible(planted: Planted, tmp_path: Path) -> None:
    with planted.writer(tmp_path / "s") as writer:
        run = planted.begin(writer)
        block = run.claim_next()
        assert block is not None
        run.write_block(block, planted.block(block.start, block.stop))
    store = Store(tmp_path / "s")
    assert store.checkpoints == []
    assert store.unfinished == {"model-step1": 32}
    with pytest.raises(IncompleteCube, match="holds 32 of 150 texts: its run did not commit"):
        store.cube("model-step1", "mlp_hidden")


def test_two_owners_never_share_a_block(planted: Planted, tmp_path: Path) -> None:
    with planted.writer(tmp_path / "s") as one, planted.writer(tmp_path / "s") as two:
        first, second = planted.begin(one), planted.begin(two)
        taken = [first.claim_next(), second.claim_next(), first.claim_next(), second.claim_next(), first.claim_next()]
        assert sorted(block.index for block in taken if block) == [0, 1, 2, 3, 4]
        assert first.claim_next() is None
        assert second.claim_next() is None
        with pytest.raises(ValueError, match="is not claimed here"):
            second.write_block(taken[0], planted.block(0, 32))
        for block, run in zip(taken, (first, second, first, second, first), strict=True):
            run.write_block(block, planted.block(block.start, block.stop))
        assert second.finish()
        assert first.is_complete
    np.testing.assert_array_equal(
        Store(tmp_path / "s").cube("model-step1", "resid").read(), planted.expected(planted.values["resid"])
    )


def test_a_dead_owner_s_block_is_free_again(planted: Planted, tmp_path: Path) -> None:
    with planted.writer(tmp_path / "s") as one:
        run = planted.begin(one)
        block = run.claim_next()
        run.release_claims()
        assert run.claim_next() == block


def test_other_weights_under_the_same_id_are_refused(store_path: Path, planted: Planted) -> None:
    with planted.writer(store_path) as writer, pytest.raises(RecipeMismatch, match="weight_hash"):
        writer.checkpoint(
            dataclasses.replace(planted.begin(writer).checkpoint),
            {"weight_hash": "another"},
            {site: array.shape[:2] for site, array in planted.values.items()},
        )


def test_a_strided_block_is_stored_like_a_contiguous_one(planted: Planted, tmp_path: Path) -> None:
    plain = planted.write(tmp_path / "plain")
    with planted.writer(tmp_path / "strided") as writer:
        run = planted.begin(writer)
        while (block := run.claim_next()) is not None:
            values = planted.block(block.start, block.stop)
            # texts first in memory, as a forward pass delivers them
            values.cubes = {s: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0) for s, a in values.cubes.items()}
            run.write_block(block, values)
        run.finish({"fidelity": 0.0})
    assert contents(tmp_path / "strided") == contents(plain)
