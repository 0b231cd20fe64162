"""What is held is what was read, no more than there is room for, and not that of another checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actlas.query import Atlas, group_texts, nearest_texts, open_store
from actlas.query.texts.held import HeldValues
from actlas.testing.planted import Planting, planted_store

CK = "planted-step64"
GROUP = pl.DataFrame({"site": ["mlp_pre", "attn_out", "mlp_pre"], "layer": [1, 0, 1], "neuron": [30, 1, 2]})


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    held = HeldValues(24)
    for name in "abc":
        held.add(name, np.full(2, ord(name), dtype=np.float32))
    assert held.get("a") is not None
    held.add("d", np.zeros(2, dtype=np.float32))
    assert [name for name in "abcd" if held.get(name) is not None] == ["a", "c", "d"]
    held.add("large", np.zeros(7, dtype=np.float32))
    assert [name for name in "acd" if held.get(name) is not None] == []
    held.add("e", np.zeros(6, dtype=np.float32))
    assert held.get("e") is not None


def test_a_group_is_read_once(scored: Atlas, count_chunks: Callable[[], int]) -> None:
    count_chunks()
    first = group_texts(scored, CK, GROUP, n=144)
    assert count_chunks() == 2 * 3
    assert group_texts(scored, CK, GROUP, n=144).equals(first)
    group_texts(scored, CK, GROUP[::-1], combine="min")
    nearest_texts(scored, CK, [0.0, 1.0, 2.0], GROUP[1:].vstack(GROUP[:1]))
    assert count_chunks() == 0
    # a neuron more, in a chunk that was read; a text's values; another checkpoint
    more = GROUP.vstack(pl.DataFrame({"site": ["mlp_pre"], "layer": [1], "neuron": [7]}))
    group_texts(scored, CK, more)
    assert count_chunks() == 3
    nearest_texts(scored, CK, 3, GROUP)
    assert count_chunks() == 2
    group_texts(scored, "planted-step0", GROUP)
    assert count_chunks() == 2 * 3


def test_held_and_read_values_give_the_same(scored: Atlas) -> None:
    again = open_store(scored.path)
    for combine in ("mean", "sum", "min", "max", "l2"):
        group_texts(scored, CK, GROUP, combine="mean")
        fresh = open_store(scored.path)
        asked = [group_texts(store, CK, GROUP, n=50, combine=combine) for store in (scored, again, fresh)]
        assert asked[0].equals(asked[1])
        assert asked[0].equals(asked[2])


def test_a_group_without_room_is_read_again(
    scored: Atlas, count_chunks: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actlas.query.texts.groups.HELD_BYTES", 4 * 144 * 3 - 1)
    count_chunks()
    first = group_texts(scored, CK, GROUP)
    assert group_texts(scored, CK, GROUP).equals(first)
    assert count_chunks() == 2 * 2 * 3
    group_texts(scored, CK, GROUP[:2])
    group_texts(scored, CK, GROUP[:2])
    assert count_chunks() == 2 * 3


def test_a_store_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    def written(seed: int) -> Path:
        planting = Planting(sites={"mlp_pre": (2, 40)}, steps=(64,), sharing=(0.5,), token_sites={}, n_groups=16, seed=seed)
        return planted_store(tmp_path / f"{seed}.actlas", planting)

    own, other = open_store(written(0)), written(1)
    group = GROUP.filter(site="mlp_pre")
    assert group_texts(own, CK, group).height == 10
    shutil.rmtree(own.path)
    shutil.copytree(other, own.path)
    assert group_texts(open_store(own.path), CK, group).equals(group_texts(other, CK, group))
    fresh = open_store(own.path)
    fresh.held = own.held
    assert group_texts(fresh, CK, group).equals(group_texts(other, CK, group))
