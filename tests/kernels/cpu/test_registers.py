"""Every way to bring marked entries together and to fill ranks, each against plain Python."""

import numba
import numpy as np
import pytest

from actlas.compiled.vectors import filling_back, filling_on
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


@pytest.mark.parametrize("width", [8, 32])
@pytest.mark.parametrize("word", [0, 1, 0x80, 0xFF, 0x80000000, 0xFFFFFFFF, 0x12345678])
def test_ranks_are_filled_from_either_side(word, width):
    fill_back, fill_on = filling_back(width), filling_on(width)

    @numba.njit
    def call(word, back, on):
        return fill_back(word, 64, back, np.uint64(999)), fill_on(word, 64, on, np.uint64(7))

    back, on = np.zeros(128, np.uint16), np.zeros(128, np.uint16)
    marked = [i for i in range(32) if word >> i & 1]
    call(np.uint32(word), back, on)
    for i in range(width):
        later = [65 + j for j in marked if i <= j < width]
        before = [65 + j for j in marked if j < i]
        assert back[64 + i] == min([*later, 999])
        assert on[64 + i] == max([*before, 7])
