"""Instructions by themselves; what the CPU engine makes of the others is tested with its loops."""

import numba
import numpy as np
import pytest

from actlas.compiled.vectors import filling_back, filling_on, popcount, trailing_zeros


def test_bits_of_words():
    @numba.njit
    def call(word):
        return popcount(word), trailing_zeros(word)

    for word in (1, 0x80, 0xFF00, 2**63, 2**64 - 1):
        assert call(np.uint64(word)) == (word.bit_count(), (word & -word).bit_length() - 1)


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
