from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import blosc

from actlas.errors import DamagedStore
from actlas.store import bit_planes
from actlas.store.codecs import CODECS, decode

KINDS = ("noise", "zeros", "small", "periodic", "activations", "sparse")


def values_of(kind: str, n: int, seed: int) -> np.ndarray:
    """`n` 16-bit values of a kind: what does not compress, what compresses to nothing, and what is between."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 2**16, n, dtype=np.uint16)
    if kind == "zeros":
        return np.zeros(n, dtype=np.uint16)
    if kind == "small":
        return rng.integers(0, 3, n, dtype=np.uint16)
    if kind == "periodic":
        return np.resize(rng.integers(0, 2**16, int(rng.integers(1, 700)), dtype=np.uint16), n)
    x = rng.standard_normal(n).astype(np.float32)
    x = x / (1 + np.exp(-1.702 * x)) if kind == "activations" else np.where(rng.random(n) < 0.97, 0, x)
    return x.astype(np.float16).view(np.uint16)


@settings(max_examples=80, deadline=None)
@given(kind=st.sampled_from(KINDS), groups=st.integers(1, 700), seed=st.integers(0, 2**31))
def test_blosc_decodes_what_is_encoded_here(kind: str, groups: int, seed: int) -> None:
    values = values_of(kind, 512 * groups, seed)
    # memory is not clean when it is used again, and nothing behind what was promised may be touched
    promised = bit_planes.encoded_bytes(values.nbytes)
    memory = np.full(promised + 1000, 0xA5, dtype=np.uint8)
    size = bit_planes.encode(values, memory[:promised])
    assert (memory[promised:] == 0xA5).all()
    assert size <= values.nbytes + 16
    np.testing.assert_array_equal(np.frombuffer(blosc.decompress(memory[:size].tobytes()), np.uint16), values)


def test_streams_of_every_length_near_their_content() -> None:
    # a stream exactly as long as its content would be read as that content
    for seed in range(3):
        values = values_of("activations", 512 * 601, seed)
        memory = np.empty(bit_planes.encoded_bytes(values.nbytes), dtype=np.uint8)
        size = bit_planes.encode(values, memory)
        np.testing.assert_array_equal(np.frombuffer(blosc.decompress(memory[:size].tobytes()), np.uint16), values)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_as_small_as_blosc_makes_it(kind: str) -> None:
    values = values_of(kind, 128 * 1024, 0)
    theirs = len(blosc.compress(values, b"lz4", 5, blosc.BITSHUFFLE, 0, 2))
    assert len(CODECS["lz4"].encode(values)) <= 1.03 * theirs + 200


def test_the_planes_are_those_of_blosc() -> None:
    # what does not compress at all is stored as it comes out of the shuffling, behind header, offset and length
    values = np.concatenate([values_of("noise", 512, 3), values_of("zeros", 512, 3)])
    planes = np.unpackbits(values.view(np.uint8).reshape(-1, 2), axis=1, bitorder="little").T
    expected = np.packbits(planes, axis=1, bitorder="little").ravel()
    theirs = blosc.compress(values, b"lz4", 5, blosc.BITSHUFFLE, values.nbytes, 2)
    patched = bytearray(theirs)
    patched[2] &= ~0b100
    np.testing.assert_array_equal(np.frombuffer(blosc.decompress(bytes(patched)), np.uint8), expected)
    memory = np.empty(bit_planes.encoded_bytes(values.nbytes), dtype=np.uint8)
    patched = bytearray(memory[: bit_planes.encode(values, memory)].tobytes())
    patched[2] &= ~0b100
    np.testing.assert_array_equal(np.frombuffer(blosc.decompress(bytes(patched)), np.uint8), expected)


def test_a_chunk_knows_its_own_damage() -> None:
    values = values_of("activations", 4096, 1)
    encoded = bytearray(CODECS["lz4"].encode(values))
    out = np.empty_like(values)
    decode(bytes(encoded), out)
    np.testing.assert_array_equal(out, values)
    encoded[100] ^= 1
    with pytest.raises(DamagedStore, match="crc32c"):
        decode(bytes(encoded), out)


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 1,180 to encode, not 1,024"):
        bit_planes.encode(np.zeros(512, np.uint16), np.empty(1024, np.uint8))


@pytest.mark.parametrize("dtype", ["float16", "uint16"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 8, 8), (1, 63, 1000), (3, 130, 41), (1, 7, 100)])
def test_turned_tiles(dtype: str, shape: tuple[int, int, int]) -> None:
    layers, neurons, texts = shape
    text_major = np.random.default_rng(0).integers(0, 2**16, (layers, texts, neurons + 5), dtype=np.uint16).view(dtype)
    source = text_major[:, :, 2 : neurons + 2].transpose(0, 2, 1)
    target = np.zeros((layers, neurons, texts + 3), dtype=dtype)
    assert bit_planes.turn(source, target[:, :, :texts])
    np.testing.assert_array_equal(target[:, :, :texts].view(np.uint16), source.view(np.uint16))
    assert (target[:, :, texts:] == 0).all()
    assert not bit_planes.turn(source.astype(np.float32), target[:, :, :texts].astype(np.float32))
