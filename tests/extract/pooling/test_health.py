"""What is noted of values is the same on every device and in every dtype, and what it says is true of what is stored."""

import numpy as np
import pytest
import torch

from actlas.extract.backends.base import Capture
from actlas.extract.pooling.health import Health, Limits, SpecialTokens

CPU = torch.device("cpu")


def noted(values, tokens, special, capture, dtype):
    health = Health.empty((2, values.shape[1] + 1), capture.dtype, CPU, is_summed=capture.is_summed)
    part = slice(1, values.shape[1] + 1)
    for rows in (slice(0, 3), slice(3, None)):
        health.note(1, part, values[rows])
    health.note_special(1, part, values, tokens, special)
    return health.rows(dtype, knows_special=True)[:, 1, part].numpy()


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16, torch.float64])
def test_both_ways_to_note_agree_with_what_is_stored(compute):
    chance = torch.Generator().manual_seed(0)
    tokens = (torch.randn(8, 4, 33, generator=chance) * 10.0 ** torch.randint(-9, 2, (8, 4, 33), generator=chance)).bfloat16()
    tokens[torch.rand(tokens.shape, generator=chance) < 0.3] = 0.0
    tokens = tokens.to(compute)
    values = tokens.amax(1)
    special = SpecialTokens(torch.arange(8).repeat_interleave(2), torch.tensor([0, 3] * 8))
    low, high, n_zero, n_lost, n_special = noted(values, tokens, special, Capture(sites=("s",)), torch.float16)
    stored = values.to(torch.float16)
    size = stored.abs()
    np.testing.assert_array_equal(low, stored.amin(0).double())
    np.testing.assert_array_equal(high, stored.amax(0).double())
    np.testing.assert_array_equal(n_zero, (stored == 0).sum(0))
    np.testing.assert_array_equal(n_lost, ((values != 0) & (values.abs() < 2.0**-14) & (size <= 2.0**-14)).sum(0))
    np.testing.assert_array_equal(n_special, (tokens[:, [0, 3]].amax(1) >= values).sum(0))


def test_what_counts_as_lost_follows_what_is_kept():
    assert Limits.of("float16", is_summed=False) == Limits.of("float32", is_summed=True) == Limits(2.0**-25, 2.0**-14)
    for dtype in ("float32", "bfloat16"):
        assert Limits.of(dtype, is_summed=False).normal == float(np.finfo(np.float32).tiny)
    # the largest value that float16 rounds to 0
    assert np.float16(2.0**-25) == 0 < np.float16(np.nextafter(np.float32(2.0**-25), np.float32(1)))


def test_texts_that_were_not_compared_are_not_known():
    health = Health.empty((1, 2), "float16", CPU)
    assert bool(torch.isnan(health.rows(torch.float16, knows_special=False)[4]).all())
