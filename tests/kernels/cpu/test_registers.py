"""Every way to bring marked entries together, those of `wide` too, against plain Python."""

import numba
import numpy as np
import pytest

from actlas.kernels.cpu import registers, wide

WAYS = {
    "AVX-512": pytest.param(wide.pack, marks=pytest.mark.skipif(not wide.IS_SUPPORTED, reason="needs AVX-512 VBMI2")),
    "AVX2": pytest.param(registers.pack_by_shuffle, marks=pytest.mark.skipif(not registers.HAS_SHUFFLE, reason="needs AVX2")),
    "one by one": registers.pack_one_by_one,
}


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("pack", WAYS.values(), ids=WAYS)
def test_marked_entries_come_together(pack, dtype):
    @numba.njit
    def call(source, words, target):
        at = 0
        for i in range(words.size):
            at = pack(source, 32 * i, words[i], target, at)
        return at

    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**32, 40, dtype=np.uint32) & rng.integers(0, 2**32, 40, dtype=np.uint32)
    words[:5] = [0, 2**32 - 1, 1, 1 << 31, 0xFF]
    source = rng.integers(0, 60_000, 32 * words.size).astype(dtype)
    marked = [bool(word >> i & 1) for word in words.tolist() for i in range(32)]
    target = np.zeros(source.size + 32, dtype)
    at = call(source, words, target)
    assert target[:at].tolist() == source[marked].tolist()
