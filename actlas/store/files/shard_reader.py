"""Reading shards: parts of an array straight from them: only the chunks that hold something wanted, decoded side by side.

zarr-python reads the same files; this exists because a question often reads every value of a cube, and its general path takes
several times as long there.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numpy.typing import NDArray

from actlas.errors import DamagedStore
from actlas.store.files.codecs import chunk_is_whole, crc_bytes, decode
from actlas.store.layout import ABSENT, ArrayPlan
from actlas.store.records import ShardRecord

Selector = slice | NDArray[np.int64]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="actlas-decode")


@dataclass(frozen=True)
class _Piece:
    """What one axis wants of one chunk along it."""

    chunk: int
    inside: Selector  # positions within the chunk
    target: Selector  # positions in the result


def plan_of(array: zarr.Array[Any]) -> ArrayPlan:
    """The grid of an array on disk."""
    logical = str(array.attrs.get("logical_dtype", array.dtype.name))
    dims = tuple(str(name) for name in getattr(array.metadata, "dimension_names", None) or ())
    return ArrayPlan(array.shape, array.chunks, array.shards or array.chunks, np.dtype(array.dtype).name, logical, dims)


def read_part(folder: Path, plan: ArrayPlan, selectors: Sequence[Selector]) -> NDArray[Any]:
    """An orthogonal part of an array.

    Args:
        folder: Folder of the array.
        plan: Its grid.
        selectors: Per dimension a slice with positive step, or int64 positions in any order; all within bounds.

    Returns:
        The part, C-contiguous, in the dtype on disk; what was never written is the fill value.

    Raises:
        DamagedStore: If a checksum disagrees.
    """
    axes = [_pieces(s, size, step) for s, size, step in zip(selectors, plan.shape, plan.chunk, strict=True)]
    shape = tuple(_length(s, size) for s, size in zip(selectors, plan.shape, strict=True))
    out = np.empty(shape, dtype=plan.dtype)
    per_shard = plan.chunks_per_shard
    jobs: dict[tuple[int, ...], list[tuple[_Piece, ...]]] = {}
    for pieces in itertools.product(*axes):
        shard = tuple(piece.chunk // n for piece, n in zip(pieces, per_shard, strict=True))
        jobs.setdefault(shard, []).append(pieces)
    for shard, wanted in jobs.items():
        _read_shard(folder.joinpath("c", *map(str, shard)), plan, wanted, out)
    return out


def _read_shard(path: Path, plan: ArrayPlan, wanted: list[tuple[_Piece, ...]], out: NDArray[Any]) -> None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        for pieces in wanted:
            out[np.ix_(*(_positions(piece.target) for piece in pieces))] = plan.fill_value
        return
    try:
        size = os.fstat(fd).st_size
        n_index = index_bytes(plan)
        index = read_index(os.pread(fd, n_index, max(0, size - n_index)), plan)

        def fill(pieces: tuple[_Piece, ...]) -> None:
            inside = tuple(piece.chunk % n for piece, n in zip(pieces, index.shape, strict=False))
            _fill(fd, index[inside], plan, pieces, out)

        if len(wanted) == 1:
            fill(wanted[0])
        else:
            for _ in _pool().map(fill, wanted):
                pass
    except (ValueError, RuntimeError) as error:
        raise DamagedStore(f"{path}: {error}") from error
    finally:
        os.close(fd)


def _fill(fd: int, entry: NDArray[np.uint64], plan: ArrayPlan, pieces: tuple[_Piece, ...], out: NDArray[Any]) -> None:
    """Decode one chunk and copy what is wanted of it."""
    target = tuple(piece.target for piece in pieces)
    inside = tuple(piece.inside for piece in pieces)
    plain = all(isinstance(where, slice) for where in (*target, *inside))
    offset, size = (int(number) for number in entry)
    if offset == ABSENT:
        out[np.ix_(*map(_positions, target))] = plan.fill_value
        return
    encoded = os.pread(fd, size, offset)
    if plain and out[target].flags.c_contiguous and out[target].shape == plan.chunk:
        decode(encoded, out[target])
        return
    chunk = np.empty(plan.chunk, dtype=plan.dtype)
    decode(encoded, chunk)
    if plain:
        out[target] = chunk[inside]
    else:
        out[np.ix_(*map(_positions, target))] = chunk[np.ix_(*map(_positions, inside))]


def _positions(where: Selector) -> NDArray[np.int64]:
    return np.arange(where.start, where.stop, where.step or 1) if isinstance(where, slice) else where


def _length(selector: Selector, size: int) -> int:
    return len(range(*selector.indices(size))) if isinstance(selector, slice) else len(selector)


def _pieces(selector: Selector, size: int, step: int) -> list[_Piece]:
    """The chunks along one axis that a selector touches."""
    if isinstance(selector, slice):
        start, stop, stride = selector.indices(size)
        if stride == 1:
            return [
                _Piece(
                    chunk,
                    slice(max(start, chunk * step) - chunk * step, min(stop, (chunk + 1) * step) - chunk * step),
                    slice(max(start, chunk * step) - start, min(stop, (chunk + 1) * step) - start),
                )
                for chunk in range(start // step, -(-stop // step))
                if stop > start
            ]
        selector = np.arange(start, stop, stride)
    chunks = selector // step
    return [
        _Piece(int(chunk), selector[chunks == chunk] - int(chunk) * step, np.flatnonzero(chunks == chunk))
        for chunk in np.unique(chunks)
    ]


def index_bytes(plan: ArrayPlan) -> int:
    """Size of the index at the end of a shard."""
    return 16 * prod(plan.chunks_per_shard) + 4


def read_index(table: bytes, plan: ArrayPlan) -> NDArray[np.uint64]:
    """Offset and length of every chunk, ``"chunks along each dimension, 2"``.

    Raises:
        ValueError: If its checksum disagrees.
    """
    if crc_bytes(table[:-4]) != table[-4:]:
        raise ValueError("the index of a shard is damaged")
    return np.frombuffer(table[:-4], dtype="<u8").reshape(*plan.chunks_per_shard, 2)


def damaged_chunks(root: Path, record: ShardRecord, plan: ArrayPlan) -> Iterator[str]:
    """What is wrong with a shard on disk, one line each; nothing where it is whole."""
    file = root / record.path
    if not file.exists():
        yield f"{record.path}: missing"
        return
    data = file.read_bytes()
    if len(data) != record.n_bytes:
        yield f"{record.path}: {len(data):,} bytes, {record.n_bytes:,} were committed"
        return
    if google_crc32c.value(data) == record.crc32c:
        return
    try:
        index = read_index(data[-index_bytes(plan) :], plan)
    except ValueError:
        yield f"{record.path}: its index is damaged"
        return
    bad = [
        i
        for i, (offset, size) in enumerate(index.reshape(-1, 2).tolist())
        if offset != ABSENT and not chunk_is_whole(data[offset : offset + size])
    ]
    which = ", ".join(map(str, bad)) or "none, it is another file"
    yield f"{record.path}: crc32c differs from the committed one; damaged chunks: {which}"
