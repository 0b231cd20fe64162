import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actlas.extract.inputs.batches import spans
from actlas.extract.pooling.pool import count_active, count_active_masked, pool, pool_segments, pool_spans
from actlas.names import POOLINGS

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def ragged(seed, n_texts, n_tokens, side):
    """Activations whose padding is poison, and the mask of the real tokens."""
    rng = np.random.default_rng(seed)
    lengths = np.sort(rng.integers(1, n_tokens + 1, size=n_texts))
    positions = np.arange(n_tokens)
    mask = positions < lengths[:, None] if side == "right" else positions >= n_tokens - lengths[:, None]
    values = torch.from_numpy(rng.normal(size=(n_texts, n_tokens, 7)).astype(np.float32))
    values[~torch.from_numpy(mask)] = float("nan")
    return values, torch.from_numpy(mask)


def plain(values, mask, pooling):
    rows = [text[keep].double() for text, keep in zip(values, mask, strict=True)]
    reduce = {"max": lambda x: x.max(dim=0).values, "mean": lambda x: x.mean(dim=0), "last": lambda x: x[-1]}[pooling]
    return torch.stack([reduce(row) for row in rows])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
@pytest.mark.parametrize("n_tokens", [1, 5, 63, 300])
def test_pooling_reads_real_tokens_only(pooling, side, dtype, n_tokens):
    values, mask = ragged(0, 9, n_tokens, side)
    values = values.to(dtype)
    expected = plain(values, mask, pooling)
    tolerance = 0 if pooling != "mean" else {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    stops = n_tokens - mask.flip(1).int().argmax(1)
    ranges = spans(mask.int().argmax(1).numpy(), stops.numpy())
    starts = mask.int().argmax(1)
    segments = torch.stack([starts, stops - starts, n_tokens - stops], dim=1)
    for pooled in (
        pool(values, mask, pooling),
        pool_spans(values, ranges, pooling),
        pool_segments(values, segments, pooling),
    ):
        assert pooled.dtype == dtype
        torch.testing.assert_close(pooled.double(), expected, rtol=tolerance, atol=tolerance)


@given(st.integers(0, 10_000), st.sampled_from(["left", "right"]), st.floats(-1, 1))
def test_active_tokens_are_counted_exactly(seed, side, threshold):
    values, mask = ragged(seed, 5, 11, side)
    stops = 11 - mask.flip(1).int().argmax(1)
    ranges = spans(mask.int().argmax(1).numpy(), stops.numpy())
    expected = torch.stack([(text[keep] > threshold).sum(dim=0) for text, keep in zip(values, mask, strict=True)])
    assert torch.equal(count_active(values, ranges, threshold).long(), expected)
    assert torch.equal(count_active_masked(values, mask, threshold).long(), expected)


def test_more_tokens_than_eight_bits_count():
    values = torch.ones(3, 1000, 2)
    assert count_active(values, spans(np.zeros(3, int), np.full(3, 1000)), 0.0).tolist() == [[1000, 1000]] * 3


def test_padding_counts_only_where_it_was_asked_for():
    values = torch.tensor([[[1.0], [9.0]]])
    mask = torch.tensor([[True, False]])
    assert pool(values, mask, "max").item() == 1.0
    assert pool(values, mask, "max_with_pad").item() == 9.0


def test_a_real_nan_stays_visible():
    values, mask = torch.zeros(1, 3, 1), torch.ones(1, 3, dtype=torch.bool)
    values[0, 1] = float("nan")
    assert all(pool(values, mask, pooling).isnan().all() for pooling in POOLINGS if pooling != "last")


def test_texts_without_tokens_and_unknown_poolings_are_refused():
    with pytest.raises(ValueError, match="row 0"):
        pool(torch.zeros(1, 2, 1), torch.zeros(1, 2, dtype=torch.bool), "max")
    with pytest.raises(ValueError, match="row 0"):
        pool_spans(torch.zeros(1, 2, 1), spans(np.array([1]), np.array([1])), "max")
    with pytest.raises(ValueError, match="choose one of"):
        pool(torch.zeros(1, 2, 1), torch.ones(1, 2, dtype=torch.bool), "median")
