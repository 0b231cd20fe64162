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
from numba.core import cgutils
from numpy.typing import NDArray

from actlas.compiled.jit import compiled_now, intrinsic, jit, jit_kernel, pointer

#: Axes of an array, at most; one that has fewer gets axes of one position before them.
AXES = 4
#: The crc32c of any bytes that end with their own crc32c.
CRC_OF_WHOLE = 0x48674BC7
#: What a chunk begins with, and ends with: blosc's header and a crc32c.
_HEADER, _CRC = 16, 4
#: In a header: bits of values shuffled, and every byte of them packed by lz4.
_SHUFFLED_LZ4 = 0x24
#: Where fewer than one column of eight values in so many is needed, only these are decoded.
_SPARSE = 8
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
    unpack: int
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
        encoded: Room for an encoded chunk, and behind it for its bytes before they are put together to values.
        room: How much of it is for the first.
        chunk: Room for a decoded one: its values as integers of their size.
        planes: Where in `encoded` each byte of the values begins, eight entries.
        marks: A bit for every value, as words, see `_mark`.
        wanted: ``"2 16"``: working memory for it.
    """

    entries: _Ints
    encoded: NDArray[np.uint8]
    room: int
    chunk: NDArray[Any]
    planes: _Ints
    marks: NDArray[np.uint64]
    wanted: NDArray[np.uint64]
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


@intrinsic
def _copy(typing: Any, out: Any, to: Any, chunk: Any, source: Any, n: Any) -> Any:
    """Copy so many neighbours: of two arrays that might be one, a loop would copy them one by one."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        target = pointer(context, builder, kinds[0], args[0], args[1])
        begin = pointer(context, builder, kinds[2], args[2], args[3])
        cgutils.raw_memcpy(builder, target, begin, args[4], kinds[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(out, types.int64, chunk, types.int64, types.int64), generate


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
def _fetch(functions: Any, fd: int, jobs: Any, job: int, scratch: Any) -> int:
    """Read a chunk of a shard: its bytes, 0 where there is none, -1 where it is not whole or not the one that was committed."""
    encoded, size, expected = scratch.encoded, scratch.chunk.nbytes, jobs.sums[job]
    if fd < 0:
        return -1
    offset, n_bytes = scratch.entries[2 * jobs.chunk[job]], scratch.entries[2 * jobs.chunk[job] + 1]
    if offset == _ABSENT:
        return 0 if expected < 0 or expected == jobs.no_sum else -1
    if n_bytes < _HEADER + _CRC or n_bytes > scratch.room:
        return -1
    if _call(functions.pread, fd, scratch.encoded_at, n_bytes, offset) != n_bytes:
        return -1
    if _call(functions.crc32c, scratch.encoded_at, n_bytes, 0, 0) & _LOW != CRC_OF_WHOLE:
        return -1
    if expected >= 0 and _word(encoded, n_bytes - _CRC) != expected:
        return -1
    # blosc itself believes its header
    return int(n_bytes) if _word(encoded, 4) == size and _word(encoded, 12) == n_bytes - _CRC else -1


@jit
def _decode(functions: Any, jobs: Any, n_bytes: int, scratch: Any) -> bool:
    """Decode the chunk that was read; whether that could be done."""
    if n_bytes == 0:
        for at in range(scratch.chunk.shape[0]):
            scratch.chunk[at] = jobs.fill
        return True
    size = scratch.chunk.nbytes
    return bool(_call(functions.decompress, scratch.encoded_at, scratch.chunk_at, size, 1) & _LOW == size)


@jit
def _unpack(functions: Any, n_bytes: int, scratch: Any) -> bool:
    """Find the bytes of which values are made, each bit of them by itself; False where they are packed in another way.

    Of most arrays no byte but the highest is shorter for having been packed: nothing is done to the others.
    """
    encoded, itemsize, n_values = scratch.encoded, scratch.chunk.itemsize, scratch.chunk.shape[0]
    if n_bytes == 0 or encoded[2] != _SHUFFLED_LZ4 or encoded[3] != itemsize or n_values % 64:
        return False
    at, end = _HEADER + 4, n_bytes - _CRC
    if _word(encoded, 8) != scratch.chunk.nbytes or _word(encoded, _HEADER) != at:
        return False
    for plane in range(itemsize):
        length = _word(encoded, at) if at + 4 <= end else end
        at += 4
        if length > end - at:
            return False
        scratch.planes[plane] = at
        if length != n_values:
            scratch.planes[plane] = to = scratch.room + plane * n_values
            if _call(functions.unpack, scratch.encoded_at + at, scratch.encoded_at + to, length, n_values) & _LOW != n_values:
                return False
        at += length
    return True


@jit
def _decode_column(scratch: Any, column: int) -> None:
    """Decode eight values of a chunk that is unpacked."""
    encoded, chunk, step = scratch.encoded, scratch.chunk, scratch.chunk.shape[0] // 8
    for at in range(8 * column, 8 * column + 8):
        chunk[at] = 0
    for plane in range(chunk.itemsize):
        bits = np.uint64(0)
        for bit in range(8):
            bits |= np.uint64(encoded[scratch.planes[plane] + bit * step + column]) << np.uint64(8 * bit)
        # eight bits of eight values, turned into eight bytes
        swap = (bits ^ (bits >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
        bits ^= swap ^ (swap << np.uint64(7))
        swap = (bits ^ (bits >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
        bits ^= swap ^ (swap << np.uint64(14))
        swap = (bits ^ (bits >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
        bits ^= swap ^ (swap << np.uint64(28))
        for at in range(8):
            chunk[8 * column + at] |= np.int64((bits >> np.uint64(8 * at)) & np.uint64(255)) << (8 * plane)


@intrinsic
def _load_word(typing: Any, data: Any, at: Any) -> Any:
    """Eight bytes from one on, as a number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = pointer(context, builder, signature.args[0], args[0], args[1])
        return builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.int64), generate


@jit
def _mark(scratch: Any, least: int, most: int) -> int:
    """Mark values that may lie between two keys, and count columns of eight that have one.

    The highest 16 bits decide that, bit by bit, for 64 values at once and before any is put together. Marks are bits of words.
    """
    encoded, marks, wanted, itemsize = scratch.encoded, scratch.marks, scratch.wanted, scratch.chunk.itemsize
    step, n_marked = scratch.chunk.shape[0] // 8, 0
    sign_at = scratch.planes[itemsize - 1] + 7 * step
    low, high = (least >> 48) + 0x8000, (most >> 48) + 0x8000
    for bit in range(16):
        wanted[0, bit], wanted[1, bit] = -((low >> bit) & 1), -((high >> bit) & 1)
    for word in range(scratch.chunk.shape[0] // 64):
        sign = _load_word(encoded, sign_at + 8 * word)
        outside = (~sign & ~wanted[1, 15]) | (sign & wanted[0, 15])
        like_low, like_high = ~(~sign ^ wanted[0, 15]), ~(~sign ^ wanted[1, 15])
        for bit in range(14, -1, -1):
            # of a negative number larger bits are a smaller number
            ones = _load_word(encoded, scratch.planes[itemsize - 2 + bit // 8] + (bit % 8) * step + 8 * word) ^ sign
            outside |= (like_low & wanted[0, bit] & ~ones) | (like_high & ~wanted[1, bit] & ones)
            like_low &= ~(ones ^ wanted[0, bit])
            like_high &= ~(ones ^ wanted[1, bit])
        marks[word] = ~outside
        if ~outside:
            for byte in range(8):
                n_marked += (~outside >> np.uint64(8 * byte)) & np.uint64(255) != 0
    return n_marked


@jit
def _is_run(positions: Any, axis: int, start: int, end: int) -> bool:
    """Whether positions, which may come in any order and more than once, are neighbours that ascend."""
    is_run = True
    for at in range(start + 1, end):
        is_run &= positions[axis, at] == positions[axis, at - 1] + 1
    return is_run


@jit
def _decode_row(scratch: Any, source: int, inside: Any, start: int, end: int, is_run: bool) -> None:
    """Decode the columns that hold one row of what is needed."""
    if is_run:
        for column in range((source + inside[3, start]) // 8, (source + inside[3, end - 1]) // 8 + 1):
            _decode_column(scratch, column)
    else:
        for at in range(start, end):
            _decode_column(scratch, (source + inside[3, at]) // 8)


@jit
def _place_chunk(pieces: Any, which: Any, scratch: Any, out: Any, is_sparse: bool) -> None:
    """Put what is needed of a chunk into the result; of one that is only unpacked, it is decoded first."""
    starts, inside, target, chunk = pieces.starts, pieces.inside, pieces.target, scratch.chunk
    start, end = starts[3, which[3]], starts[3, which[3] + 1]
    is_run = _is_run(inside, 3, start, end)
    goes_to_run = is_run and _is_run(target, 3, start, end)
    for a in range(starts[0, which[0]], starts[0, which[0] + 1]):
        for b in range(starts[1, which[1]], starts[1, which[1] + 1]):
            for c in range(starts[2, which[2]], starts[2, which[2] + 1]):
                source = inside[0, a] + inside[1, b] + inside[2, c]
                to = target[0, a] + target[1, b] + target[2, c]
                if is_sparse:
                    _decode_row(scratch, source, inside, start, end, is_run)
                if goes_to_run:
                    _copy(out, to + target[3, start], chunk, source + inside[3, start], end - start)
                else:
                    for at in range(start, end):
                        out[to + target[3, at]] = chunk[source + inside[3, at]]


@jit
def _which(pieces: Any, jobs: Any, job: int) -> tuple[tuple[int, int, int, int], int]:
    """The pieces that a job is for, and how many values they are."""
    starts, own = pieces.starts, jobs.pieces
    which = own[job, 0], own[job, 1], own[job, 2], own[job, 3]
    n_needed = 1
    for axis in range(AXES):
        n_needed *= starts[axis, own[job, axis] + 1] - starts[axis, own[job, axis]]
    return which, n_needed


@jit_kernel
def _place(functions: Any, shards: Any, jobs: Any, pieces: Any, scratch: Any, first: int, last: int, out: Any) -> bool:
    """Read jobs and put what they need into the result; whether all was as it should be."""
    is_whole, fd = True, -1
    for job in range(first, last):
        if job == first or jobs.shard[job] != jobs.shard[job - 1]:
            _close(functions, fd)
            fd = _open(functions, shards, jobs.shard[job], scratch)
        n_bytes = _fetch(functions, fd, jobs, job, scratch)
        which, n_needed = _which(pieces, jobs, job)
        is_sparse = _SPARSE * n_needed <= scratch.chunk.shape[0] and _unpack(functions, n_bytes, scratch)
        if n_bytes < 0 or not (is_sparse or _decode(functions, jobs, n_bytes, scratch)):
            is_whole = False
            break
        _place_chunk(pieces, which, scratch, out, is_sparse)
    _close(functions, fd)
    return is_whole


@jit
def _key(bits: Any) -> Any:
    """The bits of a float as a number that orders as floats do, -0 just below 0 and NaN at the ends."""
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)


class Search(NamedTuple):
    """What is looked for, and what was found.

    Attributes:
        least: The least key that is wanted.
        most: The largest.
        at: Places in the result.
        found: The values there.
    """

    least: int
    most: int
    at: _Ints
    found: NDArray[Any]


@jit
def _note(search: Any, n_found: int, bits: int, at: int, shift: int) -> int:
    """Note a value if it is wanted; how many there are now."""
    key = _key(np.int64(bits) << shift)
    if key < search.least or key > search.most:
        return n_found
    search.at[n_found], search.found[n_found] = at, bits
    return n_found + 1


@jit
def _search_row(
    scratch: Any, search: Any, n_found: int, source: int, inside: Any, to: int, target: Any, start: int, end: int, is_run: bool
) -> int:
    """Note those values of a row of a decoded chunk that are wanted; how many there are now."""
    chunk, shift = scratch.chunk, 64 - 8 * scratch.chunk.itemsize
    for begin in range(start, end, _RUN):
        stop = min(begin + _RUN, end)
        n_wanted = stop - begin
        if is_run:
            n_wanted, place = 0, source + inside[3, begin]
            for step in range(stop - begin):
                key = _key(np.int64(chunk[place + step]) << shift)
                n_wanted += (key >= search.least) & (key <= search.most)
        for position in range(begin, stop if n_wanted else begin):
            n_found = _note(search, n_found, chunk[source + inside[3, position]], to + target[3, position], shift)
    return n_found


@jit
def _search_marked(scratch: Any, search: Any, n_found: int, source: int, to: int, target: Any, start: int, end: int) -> int:
    """The same of neighbours in a chunk that is unpacked, of which only marked columns are decoded."""
    chunk, marks, shift = scratch.chunk, scratch.marks, 64 - 8 * scratch.chunk.itemsize
    stop = source + end - start
    for column in range(source // 8, (stop - 1) // 8 + 1):
        if (marks[column // 8] >> np.uint64(8 * (column % 8))) & np.uint64(255):
            _decode_column(scratch, column)
            for at in range(max(source, 8 * column), min(stop, 8 * column + 8)):
                n_found = _note(search, n_found, chunk[at], to + target[3, start + at - source], shift)
    return n_found


@jit_kernel
def _choose(functions: Any, shards: Any, jobs: Any, pieces: Any, scratch: Any, first: int, last: int, search: Any) -> int:
    """Read jobs and note which of the values that they need are wanted.

    Returns:
        How many they are; -1 where something was not as it should be.
    """
    starts, inside, target = pieces.starts, pieces.inside, pieces.target
    n_found, fd = 0, -1
    for job in range(first, last):
        if job == first or jobs.shard[job] != jobs.shard[job - 1]:
            _close(functions, fd)
            fd = _open(functions, shards, jobs.shard[job], scratch)
        n_bytes = _fetch(functions, fd, jobs, job, scratch)
        which, _ = _which(pieces, jobs, job)
        start, end = starts[3, which[3]], starts[3, which[3] + 1]
        is_run = _is_run(inside, 3, start, end)
        is_sparse = n_bytes >= 0 and is_run and _unpack(functions, n_bytes, scratch)
        is_sparse = is_sparse and _SPARSE * _mark(scratch, search.least, search.most) <= scratch.chunk.shape[0] // 8
        if n_bytes < 0 or not (is_sparse or _decode(functions, jobs, n_bytes, scratch)):
            n_found = -1
            break
        for a in range(starts[0, which[0]], starts[0, which[0] + 1]):
            for b in range(starts[1, which[1]], starts[1, which[1] + 1]):
                for c in range(starts[2, which[2]], starts[2, which[2] + 1]):
                    source = inside[0, a] + inside[1, b] + inside[2, c]
                    to = target[0, a] + target[1, b] + target[2, c]
                    if is_sparse:
                        place = source + inside[3, start]
                        n_found = _search_marked(scratch, search, n_found, place, to, target, start, end)
                    else:
                        n_found = _search_row(scratch, search, n_found, source, inside, to, target, start, end, is_run)
    _close(functions, fd)
    return n_found


def _given(itemsize: int) -> list[Any]:
    """Arguments like those of all loops."""
    ints, table, words = np.zeros(1, np.int64), np.zeros((1, 1), np.int64), np.zeros(1, np.uint8)
    jobs = Jobs(ints, ints, ints, table, 0, 0)
    marks = np.zeros(1, np.uint64), np.zeros((2, 16), np.uint64)
    scratch = Scratch(ints, words, 0, np.zeros(1, f"i{itemsize}"), ints, *marks, 0, 0, 0)
    return [Functions(*[0] * 8), Shards(words, ints, ints, 0), jobs, Pieces(table, table, table), scratch, 0, 0]


@cache
def place(itemsize: int) -> Callable[..., int]:
    """The loop that places values of a size."""
    kernel: Callable[..., int] = _place
    return compiled_now(kernel, tuple(map(typeof, [*_given(itemsize), np.zeros(1, f"i{itemsize}")])))


@cache
def choose(itemsize: int) -> Callable[..., int]:
    """The loop that chooses values of a size."""
    kernel: Callable[..., int] = _choose
    search = Search(0, 0, np.zeros(1, np.int64), np.zeros(1, f"i{itemsize}"))
    return compiled_now(kernel, tuple(map(typeof, [*_given(itemsize), search])))
