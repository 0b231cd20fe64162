"""Loops over chunks of shards that hold no lock of the interpreter: open, read, compare checksums, decode, place or choose.

To decode a chunk of scores takes 13 microseconds, and to hand the interpreter's lock from thread to thread takes longer: two
threads that go from chunk to chunk in Python are slower than one. What is called here are the functions of C that Python,
google_crc32c and numcodecs call themselves (`store.files.loops` finds them).

Where anything is unusual, damage above all, a loop ends early: the reader in Python then does it all, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import typeof, types
from numpy.typing import NDArray

from actlas.compiled.jit import compiled_now, intrinsic, jit, jit_kernel

#: Axes of an array, at most; one that has fewer gets axes of one position before them.
AXES = 4
#: The crc32c of any bytes that end with their own crc32c.
CRC_OF_WHOLE = 0x48674BC7
#: What a chunk begins with, and ends with: blosc's header and a crc32c.
_HEADER, _CRC = 16, 4
#: The offset of a chunk that its shard does not hold, as a signed number.
_ABSENT = -1
_SEEK_END = 2
_LOW = 0xFFFFFFFF
#: Values that are looked at together: most often none of them is wanted.
_RUN = 64
_Ints = NDArray[np.int64]


class Functions(NamedTuple):
    """Addresses of functions of C, and what files are opened with."""

    open: int
    lseek: int
    pread: int
    close: int
    crc32c: int
    decompress: int
    flags: int


class Shards(NamedTuple):
    """Files to read.

    Attributes:
        text: Their paths, each ended by a zero.
        paths: Address of each.
        n_bytes: Their sizes; -1 where that is not known.
        n_index: Bytes of the index at the end of each.
    """

    text: NDArray[np.uint8]
    paths: _Ints
    n_bytes: _Ints
    n_index: int


class Jobs(NamedTuple):
    """Chunks to read, those of a shard one after the other.

    Attributes:
        shard: Position of its shard.
        chunk: Its place in the index of the shard.
        sums: The crc32c that its record has; -1 where there is none.
        pieces: ``"jobs axes"``: which piece of every axis it is for.
        fill: The bits of what stands where a shard has no chunk.
        no_sum: What a record has for such a chunk.
    """

    shard: _Ints
    chunk: _Ints
    sums: _Ints
    pieces: _Ints
    fill: int
    no_sum: int


class Pieces(NamedTuple):
    """What every axis needs of every chunk along it.

    Attributes:
        starts: ``"axes pieces"``: where the positions of each piece start in the two lists, and where those of the last one end.
        inside: ``"axes positions"``: positions in the chunk, times the distance of neighbours there.
        target: ``"axes positions"``: positions in the result, times the distance of neighbours there.
    """

    starts: _Ints
    inside: _Ints
    target: _Ints


class Scratch(NamedTuple):
    """Memory of one thread, and its addresses.

    Attributes:
        entries: Room for the index of a shard.
        encoded: Room for an encoded chunk.
        chunk: Room for a decoded one: its values as integers of their size.
    """

    entries: _Ints
    encoded: NDArray[np.uint8]
    chunk: NDArray[Any]
    entries_at: int
    encoded_at: int
    chunk_at: int


@intrinsic
def _call(typing: Any, address: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """What is at an address, called with integers and addresses; of a result of 32 bits the upper half means nothing."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        function = ir.FunctionType(word, [word] * 4)
        return builder.call(builder.inttoptr(args[0], function.as_pointer()), args[1:])

    return types.int64(*[types.int64] * 5), generate


@jit
def _word(data: Any, at: int) -> int:
    """Four bytes as a number."""
    word = np.int64(data[at]) | np.int64(data[at + 1]) << 8 | np.int64(data[at + 2]) << 16 | np.int64(data[at + 3]) << 24
    return int(word)


@jit
def _open(functions: Any, shards: Any, shard: int, scratch: Any) -> int:
    """Open a shard and read its index; -1 where it is not there, not whole, or not the one that was committed."""
    fd = np.int64(np.int32(_call(functions.open, shards.paths[shard], functions.flags, 0, 0)))
    if fd < 0:
        return -1
    n_bytes, n_index = _call(functions.lseek, fd, 0, _SEEK_END, 0), shards.n_index
    is_expected = n_bytes >= n_index and (shards.n_bytes[shard] < 0 or shards.n_bytes[shard] == n_bytes)
    is_read = is_expected and _call(functions.pread, fd, scratch.entries_at, n_index, n_bytes - n_index) == n_index
    if not is_read or _call(functions.crc32c, scratch.entries_at, n_index, 0, 0) & _LOW != CRC_OF_WHOLE:
        _call(functions.close, fd, 0, 0, 0)
        return -1
    return int(fd)


@jit
def _close(functions: Any, fd: int) -> None:
    """Close what is open, if anything is."""
    if fd >= 0:
        _call(functions.close, fd, 0, 0, 0)


@jit
def _decode(functions: Any, fd: int, jobs: Any, job: int, scratch: Any) -> bool:
    """Read and decode a chunk of a shard; whether it is whole, and the one that was committed."""
    encoded, size, expected = scratch.encoded, scratch.chunk.nbytes, jobs.sums[job]
    offset, n_bytes = scratch.entries[2 * jobs.chunk[job]], scratch.entries[2 * jobs.chunk[job] + 1]
    if fd < 0:
        return False
    if offset == _ABSENT:
        for at in range(scratch.chunk.shape[0]):
            scratch.chunk[at] = jobs.fill
        return bool(expected < 0 or expected == jobs.no_sum)
    if n_bytes < _HEADER + _CRC or n_bytes > encoded.nbytes:
        return False
    if _call(functions.pread, fd, scratch.encoded_at, n_bytes, offset) != n_bytes:
        return False
    if _call(functions.crc32c, scratch.encoded_at, n_bytes, 0, 0) & _LOW != CRC_OF_WHOLE:
        return False
    if expected >= 0 and _word(encoded, n_bytes - _CRC) != expected:
        return False
    # blosc itself believes its header
    if _word(encoded, 4) != size or _word(encoded, 12) != n_bytes - _CRC:
        return False
    return bool(_call(functions.decompress, scratch.encoded_at, scratch.chunk_at, size, 1) & _LOW == size)


@jit
def _is_run(positions: Any, axis: int, start: int, end: int) -> bool:
    """Whether ascending positions are neighbours."""
    return bool(positions[axis, end - 1] - positions[axis, start] == end - start - 1)


@jit_kernel
def _place(functions: Any, shards: Any, jobs: Any, pieces: Any, scratch: Any, first: int, last: int, out: Any) -> bool:
    """Read jobs and put what they need into the result; whether all was as it should be."""
    starts, inside, target = pieces.starts, pieces.inside, pieces.target
    chunk, is_whole, fd = scratch.chunk, True, -1
    for job in range(first, last):
        if job == first or jobs.shard[job] != jobs.shard[job - 1]:
            _close(functions, fd)
            fd = _open(functions, shards, jobs.shard[job], scratch)
        if not _decode(functions, fd, jobs, job, scratch):
            is_whole = False
            break
        p0, p1, p2, p3 = jobs.pieces[job, 0], jobs.pieces[job, 1], jobs.pieces[job, 2], jobs.pieces[job, 3]
        start, end = starts[3, p3], starts[3, p3 + 1]
        is_run = _is_run(inside, 3, start, end) and _is_run(target, 3, start, end)
        for a in range(starts[0, p0], starts[0, p0 + 1]):
            for b in range(starts[1, p1], starts[1, p1 + 1]):
                for c in range(starts[2, p2], starts[2, p2 + 1]):
                    source = inside[0, a] + inside[1, b] + inside[2, c]
                    to = target[0, a] + target[1, b] + target[2, c]
                    if is_run:
                        source, to = source + inside[3, start], to + target[3, start]
                        for at in range(end - start):
                            out[to + at] = chunk[source + at]
                    else:
                        for at in range(start, end):
                            out[to + target[3, at]] = chunk[source + inside[3, at]]
    _close(functions, fd)
    return is_whole


@jit
def _key(bits: int) -> int:
    """The bits of a float as a number that orders as floats do, -0 just below 0 and NaN at the ends."""
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)


@jit
def _choose_row(
    chunk: Any,
    source: int,
    inside: Any,
    to: int,
    target: Any,
    start: int,
    end: int,
    is_run: bool,
    keys: tuple[int, int],
    at: Any,
    found: Any,
    n_found: int,
) -> int:
    """Note the values of one row of a chunk that lie between two keys, behind those found before; how many there are now."""
    shift = 64 - 8 * chunk.itemsize
    for begin in range(start, end, _RUN):
        stop = min(begin + _RUN, end)
        n_wanted = stop - begin
        if is_run:
            n_wanted, place = 0, source + inside[3, begin]
            for step in range(stop - begin):
                key = _key(np.int64(chunk[place + step]) << shift)
                n_wanted += (key >= keys[0]) & (key <= keys[1])
        for position in range(begin, stop if n_wanted else begin):
            bits = chunk[source + inside[3, position]]
            key = _key(np.int64(bits) << shift)
            if (key >= keys[0]) & (key <= keys[1]):
                at[n_found], found[n_found] = to + target[3, position], bits
                n_found += 1
    return n_found


@jit_kernel
def _choose(
    functions: Any,
    shards: Any,
    jobs: Any,
    pieces: Any,
    scratch: Any,
    first: int,
    last: int,
    least: int,
    most: int,
    at: Any,
    found: Any,
) -> int:
    """Read jobs and note which of the values that they need lie between two keys, and those values.

    Returns:
        How many they are; -1 where something was not as it should be.
    """
    starts, inside, target = pieces.starts, pieces.inside, pieces.target
    chunk, n_found, fd = scratch.chunk, 0, -1
    for job in range(first, last):
        if job == first or jobs.shard[job] != jobs.shard[job - 1]:
            _close(functions, fd)
            fd = _open(functions, shards, jobs.shard[job], scratch)
        if not _decode(functions, fd, jobs, job, scratch):
            n_found = -1
            break
        p0, p1, p2, p3 = jobs.pieces[job, 0], jobs.pieces[job, 1], jobs.pieces[job, 2], jobs.pieces[job, 3]
        start, end = starts[3, p3], starts[3, p3 + 1]
        is_run = _is_run(inside, 3, start, end)
        keys = least, most
        for a in range(starts[0, p0], starts[0, p0 + 1]):
            for b in range(starts[1, p1], starts[1, p1 + 1]):
                for c in range(starts[2, p2], starts[2, p2 + 1]):
                    source = inside[0, a] + inside[1, b] + inside[2, c]
                    to = target[0, a] + target[1, b] + target[2, c]
                    n_found = _choose_row(chunk, source, inside, to, target, start, end, is_run, keys, at, found, n_found)
    _close(functions, fd)
    return n_found


def _kinds(itemsize: int) -> tuple[tuple[Any, ...], Any]:
    """Types of what all loops are given, and of values."""
    ints, values = np.zeros(1, np.int64), np.zeros(1, f"i{itemsize}")
    table = np.zeros((1, 1), np.int64)
    jobs = Jobs(ints, ints, ints, table, 0, 0)
    scratch = Scratch(ints, np.zeros(1, np.uint8), values, 0, 0, 0)
    given = (Functions(*[0] * 7), Shards(np.zeros(1, np.uint8), ints, ints, 0), jobs, Pieces(table, table, table), scratch, 0, 0)
    return tuple(map(typeof, given)), typeof(values)


@cache
def place(itemsize: int) -> Callable[..., int]:
    """The loop that places values of a size."""
    given, values = _kinds(itemsize)
    kernel: Callable[..., int] = _place
    return compiled_now(kernel, (*given, values))


@cache
def choose(itemsize: int) -> Callable[..., int]:
    """The loop that chooses values of a size."""
    given, values = _kinds(itemsize)
    kernel: Callable[..., int] = _choose
    return compiled_now(kernel, (*given, types.int64, types.int64, types.Array(types.int64, 1, "C"), values))
