"""Vectors of tokens where the sites have them, pooled values elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from actlas.errors import CubeNotFound
from actlas.query import Atlas
from actlas.query.probing.vectors import chosen_values, chosen_vectors


def test_tokens_are_read_where_all_sites_have_them(scored: Atlas) -> None:
    names = scored.checkpoints
    assert chosen_values(scored, names, None, None) == "tokens"
    assert chosen_values(scored, names, ["resid"], None) == "tokens"
    assert chosen_values(scored, names, ["resid", "mlp_pre"], None) == "pooled"
    assert chosen_values(scored, names, ["resid"], "pooled") == "pooled"


def test_vectors_are_those_of_the_cubes(scored: Atlas) -> None:
    (pooled,) = chosen_vectors(scored, "planted-step0", ["mlp_pre"], "pooled")
    assert pooled.read(1).shape == (pooled.table.height, scored.cube("planted-step0", "mlp_pre").shape[1])
    assert np.array_equal(pooled.read(1)[:, 3], scored.cube("planted-step0", "mlp_pre").read(layer=1, neurons=3))
    assert [one.site for one in chosen_vectors(scored, "planted-step0", None, "pooled")] == scored.sites("planted-step0")
    assert [one.site for one in chosen_vectors(scored, "planted-step0", None, "tokens")] == ["embed", "resid"]
    with pytest.raises(CubeNotFound, match="resid"):
        chosen_vectors(scored, "planted-step0", ["resid"], "pooled")
