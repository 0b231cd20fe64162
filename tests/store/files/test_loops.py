"""What compiled loops read is what the reader in Python reads, and they leave to it whatever is unusual."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from actlas.errors import DamagedStore
from actlas.store.bounds import Bounds
from actlas.store.contents.records import by_array
from actlas.store.files import loops, shard_reader
from actlas.store.files.codecs import CODECS
from actlas.store.files.group_writer import create_array
from actlas.store.files.shard_writer import write_shards
from actlas.store.layout import ArrayPlan
from actlas.store.records import ShardRecord

SHAPE = (3, 4, 40, 50)
DIMS = ("language", "concept", "layer", "neuron")


def written(root: Path, dtype: str, codec: str) -> tuple[ArrayPlan, np.ndarray, dict[str, ShardRecord]]:
    """An array with edges inside chunks, values of every kind, and a whole chunk that is not there."""
    on_disk = "uint16" if dtype == "bfloat16" else dtype
    plan = ArrayPlan(SHAPE, (3, 1, 16, 20), (3, 4, 16, 40), on_disk, dtype, DIMS)
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore"):
        values = np.where(
            rng.random(SHAPE) < 0.2, rng.integers(-2, 3, SHAPE), (8 * rng.standard_normal(SHAPE)).round() / 8
        ).astype(np.float32)
        values[rng.random(SHAPE) < 0.05] = np.nan
        values[rng.random(SHAPE) < 0.05] = np.inf
        values[:, 2, 16:32, 20:40] = np.nan
    stored = (values.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else values.astype(dtype)
    if dtype == "bfloat16":
        stored[np.isnan(values)] = plan.fill_value
    create_array(root, "array", plan, CODECS[codec], {})
    with ThreadPoolExecutor(2) as pool:
        records = write_shards(root, "array", plan, CODECS[codec], stored, start=(0, 0, 0, 0), pool=pool, sync=False)
    return plan, stored, dict(by_array(records)["array"])


def numbers(stored: np.ndarray) -> np.ndarray:
    return (stored.astype(np.uint32) << 16).view(np.float32) if stored.dtype == np.uint16 else stored


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_reader, "is_worth_it", lambda _: True)


@pytest.mark.parametrize(("dtype", "codec"), [("float16", "lz4"), ("bfloat16", "lz4"), ("float32", "zstd"), ("float64", "lz4")])
def test_values_within_bounds_are_those_of_a_comparison(tmp_path: Path, dtype: str, codec: str) -> None:
    plan, stored, committed = written(tmp_path, dtype, codec)
    some = [slice(0, 3), np.array([3, 1, 2]), slice(3, 40), slice(5, 50)]
    # as far apart as neighbours would be, and none
    odd = [np.array([2, 0, 0]), slice(0, 4), np.array([39, 3, 5, 39]), np.array([40, 40, 42, 7, 6, 5])]
    # more of it than a chunk holds
    again = [np.zeros(40, int), slice(0, 1), np.full(60, 7), np.full(70, 9)]
    for selectors in ([slice(None)] * 4, some, odd, again):
        part = stored[np.ix_(*(np.arange(size)[where] for size, where in zip(SHAPE, selectors, strict=True)))].reshape(-1)
        for bounds, wanted in (
            (Bounds(1.0), numbers(part) >= 1.0),
            (Bounds(1.0, is_above=True), numbers(part) > 1.0),
            (Bounds(high=-1.0, is_below=True), numbers(part) < -1.0),
            (Bounds(-1.0, 2.0, is_below=True), (numbers(part) >= -1.0) & (numbers(part) < 2.0)),
            (Bounds(0.0, 0.0), numbers(part) == 0.0),
            (Bounds(np.inf, is_above=True), np.zeros(part.size, bool)),
            (Bounds(), ~np.isnan(numbers(part))),
        ):
            at, values = shard_reader.find_part(tmp_path / "array", plan, selectors, committed, bounds)
            np.testing.assert_array_equal(at, np.flatnonzero(wanted))
            np.testing.assert_array_equal(values, part[wanted])
            assert values.dtype == stored.dtype


def test_what_is_damaged_is_left_to_the_reader_that_says_so(tmp_path: Path) -> None:
    plan, stored, committed = written(tmp_path, "float64", "lz4")
    everything = [slice(None)] * 4
    reads = shard_reader._chunk_reads(tmp_path / "array", plan, everything, committed)
    np.testing.assert_array_equal(reads.place(shard_reader._on_every_core), stored)
    shard = tmp_path / committed["0/0/1/0"].path
    whole = shard.read_bytes()
    places = [whole[:900] + bytes([whole[900] ^ 1]) + whole[901:], whole[:-9] + b"x" + whole[-8:], whole[:-1], b""]
    for damaged in places:
        shard.write_bytes(damaged)
        assert reads.place(shard_reader._on_every_core) is None
        assert reads.choose(Bounds().keys("float64"), shard_reader._on_every_core) is None
        with pytest.raises(DamagedStore, match="c/0/0/1/0"):
            shard_reader.read_part(tmp_path / "array", plan, everything, committed)
        with pytest.raises(DamagedStore, match="c/0/0/1/0"):
            shard_reader.find_part(tmp_path / "array", plan, everything, committed, Bounds())


def test_few_chunks_and_other_systems_are_read_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_read_before", 0)
    assert not loops.is_worth_it(loops._LEAST - 1)
    assert loops.is_worth_it(loops._BEFORE_LOADING)
    monkeypatch.setattr(loops, "_functions", lambda: None)
    assert not loops.is_worth_it(loops._BEFORE_LOADING)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_of_a_chunk_of_which_little_is_needed_only_that_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    plan, stored, committed = written(tmp_path, dtype, "lz4")
    functions = loops._functions()
    assert functions is not None
    # in place of what decodes whole chunks something that fails
    monkeypatch.setattr(loops, "_functions", lambda: functions._replace(decompress=functions.close))
    for neurons in (slice(23, 24), slice(5, 9), np.array([37, 2, 21])):
        selectors = [slice(1, 2), slice(0, 2), slice(3, 7), neurons]
        reads = shard_reader._chunk_reads(tmp_path / "array", plan, selectors, committed)
        part = stored[np.ix_(*(np.arange(size)[where] for size, where in zip(SHAPE, selectors, strict=True)))]
        np.testing.assert_array_equal(reads.place(shard_reader._on_every_core), part)
    few = numbers(stored)[:, :2].reshape(-1)
    threshold = float(np.sort(few[np.isfinite(few)])[-5])
    bounds = Bounds(threshold, 1000.0)
    reads = shard_reader._chunk_reads(tmp_path / "array", plan, [slice(None), slice(0, 2), slice(None), slice(None)], committed)
    found = reads.choose(bounds.keys(dtype), shard_reader._on_every_core)
    assert found is not None
    np.testing.assert_array_equal(found[0], np.flatnonzero((few >= threshold) & (few <= 1000)))
    assert (
        shard_reader._chunk_reads(tmp_path / "array", plan, [slice(None)] * 4, committed).place(shard_reader._on_every_core)
        is None
    )
