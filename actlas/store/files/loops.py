"""Many chunks of an array read by compiled loops, on every core at once, straight into a result or for some of their values.

What is read, checked and decoded is what `shard_reader` reads chunk by chunk. That does all that cannot be done here: a few
chunks, for which loading the loops takes longer than reading; arrays with anything unusual; machines where functions of C are
not found.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actlas.store.layout import ABSENT_SUM, ArrayPlan
from actlas.store.records import ShardRecord

if TYPE_CHECKING:
    from actlas.compiled.chunks import Functions, Jobs, Pieces, Scratch, Shards

#: Chunks that a thread reads in one call, at most, and values that they hold.
_MOST, _MOST_VALUES = 64, 1 << 20
#: A read of fewer chunks is not worth a call.
_LEAST = 16
#: From one value in so many on, putting values where they are takes less than sorting them.
_DENSE = 32
#: Chunks that a process reads before it loads the loops, unless it has numba for something else: loading takes as long.
_BEFORE_LOADING = 4096
#: By how much blosc may be longer than what it was given.
_BLOSC_MORE = 64

Ints = NDArray[np.int64]


class Piece(Protocol):
    """What one axis needs of one chunk along it; see `shard_reader`."""

    @property
    def shard(self) -> int: ...

    @property
    def chunk(self) -> int: ...

    @property
    def inside(self) -> slice | Ints: ...

    @property
    def target(self) -> slice | Ints: ...


class _Order(Protocol):
    """How work is done on items."""

    def __call__(self, work: Callable[[slice], None], items: list[slice], /) -> None: ...


class _Buffers(threading.local):
    """Memory of one thread."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[np.uint8]] = {}

    def get(self, name: str, n: int, dtype: str) -> NDArray[Any]:
        """`n` uninitialised entries, the same memory each time."""
        n_bytes = n * np.dtype(dtype).itemsize
        if name not in self._arrays or self._arrays[name].size < n_bytes:
            self._arrays[name] = np.empty(n_bytes, dtype=np.uint8)
        return self._arrays[name][:n_bytes].view(dtype)


_buffers = _Buffers()
_read_before = 0


def is_worth_it(n_chunks: int) -> bool:
    """Whether so many chunks are to be read here."""
    global _read_before
    _read_before += n_chunks
    return n_chunks >= _LEAST and ("numba" in sys.modules or _read_before >= _BEFORE_LOADING) and _functions() is not None


@cache
def _functions() -> Functions | None:
    """What the loops call; None where one of it is not there: on another system, or in another build of a library."""
    if os.name != "posix" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    import google_crc32c._crc32c
    from numcodecs import blosc

    from actlas.compiled.chunks import Functions

    try:
        system, sums, codec = ctypes.CDLL(None), ctypes.CDLL(google_crc32c._crc32c.__file__), ctypes.CDLL(blosc.__file__)
        files = (system.open, system.lseek, system.pread, system.close)
        found = (*files, sums.crc32c_value, codec.blosc_decompress_ctx, codec.LZ4_decompress_safe)
    except (AttributeError, OSError):
        return None
    addresses = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in found)
    return Functions._make((*addresses, os.O_RDONLY | os.O_CLOEXEC))


@dataclass(frozen=True)
class ChunkReads:
    """The chunks that hold a part of an array, and what of them is the part.

    Attributes:
        folder: Of the array.
        plan: Its grid.
        axes: Per axis what it needs of each chunk along it.
        shape: Of the part.
        committed: As in `shard_reader.read_part`.
    """

    folder: Path
    plan: ArrayPlan
    axes: Sequence[Sequence[Piece]]
    shape: tuple[int, ...]
    committed: Mapping[str, ShardRecord] | None

    @property
    def n_chunks(self) -> int:
        return prod(map(len, self.axes))

    def place(self, on_every_core: _Order) -> NDArray[Any] | None:
        """The part; None where the reader in Python has to read it."""
        from actlas.compiled.chunks import place

        loop, dtype, is_whole = place(self.plan.itemsize), f"i{self.plan.itemsize}", []
        out = np.empty(self.shape, dtype=self.plan.dtype)
        flat = out.reshape(-1).view(dtype)

        def work(jobs: slice) -> None:
            is_whole.append(loop(*self._given, self._scratch(), jobs.start, jobs.stop, flat))

        if self._shards is None:
            return None
        on_every_core(work, self._parts(_MOST))
        return out if all(is_whole) else None

    def choose(self, keys: tuple[int, int], on_every_core: _Order) -> tuple[Ints, NDArray[Any]] | None:
        """Where in the flattened part values lie between two keys, ascending, and these values; None as in `place`."""
        from actlas.compiled.chunks import Search, choose

        loop, dtype = choose(self.plan.itemsize), f"i{self.plan.itemsize}"
        found: deque[tuple[Ints, NDArray[Any]] | None] = deque()
        n_values = prod(self.plan.chunk)
        most = max(1, min(_MOST, _MOST_VALUES // n_values))

        def work(jobs: slice) -> None:
            room = int(self._needed[jobs].sum())
            at, values = _buffers.get("at", room, "i8"), _buffers.get("values", room, dtype)
            n = loop(*self._given, self._scratch(), jobs.start, jobs.stop, Search(*keys, at, values))
            found.append(None if n < 0 else (at[:n].copy(), values[:n].copy()))

        if self._shards is None:
            return None
        on_every_core(work, self._parts(most))
        whole = [one for one in found if one is not None]
        if len(whole) < len(found):
            return None
        at, values = (np.concatenate(column) for column in zip(*whole, strict=True))
        if _DENSE * at.size < prod(self.shape):
            # what comes of one row of a chunk is in order: such runs are merged
            order = np.argsort(at, kind="stable")
            return at[order], values[order].view(self.plan.dtype)
        everywhere, is_found = np.empty(prod(self.shape), dtype=dtype), np.zeros(prod(self.shape), dtype=bool)
        everywhere[at], is_found[at] = values, True
        return np.flatnonzero(is_found), everywhere[is_found].view(self.plan.dtype)

    @cached_property
    def _needed(self) -> Ints:
        """Values that each job is for: more than its chunk has, where positions are asked for again and again."""
        lengths = np.diff(self._pieces.starts, axis=1)
        own = [lengths[axis, pieces] for axis, pieces in enumerate(self._jobs.pieces.T)]
        return np.asarray(np.prod(own, axis=0), dtype=np.int64)

    @property
    def _given(self) -> tuple[Any, ...]:
        return _functions(), self._shards, self._jobs, self._pieces

    def _parts(self, most: int) -> list[slice]:
        """What is read in one call each: not much, so that cores end together."""
        n_jobs = self._jobs.shard.size
        step = min(most, max(4, -(-n_jobs // 8)))
        return [slice(start, min(start + step, n_jobs)) for start in range(0, n_jobs, step)]

    def _scratch(self) -> Scratch:
        from actlas.compiled.chunks import Scratch

        n_values, itemsize = prod(self.plan.chunk), self.plan.itemsize
        entries = _buffers.get("entries", 2 * prod(self.plan.chunks_per_shard) + 1, "i8")
        room = n_values * itemsize + _BLOSC_MORE
        encoded = _buffers.get("encoded", room + n_values * itemsize, "u1")
        chunk = _buffers.get("chunk", n_values, f"i{itemsize}")
        planes, marks = _buffers.get("planes", 8, "i8"), _buffers.get("marks", n_values // 64 + 1, "u8")
        wanted = _buffers.get("wanted", 32, "u8").reshape(2, 16)
        addresses = (array.ctypes.data for array in (entries, encoded, chunk))
        return Scratch(entries, encoded, room, chunk, planes, marks, wanted, *addresses)

    @cached_property
    def _jobs(self) -> Jobs:
        return self._planned[0]

    @cached_property
    def _shards(self) -> Shards | None:
        """None where a shard is not named by a record, though there are records."""
        return self._planned[1]

    @cached_property
    def _planned(self) -> tuple[Jobs, Shards | None]:
        from actlas.compiled.chunks import AXES, Jobs

        counts = [len(axis) for axis in self.axes]
        places = np.indices(counts).reshape(len(counts), -1)
        shard, chunk = np.zeros((2, places.shape[1]), dtype=np.int64)
        grid = self.plan.chunks_per_shard
        n_shards = [-(-size // step) for size, step in zip(self.plan.shape, self.plan.shard, strict=True)]
        for axis, pieces in enumerate(self.axes):
            shards, chunks = (np.array([getattr(piece, name) for piece in pieces], dtype=np.int64) for name in ("shard", "chunk"))
            shard = shard * n_shards[axis] + shards[places[axis]]
            chunk = chunk * grid[axis] + chunks[places[axis]]
        order = np.lexsort((chunk, shard))
        shard, chunk = shard[order], chunk[order]
        pieces_of = np.zeros((order.size, AXES), dtype=np.int64)
        pieces_of[:, AXES - len(counts) :] = places.T[order]
        which, first = np.unique(shard, return_index=True)
        position = np.repeat(np.arange(which.size), np.diff([*first.tolist(), shard.size]))
        names = zip(*(axis.tolist() for axis in np.unravel_index(which, n_shards)), strict=True)
        sums = np.full(order.size, -1, dtype=np.int64)
        found = self._files(["/".join(map(str, name)) for name in names], first.tolist(), chunk, sums)
        fill = int(np.array([self.plan.fill_value], dtype=self.plan.dtype).view(f"i{self.plan.itemsize}")[0])
        return Jobs(position, chunk, sums, pieces_of, fill, ABSENT_SUM), found

    def _files(self, names: Sequence[str], first: Sequence[int], chunk: Ints, sums: Ints) -> Shards | None:
        """Shards by their index; what records say of their chunks goes into `sums`."""
        from actlas.compiled.chunks import Shards

        sizes = np.full(len(names), -1, dtype=np.int64)
        if self.committed is not None:
            for at, (name, start, end) in enumerate(zip(names, first, [*first[1:], chunk.size], strict=True)):
                record = self.committed.get(name)
                if record is None:
                    return None
                sizes[at] = record.n_bytes
                own = record.sums(self.plan.chunks_per_shard)
                if own is not None:
                    sums[start:end] = own.reshape(-1)[chunk[start:end]]
        paths = [f"{self.folder}/c/{name}\0".encode() for name in names]
        text = np.frombuffer(bytearray(b"".join(paths)), np.uint8)
        starts = np.cumsum([0, *map(len, paths[:-1])], dtype=np.int64)
        return Shards(text, text.ctypes.data + starts, sizes, 16 * prod(self.plan.chunks_per_shard) + 4)

    @cached_property
    def _pieces(self) -> Pieces:
        from actlas.compiled.chunks import AXES, Pieces

        before = AXES - len(self.axes)
        longest, most = max(self.shape, default=1), max(map(len, self.axes), default=1)
        starts = np.zeros((AXES, most + 1), dtype=np.int64)
        starts[:before, 1:] = 1
        inside, target = np.zeros((2, AXES, max(1, longest)), dtype=np.int64)
        for axis, pieces in enumerate(self.axes, before):
            at = axis - before
            # values between neighbours along the axis
            in_chunk, in_part = prod(self.plan.chunk[at + 1 :]), prod(self.shape[at + 1 :])
            start = 0
            for number, piece in enumerate(pieces):
                here, there = _numbers(piece.inside), _numbers(piece.target)
                end = start + here.size
                inside[axis, start:end], target[axis, start:end] = here * in_chunk, there * in_part
                starts[axis, number + 1 :] = start = end
        return Pieces(starts, inside, target)


def _numbers(where: slice | Ints) -> Ints:
    return np.arange(where.start, where.stop, where.step or 1) if isinstance(where, slice) else where
