"""Compiled loops of the writer for 2-byte values: turning text-major values, and blosc's lz4 behind bit shuffling.

What they write is a blosc 1 chunk like any other (`docs/format.md`); every blosc decodes it. blosc itself, as numcodecs ships it,
takes twice the time for the shuffling alone and returns fresh memory for every chunk, whose pages cost as much again.

This is the one file of the store that needs numba; import it only where something is written. Everything is compiled on import
and kept on disk for later processes. Nothing here holds the interpreter lock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from math import gcd
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic
from numpy.typing import NDArray

logger = logging.getLogger("actlas.store")
F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy", "_nrt": False}

#: Largest part of a chunk that is shuffled and compressed at a time: it stays in a core's own cache.
BLOCK_BYTES = 256 << 10
#: Values whose bits are collected before any of them is stored, so that whole cache lines are: 64 bytes of each of 16 planes.
_GROUP = 512
_LANES = 32
#: Values along one side of the tile that is turned in registers.
_TILE = 8

# lz4: 6 equal bytes make a match (the format allows 4; on bit planes such short ones cost time and gain nothing)
_MATCH = 6
_MATCH_MASK = (1 << 8 * _MATCH) - 1
_FIRST_STEP = 2
_HASH_BITS = 12
_FARTHEST = 65535
# a block ends in at least 5 literals, and its last match starts at least 12 bytes before the end
_LAST_LITERALS = 5
_LAST_MATCH = 12

_HEADER_BYTES = 16
#: Room behind every buffer: copies go in whole lines and may pass the end.
SLACK = 64


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `function`, which writes LLVM instructions, is to a compiled caller: its first parameter is numba's own."""
    return cast(Callable[..., Any], _intrinsic(function))


def _jit(function: F) -> F:
    """Compiled into the function that calls it."""
    return cast(F, numba.njit(forceinline=True, **_OPTIONS)(function))


def _compiled(*signature: Any) -> Callable[[F], F]:
    """Compiled now, or taken from the cache on disk."""

    def compile_now(function: F) -> F:
        try:
            return cast(F, numba.njit(signature, cache=True, **_OPTIONS)(function))
        except RuntimeError as error:  # no folder to write to
            logger.warning("compiled loops cannot be cached (%s): every process will compile them anew", error)
            return cast(F, numba.njit(signature, **_OPTIONS)(function))

    return compile_now


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any, target: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), target.as_pointer())


@intrinsic
def _load_word(typing: Any, source: Any, at: Any) -> Any:
    """8 bytes from `at` on as one number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature.args[0], args[0], args[1], ir.IntType(64)), align=1)

    return types.uint64(source, types.int64), generate


def _copier(n_bytes: int) -> Callable[..., Any]:
    def copy(typing: Any, source: Any, first: Any, target: Any, at: Any) -> Any:
        """`n_bytes` bytes from source[first] to target[at]."""
        line = ir.VectorType(ir.IntType(8), n_bytes)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            loaded = builder.load(_place(context, builder, signature.args[0], args[0], args[1], line), align=1)
            builder.store(loaded, _place(context, builder, signature.args[2], args[2], args[3], line), align=1)
            return context.get_dummy_value()

        return types.void(source, types.int64, target, types.int64), generate

    return intrinsic(copy)


_copy_line = _copier(64)
_copy_short = _copier(16)


@intrinsic
def _split_bits(typing: Any, values: Any, first: Any, group: Any, at: Any) -> Any:
    """Bit p of `_LANES` values from `first` on, as bytes of `group` from 64 * p + `at` on, for the 16 bits p of a value."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide, narrow = (ir.VectorType(ir.IntType(bits), _LANES) for bits in (16, 8))
        bits = ir.IntType(_LANES)
        loaded = builder.load(_place(context, builder, signature.args[0], args[0], args[1], wide), align=1)
        for byte in range(2):
            part = builder.trunc(builder.lshr(loaded, ir.Constant(wide, [8 * byte] * _LANES)), narrow)
            for bit in range(7, -1, -1):
                # the sign of every byte at once; doubling brings the next bit into its place
                signs = builder.bitcast(builder.icmp_signed("<", part, ir.Constant(narrow, None)), bits)
                place = builder.add(args[3], ir.Constant(args[3].type, (8 * byte + bit) * 64))
                builder.store(signs, _place(context, builder, signature.args[2], args[2], place, bits), align=1)
                part = builder.add(part, part)
        return context.get_dummy_value()

    return types.void(values, types.int64, group, types.int64), generate


@intrinsic
def _turn_tile(typing: Any, source: Any, first: Any, step: Any, target: Any, at: Any, target_step: Any) -> Any:
    """target[at + i * target_step + j] = source[first + j * step + i] for i, j below `_TILE`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = ir.VectorType(ir.IntType(16), _TILE)
        kinds = signature.args

        def at(start: Any, step: Any, i: int) -> Any:
            return builder.add(start, builder.mul(step, ir.Constant(step.type, i)))

        rows = [
            builder.load(_place(context, builder, kinds[0], args[0], at(args[1], args[2], i), line), align=1)
            for i in range(_TILE)
        ]
        half = _TILE // 2
        low, high = (
            ir.Constant(ir.VectorType(ir.IntType(32), _TILE), [start + j // 2 + _TILE * (j % 2) for j in range(_TILE)])
            for start in (0, half)
        )
        # interleaving row i with row i + half, once per power of two, is a transposition
        for _ in range(_TILE.bit_length() - 1):
            pairs = [(rows[i], rows[i + half]) for i in range(half)]
            rows = [builder.shuffle_vector(*pair, mask) for pair in pairs for mask in (low, high)]
        for i, row in enumerate(rows):
            builder.store(row, _place(context, builder, kinds[3], args[3], at(args[4], args[5], i), line), align=1)
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64, types.int64), generate


@intrinsic
def _trailing_zeros(typing: Any, word: Any) -> Any:
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.cttz(
        args[0], ir.Constant(ir.IntType(1), 0)
    )


_VALUES = types.Array(types.uint16, 2, "A")
_FLAT = types.Array(types.uint16, 1, "C")
_BYTES = types.Array(types.uint8, 1, "C")
_TABLE = types.Array(types.int32, 1, "C")


@_compiled(_VALUES, _VALUES)
def _turn(source: Any, target: Any) -> None:
    """target[i, j] = source[j, i]; the last dimension of both has unit stride."""
    rows, columns = target.shape
    step, target_step = source.strides[0] // 2, target.strides[0] // 2
    whole_rows, whole_columns = rows - rows % _TILE, columns - columns % _TILE
    # 32 values are a cache line of the source: it is used up before the next one is fetched
    for first in range(0, whole_rows, 4 * _TILE):
        for column in range(0, whole_columns, _TILE):
            for row in range(first, min(first + 4 * _TILE, whole_rows), _TILE):
                _turn_tile(source, column * step + row, step, target, row * target_step + column, target_step)
    for row in range(rows):
        for column in range(whole_columns if row < whole_rows else 0, columns):
            target[row, column] = source[column, row]


@_jit
def _bit_planes(values: Any, first: Any, n_values: Any, planes: Any, group: Any) -> None:
    """blosc's bit shuffling of one block: 16 planes, the lowest bit first, each with one bit of every value."""
    plane_bytes = n_values // 8
    for g in range(n_values // _GROUP):
        for i in range(_GROUP // _LANES):
            _split_bits(values, first + g * _GROUP + i * _LANES, group, i * (_LANES // 8))
        for plane in range(16):
            _copy_line(group, plane * 64, planes, plane * plane_bytes + g * 64)


@_jit
def _put_length(out: Any, at: Any, left: Any) -> Any:
    """What of a length did not fit its 4 bits."""
    while left >= 255:
        out[at] = 255
        at += 1
        left -= 255
    out[at] = left
    return at + 1


@_jit
def _put_literals(source: Any, first: Any, run: Any, out: Any, at: Any) -> Any:
    """A token with its literals; the token's lower half, the length of a match, is left 0."""
    out[at] = min(run, 15) << 4
    at += 1
    if run >= 15:
        at = _put_length(out, at, run - 15)
    done = 0
    while done < run:
        _copy_short(source, first + done, out, at + done)
        done += 16
    return at + run


@_jit
def _lz4(source: Any, first: Any, last: Any, out: Any, start: Any, table: Any) -> Any:
    """source[first:last] as one lz4 block from out[start] on; where it ends, or `start` if it would not get smaller."""
    # strictly smaller: to a reader, a stream as long as its content is that content itself
    limit = start + last - first - 1
    mask = np.uint64(_MATCH_MASK)
    for i in range(table.size):
        table[i] = -_FARTHEST - 1
    at, anchor, here = start, first, first
    misses = _FIRST_STEP << 6
    while here <= last - _LAST_MATCH:
        word = _load_word(source, here) & mask
        place = np.int64((word * np.uint64(0x9E3779B185EBCA87)) >> np.uint64(64 - _HASH_BITS))
        there = np.int64(table[place])
        table[place] = here
        if here - there > _FARTHEST or there < first or (_load_word(source, there) & mask) != word:
            # noise is left behind faster and faster
            here += misses >> 6
            misses += 1
            continue
        while here > anchor and there > first and source[here - 1] == source[there - 1]:
            here -= 1
            there -= 1
        end, other = here + _MATCH, there + _MATCH
        while end <= last - 8:
            differs = _load_word(source, end) ^ _load_word(source, other)
            if differs != np.uint64(0):
                end += np.int64(_trailing_zeros(differs) >> np.uint64(3))
                break
            end += 8
            other += 8
        end = min(end, last - _LAST_LITERALS)
        run, length = here - anchor, end - here - 4
        if at + run + run // 255 + length // 255 + 8 > limit:
            return start
        token = at
        at = _put_literals(source, anchor, run, out, at)
        offset = here - there
        out[at] = offset & 255
        out[at + 1] = offset >> 8
        at += 2
        out[token] |= min(length, 15)
        if length >= 15:
            at = _put_length(out, at, length - 15)
        here = anchor = end
        misses = _FIRST_STEP << 6
    run = last - anchor
    if at + run + run // 255 + 2 > limit:
        return start
    return _put_literals(source, anchor, run, out, at)


@_jit
def _put_int(out: Any, at: Any, value: Any) -> None:
    for i in range(4):
        out[at + i] = (value >> 8 * i) & 255


@_compiled(_FLAT, types.int64, _BYTES, _BYTES, _TABLE, _BYTES)
def _encode(values: Any, block: Any, planes: Any, group: Any, table: Any, out: Any) -> Any:
    """`values` as a blosc chunk of blocks of `block` values, less its header; where it ends.

    In a block the planes of the lower bytes are one stream, those of the higher bytes another, for one is mostly noise.
    """
    n_blocks = values.size // block
    at = _HEADER_BYTES + 4 * n_blocks
    for b in range(n_blocks):
        _put_int(out, _HEADER_BYTES + 4 * b, at)
        _bit_planes(values, b * block, block, planes, group)
        for first in (0, block):
            end = _lz4(planes, first, first + block, out, at + 4, table)
            if end == at + 4:
                for i in range(0, block, 64):
                    _copy_line(planes, first + i, out, end + i)
                end += block
            _put_int(out, at, end - at - 4)
            at = end
    return at


_working = threading.local()


def _working_memory() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32]]:
    if not hasattr(_working, "memory"):
        _working.memory = (
            np.empty(BLOCK_BYTES + SLACK, dtype=np.uint8),
            np.empty(16 * 64, dtype=np.uint8),
            np.empty(1 << _HASH_BITS, dtype=np.int32),
        )
    memory: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32]] = _working.memory
    return memory


def encoded_bytes(n_bytes: int) -> int:
    """Memory that `encode` needs for a chunk of `n_bytes`."""
    return n_bytes + _HEADER_BYTES + 12 * (n_bytes // (2 * _GROUP)) + 2 * SLACK


def fits(chunk: NDArray[Any]) -> bool:
    """Whether `encode` can take this chunk."""
    is_plain = chunk.dtype.itemsize == 2 and chunk.dtype.isnative and chunk.flags.c_contiguous
    return is_plain and chunk.nbytes > 0 and chunk.nbytes % (2 * _GROUP) == 0


def encode(chunk: NDArray[Any], out: NDArray[np.uint8]) -> int:
    """Encode a chunk that `fits`.

    Args:
        chunk: 2-byte values, C-contiguous.
        out: uint8 ``"bytes"``, at least `encoded_bytes` of them.

    Returns:
        Bytes of `out` that are the encoded chunk.

    Example:
        >>> chunk, out = np.arange(1024, dtype=np.uint16), np.empty(encoded_bytes(2048), np.uint8)
        >>> encode(chunk, out) < 2048
        True
    """
    if out.size < encoded_bytes(chunk.nbytes):
        raise ValueError(f"a chunk of {chunk.nbytes:,} bytes needs {encoded_bytes(chunk.nbytes):,} to encode, not {out.size:,}")
    n_bytes, flat = chunk.nbytes, chunk.reshape(-1).view(np.uint16)
    block = gcd(n_bytes, BLOCK_BYTES)
    size = int(_encode(flat, block // 2, *_working_memory(), out))
    is_copy = size >= n_bytes + _HEADER_BYTES
    if is_copy:
        size = n_bytes + _HEADER_BYTES
        out[_HEADER_BYTES:size] = flat.view(np.uint8)
    # version 2 of the format and 1 of lz4; bit 1: only copied, bit 2: bit shuffling, bit 5: lz4
    out[:4] = (2, 1, 0b100100 | is_copy << 1, 2)
    out[4:_HEADER_BYTES] = np.array([n_bytes, block, size], dtype="<u4").view(np.uint8)
    return size


def turn(source: NDArray[Any], target: NDArray[Any]) -> bool:
    """Copy between 2-byte arrays of one shape, the source a transposed view in its last two dimensions, the target not.

    Returns:
        False, with nothing done, where strides or dtypes are others.
    """
    item = 2
    is_turned = source.strides[-2] == item and target.strides[-1] == item
    if not is_turned or source.dtype.itemsize != item or source.shape != target.shape:
        return False
    for index in np.ndindex(source.shape[:-2]):
        _turn(source[index].view(np.uint16).T, target[index].view(np.uint16))
    return True
