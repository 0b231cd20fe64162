from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from actlas.query import open_store, score_neurons, top_experts
from actlas.store import Store, verify
from actlas.store.integrity.tables import corpus_faults, table_faults
from actlas.testing import Planting, planted_store
from tests.store.integrity.test_unlogged import without_log


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return planted_store(tmp_path / "s", Planting(steps=(64,), sharing=(1.0,), states=("histogram",)))


@pytest.mark.parametrize("name", ["texts", "labels", "tokens", "sampled_tokens", "state_sets"])
def test_every_file_of_the_corpus_is_compared_with_the_others(store: Path, name: str) -> None:
    without_log(store)
    path = store / f"corpus/{name}.parquet"
    whole = path.read_bytes()
    assert list(corpus_faults(Store(store))) == []
    pl.read_parquet(whole).reverse().write_parquet(path)
    assert any(f"corpus/{name}.parquet" in fault for fault in corpus_faults(Store(store)))
    for content in (whole[: len(whole) // 2], b"", None):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert any(fault.startswith(f"corpus/{name}.parquet: ") for fault in verify(store).damage)
        path.touch()


def test_parts_of_answers_have_to_be_readable(store: Path) -> None:
    score_neurons(store, stats=("ap",))
    top_experts(open_store(store, "a"), k=2)
    assert list(table_faults(Store(store))) == []
    (part,) = store.glob("tables/experts/checkpoint=planted-step64/*.parquet")
    name = part.relative_to(store)
    part.write_bytes(part.read_bytes()[:-8])
    (fault,) = table_faults(Store(store))
    assert fault.startswith(f"{name}: is not readable as Parquet")
    pl.DataFrame({"a": [1]}).write_parquet(part)
    assert list(table_faults(Store(store))) == [f"{name}: it does not say what it was made with"]
