"""Token values that a store keeps, and what it does not keep."""

from __future__ import annotations

import pytest

from actlas.errors import QueryError, TableNotFound
from actlas.query import Atlas, neuron_token_values

CK = "planted-step64"


def test_every_token_of_the_strongest_texts(asked: Atlas) -> None:
    rows = neuron_token_values(asked, CK, "mlp_pre", 0, 4, n=2)
    assert rows.select("rank", "text_id", "language", "position", "piece", "value").rows() == [
        (1, 77, "en", 0, "a", 3.0),
        (1, 77, "en", 1, "b", -1.0),
        (2, 83, "en", 0, "a", 0.5),
        (2, 83, "en", 1, "b", 2.0),
    ]
    assert neuron_token_values(asked, CK, "mlp_pre", 0, 4, n=1).equals(rows.filter(rank=1))


def test_what_is_not_kept_is_said(asked: Atlas, scored: Atlas) -> None:
    with pytest.raises(QueryError, match=r"token values of mlp_pre/0/5 of planted-step64 are not kept, only of experts"):
        neuron_token_values(asked, CK, "mlp_pre", 0, 5)
    with pytest.raises(QueryError, match=r"holds the 2 strongest texts of a neuron of planted-step64, not 3"):
        neuron_token_values(asked, CK, "mlp_pre", 0, 4, n=3)
    with pytest.raises(QueryError, match="was not computed for planted-step0"):
        neuron_token_values(asked, "planted-step0", "mlp_pre", 0, 4, n=2)
    with pytest.raises(TableNotFound, match="actlas tokens"):
        neuron_token_values(scored, CK, "mlp_pre", 0, 4)
