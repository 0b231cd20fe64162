"""Reading parts of an array straight from its shards: only the chunks that hold something of them, decoded on every core.

zarr-python reads the same files. A question often reads every value of a cube, and its general path takes several times as long
there (docs/decisions/0010-own-shard-reader.md).
"""

from __future__ import annotations

import binascii
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import google_crc32c
import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from actlas.errors import DamagedStore, raise_shortage
from actlas.store.bounds import Bounds
from actlas.store.files.codecs import CRC_BYTES, chunk_is_whole, crc_bytes, decode
from actlas.store.files.loops import ChunkReads, is_worth_it
from actlas.store.layout import ABSENT, ABSENT_SUM, ArrayPlan
from actlas.store.records import ShardRecord

if TYPE_CHECKING:
    import zarr

Selector = slice | NDArray[np.int64]
Index = tuple[slice | NDArray[np.int64], ...]
_T = TypeVar("_T")


class _Scratch(threading.local):
    """Memory of one encoded and one decoded chunk per thread, kept because fresh memory costs as much as reading."""

    def __init__(self) -> None:
        self._encoded = np.empty(0, dtype=np.uint8)
        self._decoded = np.empty(0, dtype=np.uint8)

    def encoded(self, n_bytes: int) -> NDArray[np.uint8]:
        if self._encoded.size < n_bytes:
            self._encoded = np.empty(n_bytes, dtype=np.uint8)
        return self._encoded[:n_bytes]

    def decoded(self, plan: ArrayPlan) -> NDArray[Any]:
        n_bytes = prod(plan.chunk) * plan.itemsize
        if self._decoded.size < n_bytes:
            self._decoded = np.empty(n_bytes, dtype=np.uint8)
        chunk: NDArray[Any] = self._decoded[:n_bytes].view(plan.dtype).reshape(plan.chunk)
        return chunk


_scratch = _Scratch()

_WHAT_TO_DO = "actlas verify names all that is damaged; put a whole copy of the file back, or compute it again"


@cache
def _n_cores() -> int:
    return os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_n_cores(), thread_name_prefix="actlas-decode")


@dataclass
class Reads:
    """What would be read of arrays: chunks, and their bytes on disk."""

    n_chunks: int = 0
    n_bytes: int = 0


_counted: ContextVar[Reads | None] = ContextVar("counted", default=None)


@contextmanager
def counting() -> Iterator[Reads]:
    """Within it `read_part` counts what it would read, and gives zeros: of shards only their indexes are read."""
    reads = Reads()
    token = _counted.set(reads)
    try:
        yield reads
    finally:
        _counted.reset(token)


@dataclass(frozen=True)
class _Piece:
    """What one axis needs of one chunk along it."""

    shard: int
    chunk: int  # within the shard
    inside: Selector  # positions within the chunk
    target: Selector  # positions in the result


class _Job(NamedTuple):
    """One chunk of a shard and the part of the result that comes from it."""

    chunk: tuple[int, ...]
    inside: Index
    target: Index
    is_view: bool  # whether the target is slices alone


def open_array(folder: Path) -> zarr.Array[Any]:
    """The array in a folder; nothing of it but its metadata is read.

    Raises:
        DamagedStore: If its zarr.json is missing, or says nothing that this version of actlas wrote.
    """
    # here: a query over tables opens no array, and importing zarr takes as long as answering it
    import zarr

    try:
        array = zarr.open_array(folder, mode="r", zarr_format=3)
        plan = plan_of(array)
    except Exception as error:
        raise_shortage(error)
        # whatever zarr stumbles over, the file is not one that was written here
        said = " ".join(str(error).split()) or type(error).__name__
        raise DamagedStore(f"{folder}/zarr.json is missing, or not the metadata of an array ({said})") from error
    if 0 in (*plan.chunk, *plan.shard) or any(shard % chunk for shard, chunk in zip(plan.shard, plan.chunk, strict=True)):
        raise DamagedStore(f"{folder}/zarr.json is not what was written: its chunks are {plan.chunk}, its shards {plan.shard}")
    return array


def plan_of(array: zarr.Array[Any]) -> ArrayPlan:
    """The grid of an array on disk."""
    logical = str(array.attrs.get("logical_dtype", array.dtype.name))
    dims = tuple(str(name) for name in getattr(array.metadata, "dimension_names", None) or ())
    return ArrayPlan(array.shape, array.chunks, array.shards or array.chunks, np.dtype(array.dtype).name, logical, dims)


def read_part(
    folder: Path, plan: ArrayPlan, selectors: Sequence[Selector], committed: Mapping[str, ShardRecord] | None = None
) -> NDArray[Any]:
    """An orthogonal part of an array.

    Args:
        folder: Folder of the array.
        plan: Its grid.
        selectors: Per dimension a slice with positive step, or int64 positions in any order; all within bounds.
        committed: What records say of its shards, by their index ("0/1/0"): every shard that is read has to be the one named
            there. None reads an array without records, in which what was never written is the fill value.

    Returns:
        The part, C-contiguous, in the dtype on disk.

    Raises:
        DamagedStore: If a checksum disagrees, or a shard is not the one that was committed.
    """
    chunks = _chunk_reads(folder, plan, selectors, committed)
    if _counted.get() is None and is_worth_it(chunks.n_chunks):
        read = chunks.place(_on_every_core)
        if read is not None:
            return read
    return _read_by_chunk(chunks)


def _read_by_chunk(chunks: ChunkReads) -> NDArray[Any]:
    """The part, from chunk after chunk in Python."""
    folder, plan, committed = chunks.folder, chunks.plan, chunks.committed
    axes, shape = chunks.axes, chunks.shape
    out = np.empty(shape, dtype=plan.dtype)
    # asked once: a layer of scores has hundreds of chunks
    inside_of, target_of = (
        tuple if all(isinstance(getattr(piece, which), slice) for axis in axes for piece in axis) else _index
        for which in ("inside", "target")
    )
    shards: dict[tuple[int, ...], list[_Job]] = {}
    for pieces in itertools.product(*axes):
        chunk, shard = tuple([piece.chunk for piece in pieces]), tuple([piece.shard for piece in pieces])
        inside, target = inside_of([piece.inside for piece in pieces]), target_of([piece.target for piece in pieces])
        shards.setdefault(shard, []).append(_Job(chunk, inside, target, is_view=target_of is tuple))

    reads = _counted.get()
    if reads is not None:
        for shard, jobs in shards.items():
            _count(folder / "c" / "/".join(map(str, shard)), plan, jobs, reads)
        return np.zeros(shape, dtype=plan.dtype)

    where = str(folder)

    def read_shard(shard: tuple[int, ...], order: _Order) -> None:
        index = "/".join(map(str, shard))
        # as text: a concept lies in hundreds of shards, and joining paths takes as long as reading them
        path, record = f"{where}/c/{index}", None
        if committed is not None and (record := committed.get(index)) is None:
            raise DamagedStore(f"no record names {path}, whose values are asked for; {_WHAT_TO_DO}")
        _read_shard(path, plan, record, shards[shard], out, order)

    if len(shards) >= 2 * _n_cores() or max(map(len, shards.values()), default=0) < _n_cores():
        # a neuron or a concept has a chunk or two in each of many shards
        _on_every_core(lambda shard: read_shard(shard, _one_after_another), list(shards))
    else:
        _one_after_another(lambda shard: read_shard(shard, _on_every_core), list(shards))
    return out


def find_part(
    folder: Path, plan: ArrayPlan, selectors: Sequence[Selector], committed: Mapping[str, ShardRecord] | None, bounds: Bounds
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Where in an orthogonal part of an array of floats values are within bounds, and these values.

    Args:
        folder: Folder of the array.
        plan: Its grid.
        selectors: As in `read_part`.
        committed: Likewise.
        bounds: Which values are wanted.

    Returns:
        Positions in the flattened part, ascending, and the values there, in the dtype on disk.

    Raises:
        DamagedStore: As `read_part` does.
    """
    chunks = _chunk_reads(folder, plan, selectors, committed)
    if _counted.get() is None and is_worth_it(chunks.n_chunks):
        found = chunks.choose(bounds.keys(plan.logical_dtype), _on_every_core)
        if found is not None:
            return found
    values = _read_by_chunk(chunks).reshape(-1)
    at = np.flatnonzero(bounds.hold(values, plan.logical_dtype))
    return at, values[at]


def _chunk_reads(
    folder: Path, plan: ArrayPlan, selectors: Sequence[Selector], committed: Mapping[str, ShardRecord] | None
) -> ChunkReads:
    axes = [_pieces(*axis) for axis in zip(selectors, plan.shape, plan.chunk, plan.chunks_per_shard, strict=True)]
    shape = tuple(_length(s, size) for s, size in zip(selectors, plan.shape, strict=True))
    return ChunkReads(folder, plan, axes, shape, committed)


def _read_shard(
    path: str, plan: ArrayPlan, record: ShardRecord | None, jobs: list[_Job], out: NDArray[Any], order: _Order
) -> None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise_shortage(error)
        if record is not None:
            raise DamagedStore(f"{path} was committed and cannot be read ({error.strerror}); {_WHAT_TO_DO}") from error
        if not isinstance(error, FileNotFoundError):
            raise
        for job in jobs:
            out[job.target] = plan.fill_value
        return
    try:
        n_bytes, n_index = os.fstat(fd).st_size, index_bytes(plan)
        if record is not None and n_bytes != record.n_bytes:
            raise DamagedStore(f"{n_bytes:,} bytes, and {record.n_bytes:,} were committed; {_WHAT_TO_DO}")
        index = read_index(os.pread(fd, n_index, max(0, n_bytes - n_index)), plan)
        sums = None if record is None else record.sums(plan.chunks_per_shard)
        order(lambda job: _decode_chunk(fd, index[job.chunk], sums, plan, job, out), jobs)
    except (ValueError, RuntimeError) as error:
        raise_shortage(error)
        raise DamagedStore(f"{path}: {error}") from error
    finally:
        os.close(fd)


def _count(path: Path, plan: ArrayPlan, jobs: list[_Job], reads: Reads) -> None:
    """Add what jobs read of a shard; nothing where it was never written."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(-index_bytes(plan), os.SEEK_END)
        index = read_index(file.read(), plan)
    sizes = [size for offset, size in (index[job.chunk].tolist() for job in jobs) if offset != ABSENT]
    reads.n_chunks += len(sizes)
    reads.n_bytes += sum(sizes)


class _Order(Protocol):
    """How work is done on items: one after the other, or on every core."""

    def __call__(self, work: Callable[[_T], None], items: list[_T], /) -> None: ...


def _one_after_another(work: Callable[[_T], None], items: list[_T]) -> None:
    for item in items:
        work(item)


def _on_every_core(work: Callable[[_T], None], items: list[_T]) -> None:
    """Work on all items, in this thread and in others, which take item after item until none is left.

    Returns, or raises the first error, only when no thread works on any item.
    """
    left = deque(items)

    def drain() -> None:
        while True:
            try:
                item = left.popleft()
            except IndexError:
                return
            try:
                work(item)
            except BaseException:
                left.clear()
                raise

    # to wake a thread for a single chunk takes longer than to decode it
    n_helpers = min(_n_cores(), len(items) // 2) - 1
    helpers = [_pool().submit(drain) for _ in range(n_helpers)]
    try:
        drain()
    finally:
        # a helper that has not begun, because the pool is busy with other reads, finds nothing to do any more
        running = [helper for helper in helpers if not helper.cancel()]
        wait(running)
    for helper in running:
        helper.result()


def _decode_chunk(
    fd: int, entry: NDArray[np.uint64], sums: NDArray[np.uint32] | None, plan: ArrayPlan, job: _Job, out: NDArray[Any]
) -> None:
    """Decode one chunk straight into the result where it fills a contiguous part of it, else by way of the thread's scratch."""
    offset, size = entry.tolist()
    if offset == ABSENT:
        if sums is not None and sums[job.chunk] != ABSENT_SUM:
            raise DamagedStore(f"a chunk that was committed is not in it; {_WHAT_TO_DO}")
        out[job.target] = plan.fill_value
        return
    encoded = _scratch.encoded(size)
    if os.preadv(fd, [encoded.data], offset) != size:
        raise DamagedStore("the file ends inside a chunk")
    if sums is not None and int(sums[job.chunk]) != _chunk_sum(encoded):
        # a whole shard of another array, checkpoint or run agrees with itself; only the record knows that it is not this one
        raise DamagedStore(f"a chunk is not the one that was committed; {_WHAT_TO_DO}")
    if job.is_view and (part := out[job.target]).shape == plan.chunk and part.flags.c_contiguous:
        decode(encoded, part)
        return
    chunk = _scratch.decoded(plan)
    decode(encoded, chunk)
    out[job.target] = chunk[job.inside]


def _index(selectors: list[Selector]) -> Index:
    """What numpy takes to pick these positions along each axis, independently of the other axes."""
    return np.ix_(*map(_positions, selectors))


def _positions(where: Selector) -> NDArray[np.int64]:
    return np.arange(where.start, where.stop, where.step or 1) if isinstance(where, slice) else where


def _length(selector: Selector, size: int) -> int:
    return len(range(*selector.indices(size))) if isinstance(selector, slice) else len(selector)


def _pieces(selector: Selector, size: int, step: int, per_shard: int) -> list[_Piece]:
    """The chunks of `step` along one axis that a selector touches."""
    if isinstance(selector, slice):
        start, stop, stride = selector.indices(size)
        if stride == 1:
            pieces = []
            for chunk in range(start // step, -(-stop // step) if stop > start else 0):
                begin, end = max(start, chunk * step), min(stop, (chunk + 1) * step)
                inside, target = slice(begin - chunk * step, end - chunk * step), slice(begin - start, end - start)
                pieces.append(_Piece(*divmod(chunk, per_shard), inside, target))
            return pieces
        selector = np.arange(start, stop, stride)
    chunks = selector // step
    return [
        _Piece(*divmod(int(chunk), per_shard), selector[chunks == chunk] - int(chunk) * step, np.flatnonzero(chunks == chunk))
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
    yield from shard_faults(file.read_bytes(), record, plan)


def shard_faults(data: bytes, record: ShardRecord, plan: ArrayPlan) -> Iterator[str]:
    """What is wrong with the content of a shard, one line each; nothing where it is the one that was committed."""
    if len(data) != record.n_bytes:
        yield f"{record.path}: {len(data):,} bytes, {record.n_bytes:,} were committed"
        return
    if (xxhash.xxh3_128_hexdigest(data) == record.digest) if record.digest else (google_crc32c.value(data) == record.crc32c):
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
    yield f"{record.path}: its contents are not those that were committed; damaged chunks: {which}"


def told_apart(data: bytes, record: ShardRecord, plan: ArrayPlan) -> ShardRecord:
    """The record of a shard that is whole, with what tells it from every other one."""
    sums = bytearray()
    for offset, size in read_index(data[-index_bytes(plan) :], plan).reshape(-1, 2).tolist():
        end = offset + size
        sums += ABSENT_SUM.to_bytes(CRC_BYTES, "little") if offset == ABSENT else data[end - CRC_BYTES : end]
    text = binascii.b2a_base64(sums, newline=False).decode()
    return msgspec.structs.replace(record, digest=xxhash.xxh3_128_hexdigest(data), chunk_sums=text)


def _chunk_sum(encoded: NDArray[np.uint8]) -> int:
    """The crc32c that ends a chunk."""
    return int.from_bytes(encoded[-CRC_BYTES:].tobytes(), "little")
