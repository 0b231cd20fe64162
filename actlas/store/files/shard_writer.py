"""Zarr v3 shards put together in memory and written whole: chunks encoded side by side, one file, one atomic rename.

zarr-python reads what this writes. Writing through it would assemble shards on one core, copy them twice and put them in place
without a sync; a shard cut short by a kill must not be possible here.
"""

from __future__ import annotations

import binascii
import itertools
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from actlas.store.files.atomic import put_in_place, write_temporary
from actlas.store.files.codecs import CRC_BYTES, Codec, as_stored, crc_bytes
from actlas.store.layout import ABSENT, ABSENT_SUM, ArrayPlan
from actlas.store.records import ShardRecord
from actlas.timing import StageTimes

#: Tasks that encode chunks ahead of the one that is written.
_AHEAD = 2 * (os.cpu_count() or 1) + 2
#: What a task encodes: one large chunk, or so many small ones that handing it over costs little beside.
_TASK_BYTES = 1 << 18
_TILE = 64


@dataclass(frozen=True)
class ShardThreads:
    """The threads that write shards.

    Attributes:
        pool: Threads that transpose and encode chunks.
        finisher: One thread that puts written shards in their place, in the order in which they were written.
        sync: Whether to flush file and folder to disk.
        times: Seconds of "transpose" and "encode" (of the pool's threads, added up), "file" (writing) and "sync".
    """

    pool: ThreadPoolExecutor
    finisher: ThreadPoolExecutor
    sync: bool = True
    times: StageTimes = field(default_factory=StageTimes)

    def finish(self, temporary: Path, path: Path) -> Future[None]:
        """Put a written file in its place, after those that were written before it."""

        def put() -> None:
            with self.times.during("sync"):
                put_in_place(temporary, path, sync=self.sync)

        return self.finisher.submit(put)


def write_shards(
    root: Path,
    path: str,
    plan: ArrayPlan,
    codec: Codec,
    values: NDArray[Any],
    *,
    start: tuple[int, ...],
    pool: ThreadPoolExecutor,
    sync: bool = True,
) -> list[ShardRecord]:
    """Write `values` as the whole shards that begin at index `start` of an array.

    Args:
        root: The store.
        path: The array inside it.
        plan: Grid of the array.
        codec: How chunks are encoded.
        values: As many dimensions as the array, in its dtype on disk; any strides. Where it ends inside a shard, the rest of
            that shard is fill value.
        start: First index along every dimension, a multiple of the shard.
        pool: Threads that encode chunks.
        sync: Whether to flush file and folder to disk.

    Returns:
        One record per shard file.

    Raises:
        ValueError: If `start` is not on the shard grid: two owners in one shard lose each other's rows.
        TypeError: If `values` has another dtype than the array on disk.
    """
    # a shard waits for the disk while the chunks of the next ones are encoded and written
    with ThreadPoolExecutor(1, thread_name_prefix="actlas-finish") as finisher:
        records, placements = start_shards(
            root, path, plan, codec, values, start=start, threads=ShardThreads(pool, finisher, sync)
        )
        for placement in placements:
            placement.result()
    return records


def start_shards(
    root: Path,
    path: str,
    plan: ArrayPlan,
    codec: Codec,
    values: NDArray[Any],
    *,
    start: tuple[int, ...],
    threads: ShardThreads,
) -> tuple[list[ShardRecord], list[Future[None]]]:
    """The same as `write_shards`, but the shards are in place only when the futures are done; `values` is not needed any more.

    Returns:
        One record and one future per shard file.
    """
    if any(at % step for at, step in zip(start, plan.shard, strict=True)):
        raise ValueError(f"write at {start} is not on the shard grid {plan.shard} of {path}; a shard is written whole")
    values = as_stored(values, plan.dtype)
    counts = [ceil(size / step) for size, step in zip(values.shape, plan.shard, strict=True)]
    windows = []
    for index in itertools.product(*map(range, counts)):
        grid = [begin // step + i for begin, step, i in zip(start, plan.shard, index, strict=True)]
        windows.append((f"{path}/c/{'/'.join(map(str, grid))}", _window(values, index, plan.shard)))
    chunks = _encoded((window for _, window in windows), plan, codec, threads)
    records, placements = [], []
    for name, _ in windows:
        shard = _Assembly(itertools.islice(chunks, prod(plan.chunks_per_shard)))
        written = write_temporary(root / name, _while_written(shard.parts(), threads.times))
        placements.append(threads.finish(written, root / name))
        records.append(shard.record(name))
    return records, placements


def _window(values: NDArray[Any], index: tuple[int, ...], step: tuple[int, ...]) -> NDArray[Any]:
    window: NDArray[Any] = values[tuple(slice(i * size, (i + 1) * size) for i, size in zip(index, step, strict=True))]
    return window


def _while_written(parts: Iterable[bytes], times: StageTimes) -> Iterator[bytes]:
    """The parts; the time that their consumer spends between two of them counts as "file"."""
    for part in parts:
        with times.during("file"):
            yield part


def _encoded(shards: Iterable[NDArray[Any]], plan: ArrayPlan, codec: Codec, threads: ShardThreads) -> Iterator[bytes]:
    """Encoded chunks, shard after shard in the order of their indices; empty where the array has ended.

    A few are encoded ahead, over the borders of shards, so that no thread waits for a file to be written.
    """
    grid = [range(n) for n in plan.chunks_per_shard]
    pieces = (_window(shard, index, plan.chunk) for shard in shards for index in itertools.product(*grid))
    per_task = max(1, _TASK_BYTES // (prod(plan.chunk) * np.dtype(plan.dtype).itemsize))

    def encode(piece: NDArray[Any]) -> bytes:
        if not piece.size:
            return b""
        with threads.times.during("transpose"):
            chunk = _whole_chunk(piece, plan)
        with threads.times.during("encode"):
            return codec.encode(chunk)

    def encode_all(some: Sequence[NDArray[Any]]) -> list[bytes]:
        return [encode(piece) for piece in some]

    ahead: deque[Future[list[bytes]]] = deque()
    try:
        while some := list(itertools.islice(pieces, per_task)):
            ahead.append(threads.pool.submit(encode_all, some))
            if len(ahead) > _AHEAD:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        # nothing may still read `values` when an error leaves here
        for encoding in ahead:
            encoding.cancel()
        wait(ahead)


class _Assembly:
    """One shard as it is written: chunks, then their index and its crc32c, as `sharding_indexed` lays them out."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._n_bytes = 0
        self._digest = xxhash.xxh3_128()
        self._sums = bytearray()

    def parts(self) -> Iterator[bytes]:
        index = []
        for chunk in self._chunks:
            index.append((self._n_bytes, len(chunk)) if chunk else (ABSENT, ABSENT))
            self._sums += chunk[-CRC_BYTES:] or ABSENT_SUM.to_bytes(CRC_BYTES, "little")
            yield self._counted(chunk)
        table = np.array(index, dtype="<u8").tobytes()
        yield self._counted(table + crc_bytes(table))

    def _counted(self, part: bytes) -> bytes:
        self._n_bytes += len(part)
        self._digest.update(part)
        return part

    def record(self, path: str) -> ShardRecord:
        """What to tell this shard by, once all of its parts were taken."""
        sums = binascii.b2a_base64(self._sums, newline=False).decode()
        return ShardRecord(path, self._n_bytes, digest=self._digest.hexdigest(), chunk_sums=sums)


_working = threading.local()


def _whole_chunk(piece: NDArray[Any], plan: ArrayPlan) -> NDArray[Any]:
    """`piece` as one contiguous chunk, filled up with the fill value where the array ends inside it.

    It may lie in memory of the thread, until the thread's next call.
    """
    if piece.shape == plan.chunk and piece.flags.c_contiguous:
        return piece
    chunk: NDArray[Any] | None = getattr(_working, "chunk", None)
    if chunk is None or chunk.shape != plan.chunk or chunk.dtype != plan.dtype:
        chunk = _working.chunk = np.empty(plan.chunk, dtype=plan.dtype)
    if piece.shape != plan.chunk:
        chunk.fill(plan.fill_value)
    _copy_transposed(piece, chunk[tuple(map(slice, piece.shape))])
    return chunk


def _copy_transposed(source: NDArray[Any], target: NDArray[Any]) -> None:
    """Copy in square tiles of the last two dimensions: several times faster than one pass where `source` is a transposed view."""
    rows, columns = source.shape[-2:]
    if source.strides[-1] <= source.strides[-2]:
        target[...] = source
        return
    if source.dtype.itemsize == 2:
        from actlas.compiled.transpose import transpose_copy

        if transpose_copy(source, target):
            return
    for row in range(0, rows, _TILE):
        for column in range(0, columns, _TILE):
            tile = (..., slice(row, row + _TILE), slice(column, column + _TILE))
            target[tile] = source[tile]
