"""What loops note of pooled values, against numpy."""

import numpy as np
import pytest

from actlas.compiled.tally import tally, tally_special


@pytest.mark.parametrize(("n_texts", "n_neurons"), [(0, 5), (1, 1), (7, 63), (40, 100)])
def test_ends_and_small_values_are_those_of_numpy(n_texts, n_neurons):
    chance = np.random.default_rng(0)
    values = (chance.normal(size=(n_texts, n_neurons)) * 10.0 ** chance.integers(-9, 3, (n_texts, n_neurons))).astype(np.float32)
    values[chance.random(values.shape) < 0.2] = 0.0
    ends = np.full(n_neurons, 0.5, np.float32), np.full(n_neurons, -0.5, np.float32)
    counts = np.ones(n_neurons, np.int32), np.ones(n_neurons, np.int32)
    tally(values, ends, counts, 1e-5, 1e-2)
    size = np.abs(values)
    np.testing.assert_array_equal(ends[0], np.minimum(values.min(0, initial=np.inf), 0.5))
    np.testing.assert_array_equal(ends[1], np.maximum(values.max(0, initial=-np.inf), -0.5))
    np.testing.assert_array_equal(counts[0], 1 + (size <= 1e-5).sum(0))
    np.testing.assert_array_equal(counts[1], 1 + ((size < 1e-2) & (values != 0)).sum(0))


@pytest.mark.parametrize("is_contiguous", [True, False])
def test_special_tokens_that_decide_are_counted_once_per_text(is_contiguous):
    chance = np.random.default_rng(1)
    tokens = chance.integers(0, 4, (6, 5, 9)).astype(np.float32)
    if not is_contiguous:
        tokens = np.concatenate([tokens, tokens], axis=2)[:, :, :9]
    values = tokens.max(1)
    special = [[0], [0, 4], [1, 2, 3], [], [4], [0, 1, 2, 3, 4]]
    texts = np.repeat(np.arange(6), [len(part) for part in special])
    n_special = np.zeros(9, np.int32)
    tally_special(values, tokens, texts, np.concatenate(special).astype(np.int64), n_special)
    right = sum((tokens[text, places].max(0) >= values[text]).astype(int) for text, places in enumerate(special) if places)
    np.testing.assert_array_equal(n_special, right)
