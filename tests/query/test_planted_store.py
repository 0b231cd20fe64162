"""The planted store of `actlas.testing.planted`: tests lean on it, so it is held to what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actlas.query import Atlas, open_store
from actlas.store import verify
from actlas.testing.planted import Planting, planted_store, stored


def test_it_is_a_whole_store(scored_path: Path) -> None:
    assert verify(open_store(scored_path)).damage == ()


def test_its_cubes_hold_what_was_planted(scored: Atlas, plain: Any) -> None:
    for site in plain.planting.sites:
        np.testing.assert_array_equal(scored.cube("planted-step64", site).read(), plain.values("planted-step64", site))


def test_planted_neurons_detect_their_concept(scored: Atlas) -> None:
    best = scored.scores("planted-step128", "mlp_pre").read("ap", "en", "salt")
    assert (best > 0.8).sum() >= 2
    assert np.median(best) < 0.5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_types(tmp_path: Path, dtype: str) -> None:
    planting = Planting(sites={"mlp_pre": (1, 8)}, steps=(0,), sharing=(1.0,), dtype=dtype)
    store = open_store(planted_store(tmp_path / "a.actlas", planting))
    values = store.cube("planted-step0", "mlp_pre").read()
    assert values.dtype == np.float32
    assert not (values * 4 % 1).any()


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    assert stored(np.array([1.0, -2.5]), "bfloat16").tolist() == [0x3F80, 0xC020]
