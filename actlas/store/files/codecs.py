"""Named codecs: how a chunk of an array becomes bytes, and the zarr metadata that says so.

Only lossless codecs are offered. On activations the limit of any of them is the noise in the mantissa; bit shuffling before lz4
gets within a few percent of the smallest at several times the speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from actlas.errors import DamagedStore

_Bytes = bytes | bytearray | memoryview | NDArray[np.uint8]

#: Bytes of the crc32c that ends a chunk.
CRC_BYTES = 4
#: The crc32c of any bytes that end with their own crc32c: nothing needs to be cut off, and so copied, to compare the two.
_CRC_OF_WHOLE = 0x48674BC7


@cache
def _blosc() -> Any:
    """The compressors, loaded with the first chunk: a question about tables opens none, and they take as long as answering it."""
    from numcodecs import blosc

    # chunks are compressed side by side by the writer's own threads; blosc's global pool would serialise them
    blosc.use_threads = False
    return blosc


@dataclass(frozen=True)
class Codec:
    """A blosc compressor behind bit shuffling, followed by a crc32c of the result.

    Attributes:
        name: What recipes and the command line call it.
        compressor: blosc's name of the compressor.
        level: Its level.
        block_bytes: What blosc compresses at a time; 0 leaves it to blosc.
    """

    name: str
    compressor: str
    level: int
    block_bytes: int = 0

    def zarr_codecs(self, itemsize: int) -> list[Any]:
        """The same codec as zarr metadata, for values of `itemsize` bytes."""
        from zarr.codecs import BloscCodec, Crc32cCodec

        kind: Any = self.compressor
        blosc_codec = BloscCodec(
            cname=kind, clevel=self.level, shuffle="bitshuffle", typesize=itemsize, blocksize=self.block_bytes
        )
        return [blosc_codec, Crc32cCodec()]

    def encode(self, chunk: NDArray[Any]) -> bytes:
        """Bytes of one C-contiguous little-endian chunk, checksum included. Releases the interpreter lock."""
        blosc = _blosc()
        body: bytes = blosc.compress(
            chunk, self.compressor.encode(), self.level, blosc.BITSHUFFLE, self.block_bytes, chunk.dtype.itemsize
        )
        return body + crc_bytes(body)


def decode(encoded: _Bytes, out: NDArray[Any]) -> None:
    """Decode one chunk into a C-contiguous array of its size. Releases the interpreter lock.

    Raises:
        DamagedStore: If the crc32c at its end disagrees.
    """
    if not chunk_is_whole(encoded):
        raise DamagedStore("a chunk does not have the crc32c that it was written with; actlas verify names every such chunk")
    _blosc().decompress(np.frombuffer(encoded, np.uint8)[:-CRC_BYTES], out)


def chunk_is_whole(encoded: _Bytes) -> bool:
    """Whether the crc32c at the end of an encoded chunk agrees with the bytes before it."""
    # of all writable buffers google_crc32c takes only those of numpy without a copy
    return bool(google_crc32c.value(np.frombuffer(encoded, np.uint8)) == _CRC_OF_WHOLE)


def crc_bytes(data: bytes) -> bytes:
    """crc32c of `data` as it stands behind it in a file."""
    value: int = google_crc32c.value(data)
    return value.to_bytes(CRC_BYTES, "little")


CODECS = {
    codec.name: codec
    for codec in (
        Codec("lz4", "lz4", 5),
        # a chunk at a time: smaller and twice as fast as blosc's own choice of blocks
        Codec("zstd", "zstd", 1, 256 << 10),
    )
}
DEFAULT_CODEC = CODECS["lz4"]


def as_stored(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """`values` seen in the dtype that is on disk for `dtype`; never a conversion of numbers.

    Raises:
        TypeError: If the array holds another dtype; bfloat16 is passed as its bits in uint16.
    """
    stored = np.dtype(dtype)
    if values.dtype != stored:
        raise TypeError(f"values are {values.dtype}, the array on disk holds {stored}; convert before writing")
    return values
