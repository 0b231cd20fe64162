from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from actlas.errors import DamagedStore
from actlas.store import layout
from actlas.store.contents.records import by_array
from actlas.store.files import shard_reader
from actlas.store.files.codecs import CODECS
from actlas.store.files.group_writer import create_array
from actlas.store.files.shard_writer import write_shards
from actlas.store.layout import ArrayPlan
from actlas.store.records import ShardRecord

SHAPE = (3, 40, 50)
PLAN = ArrayPlan(SHAPE, (1, 16, 20), (2, 48, 20), "float16", "float16", ("layer", "neuron", "text"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six shards with edges that end inside chunks; one of them was never written."""
    root = tmp_path_factory.mktemp("reader")
    write(root, PLAN, np.random.default_rng(0).standard_normal(SHAPE).astype(np.float16))
    (root / "array/c/1/0/1").unlink()
    return root / "array"


@pytest.fixture(params=[False, True], ids=["chunk by chunk", "compiled loops"], autouse=True)
def reads_in_loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to read, and that the one that is meant is taken."""
    monkeypatch.setattr(shard_reader, "is_worth_it", lambda _: request.param)
    return bool(request.param)


def write(root: Path, plan: ArrayPlan, values: np.ndarray) -> list[ShardRecord]:
    create_array(root, "array", plan, CODECS["lz4"], {})
    with ThreadPoolExecutor(2) as pool:
        return write_shards(root, "array", plan, CODECS["lz4"], values, start=(0, 0, 0), pool=pool, sync=False)


@st.composite
def selectors(draw: st.DrawFn) -> list[slice | np.ndarray]:
    chosen: list[slice | np.ndarray] = []
    for size in SHAPE:
        if draw(st.booleans()):
            start, stop = sorted((draw(st.integers(0, size)), draw(st.integers(0, size))))
            chosen.append(slice(start, stop, draw(st.sampled_from([1, 1, 3]))))
        else:
            chosen.append(np.array(draw(st.lists(st.integers(0, size - 1), max_size=12)), dtype=np.int64))
    return chosen


@pytest.mark.parametrize("n_cores", [1, 2, 7])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(selectors=selectors())
@example(selectors=[slice(0, 1, 1), np.array([0]), np.array([40, 40, 42])])
@example(selectors=[slice(0, 3, 1), np.array([5, 4, 7]), np.array([3, 1, 2, 6])])
def test_any_part_equals_what_zarr_reads(folder: Path, n_cores: int, selectors: list[slice | np.ndarray]) -> None:
    whole = zarr.open_array(folder, mode="r")[:]
    assert np.isnan(whole[2, 0, 25])
    rows = [np.arange(size)[selector] for size, selector in zip(SHAPE, selectors, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_reader, "_n_cores", lambda: n_cores)
        part = shard_reader.read_part(folder, PLAN, selectors)
    np.testing.assert_array_equal(part, whole[np.ix_(*rows)])
    assert part.flags.c_contiguous


def test_another_whole_shard_of_the_same_size_is_told_from_the_committed_one(tmp_path: Path) -> None:
    """Both have the same crc32c: every chunk ends in its own, so that of the file depends on lengths alone."""
    rng = np.random.default_rng(0)
    plan = ArrayPlan((2, 64), (1, 64), (2, 64), "int64", "int64", ("layer", "neuron"))
    create_array(tmp_path, "array", plan, CODECS["lz4"], {})
    written, records = [], []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            values = rng.integers(0, 2**63, (2, 64))
            records += write_shards(tmp_path, "array", plan, CODECS["lz4"], values, start=(0, 0), pool=pool)
            written.append((tmp_path / records[-1].path).read_bytes())
    assert len({len(data) for data in written}) == len({google_crc32c.value(data) for data in written}) == 1
    assert len({record.digest for record in records}) == len({record.chunk_sums for record in records}) == 2
    committed = by_array(records[:1])["array"]
    with pytest.raises(DamagedStore, match="a chunk is not the one that was committed"):
        shard_reader.read_part(tmp_path / "array", plan, [slice(None)] * 2, committed)
    (line,) = shard_reader.damaged_chunks(tmp_path, records[0], plan)
    assert line == "array/c/0/0: its contents are not those that were committed; damaged chunks: none, it is another file"
    assert not list(shard_reader.damaged_chunks(tmp_path, records[1], plan))


def test_a_chunk_or_a_shard_that_no_record_names_is_no_fill_value(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float16)
    committed = by_array(write(tmp_path, PLAN, values))["array"]
    everything = [slice(None)] * 3
    np.testing.assert_array_equal(shard_reader.read_part(tmp_path / "array", PLAN, everything, committed), values)
    without = {index: record for index, record in committed.items() if index != "1/0/1"}
    with pytest.raises(DamagedStore, match=r"no record names .*c/1/0/1"):
        shard_reader.read_part(tmp_path / "array", PLAN, everything, without)
    part = [slice(0, 2), slice(None), slice(None)]
    np.testing.assert_array_equal(shard_reader.read_part(tmp_path / "array", PLAN, part, without), values[:2])
    write(tmp_path, PLAN, values[:, :16])
    with pytest.raises(DamagedStore, match="bytes, and .* were committed"):
        shard_reader.read_part(tmp_path / "array", PLAN, everything, committed)
    sizes = {index: structs.replace(one, n_bytes=(tmp_path / one.path).stat().st_size) for index, one in committed.items()}
    with pytest.raises(DamagedStore, match="a chunk that was committed is not in it"):
        shard_reader.read_part(tmp_path / "array", PLAN, [slice(None), slice(32, 40), slice(None)], sizes)


@pytest.mark.parametrize("reads_in_loops", [False], indirect=True)
def test_whole_chunks_are_decoded_straight_into_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = layout.cube_plan(2, 256, 32, 32, "float16")
    values = np.random.default_rng(0).standard_normal((2, 256, 32)).astype(np.float16)
    write(tmp_path, plan, values)
    monkeypatch.setattr(shard_reader._Scratch, "decoded", lambda *_: pytest.fail("by way of the scratch"))
    np.testing.assert_array_equal(shard_reader.read_part(tmp_path / "array", plan, [slice(None)] * 3), values)


@pytest.mark.parametrize("reads_in_loops", [False], indirect=True)
def test_a_thread_keeps_no_more_than_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = layout.cube_plan(1, 256, 64, 32, "float16")
    create_array(tmp_path, "array", plan, CODECS["lz4"], {})
    values = np.random.default_rng(0).standard_normal((1, 256, 32)).astype(np.float16)
    with ThreadPoolExecutor(2) as pool:
        for start in (0, 32):
            write_shards(tmp_path, "array", plan, CODECS["lz4"], values, start=(0, 0, start), pool=pool, sync=False)
    scratch = shard_reader._Scratch()
    monkeypatch.setattr(shard_reader, "_scratch", scratch)
    monkeypatch.setattr(shard_reader, "_n_cores", lambda: 1)
    for _ in range(3):
        shard_reader.read_part(tmp_path / "array", plan, [slice(None)] * 3)
    assert scratch._decoded.nbytes == 128 * 32 * 2
    assert scratch._encoded.nbytes < 2 * scratch._decoded.nbytes


@pytest.fixture
def open_files() -> Iterator[None]:
    """A failed read leaves no file open."""
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    yield
    assert not before or len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("open_files")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:], "crc32c"),
        (lambda data: data[:-30] + bytes([data[-30] ^ 1]) + data[-29:], "index"),
        (lambda data: data[: len(data) // 2], "index"),
        (lambda data: data[-16 * 6 - 4 :], "ends inside a chunk|crc32c"),
        (lambda data: b"", "index"),
    ],
    ids=["chunk", "index", "cut", "index alone", "empty"],
)
def test_damage_is_named_with_its_file(tmp_path: Path, damage: object, message: str) -> None:
    write(tmp_path, PLAN, np.random.default_rng(0).standard_normal(SHAPE).astype(np.float16))
    file = tmp_path / "array/c/0/0/0"
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DamagedStore, match=f"c/0/0/0: .*({message})"):
        shard_reader.read_part(tmp_path / "array", PLAN, [slice(None)] * 3)


def test_an_error_of_any_thread_ends_the_work_and_is_raised() -> None:
    done = []

    def work(item: int) -> None:
        if item == 3:
            raise IndexError("three")
        done.append(item)

    with pytest.raises(IndexError, match="three"):
        shard_reader._on_every_core(work, list(range(1000)))
    assert len(done) < 1000
    shard_reader._on_every_core(done.append, list(range(1000, 1100)))
    assert set(range(1000, 1100)) <= set(done)


SHORTAGES = [RuntimeError("can't start new thread"), MemoryError(), OSError(errno.EMFILE, "Too many open files")]


@pytest.mark.parametrize("reads_in_loops", [False], indirect=True)
@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("where", "name"), [(shard_reader, "_decode_chunk"), (shard_reader, "read_index"), (os, "open")])
def test_what_the_system_lacks_is_no_damage(
    where: object, name: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    committed = by_array(write(tmp_path, PLAN, np.ones(SHAPE, np.float16)))["array"]
    monkeypatch.setattr(where, name, fail)
    with pytest.raises(type(error)) as raised:
        shard_reader.read_part(tmp_path / "array", PLAN, [slice(0, size) for size in SHAPE], committed)
    assert raised.value is error
