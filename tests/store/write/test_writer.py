from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from actlas.errors import RecipeMismatch
from tests.store.conftest import Planted


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_resumed_store_has_the_same_bytes(planted: Planted, tmp_path: Path) -> None:
    whole = planted.write(tmp_path / "whole")
    for stopped_after in (1, 3):
        path = tmp_path / f"stopped{stopped_after}"
        with planted.writer(path) as writer:
            run = planted.begin(writer)
            for _ in range(stopped_after):
                block = run.claim_next()
                assert block is not None
                run.write_block(block, planted.block(block.start, block.stop))
            lost = run.claim_next()  # claimed, never written
            assert lost is not None
            run.release_claims()
            assert not run.finish()
        planted.write(path)
        assert contents(path) == contents(whole)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"pooling": "mean"}, "pooling 'max' there, 'mean' asked"),
        ({"dtype": "float32"}, "dtype"),
        ({"sites": ("resid",)}, "sites"),
    ],
)
def test_another_recipe_is_refused(store_path: Path, planted: Planted, change: dict[str, object], named: str) -> None:
    planted.recipe = dataclasses.replace(planted.recipe, **change)
    with pytest.raises(RecipeMismatch, match=named):
        planted.writer(store_path)


def test_same_weights_under_two_steps_are_found(store_path: Path, planted: Planted) -> None:
    with planted.writer(store_path) as writer:
        assert writer.same_weights("model-step2", "hash of model-step1") == ["model-step1"]
        assert writer.same_weights("model-step1", "hash of model-step1") == []
