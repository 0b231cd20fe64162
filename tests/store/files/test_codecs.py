from __future__ import annotations

import numpy as np
import pytest

from actlas.errors import DamagedStore
from actlas.store.files.codecs import CODECS, as_stored, chunk_is_whole, decode


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("dtype", ["float16", "uint16", "float32", "float64", "int64"])
def test_a_chunk_comes_back_bit_for_bit(name: str, dtype: str) -> None:
    chunk = np.random.default_rng(0).integers(0, 1000, (3, 63)).astype(dtype)
    decoded = np.full_like(chunk, 7)
    decode(CODECS[name].encode(chunk), decoded)
    np.testing.assert_array_equal(decoded, chunk)


def test_a_damaged_chunk_is_not_decoded() -> None:
    encoded = bytearray(CODECS["lz4"].encode(np.arange(1000, dtype=np.float32)))
    encoded[30] ^= 1
    with pytest.raises(DamagedStore, match="crc32c"):
        decode(bytes(encoded), np.empty(1000, np.float32))


def test_numbers_are_never_converted_on_their_way_to_disk() -> None:
    values = np.zeros(3, np.float16)
    assert as_stored(values, "float16") is values
    with pytest.raises(TypeError, match="values are float16, the array on disk holds float32"):
        as_stored(values, "float32")


def test_chunks_know_when_they_are_damaged() -> None:
    encoded = bytearray(CODECS["lz4"].encode(np.arange(1000, dtype=np.float32)))
    assert chunk_is_whole(encoded)
    encoded[20] ^= 4
    assert not chunk_is_whole(encoded)
