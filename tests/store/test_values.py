import numpy as np

from actlas.store import BlockValues, TokenIds


def test_token_ids_know_how_long_each_text_is() -> None:
    tokens = TokenIds(np.arange(6, dtype=np.int32), np.array([0, 2, 2, 6]))
    assert tokens.lengths.tolist() == [2, 0, 4]


def test_a_block_may_hold_cubes_alone() -> None:
    values = BlockValues({"resid": np.zeros((1, 4, 2), np.float16)})
    assert (dict(values.tokens), dict(values.counts), values.n_tokens) == ({}, {}, None)
    assert (values.loss_sum, values.loss_tokens) == (0.0, 0)
