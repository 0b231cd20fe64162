"""A store that format 1 wrote once is read by every later version. The store is in tests/data and never made anew.

It was made by `python tests/test_can_read_old.py`, which refuses to replace it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from actlas.query import Atlas, open_store, score_neurons, top_experts
from actlas.store import verify
from actlas.testing.contracts import StoreTests
from actlas.testing.planted import Planting, planted_store

OLD = Path(__file__).resolve().parent / "data" / "store_v1"
PLANTING = Planting(
    languages=("en", "es"),
    concepts=("salt", "water"),
    n_groups=12,
    sites={"attn_out": (1, 5), "mlp_hidden": (1, 7)},
    steps=(0, 64),
    sharing=(0.0, 1.0),
    n_planted=2,
    token_sites={"resid": (1, 3)},
    texts_per_block=16,
)


def make() -> None:
    if OLD.exists():
        raise SystemExit(f"{OLD} is there and stays as it is")
    planted_store(OLD, PLANTING)
    score_neurons(OLD, stats=("ap", "mean"))
    top_experts(open_store(OLD, "a"), k=2)


def test_the_old_store_is_whole() -> None:
    found = verify(open_store(OLD))
    assert found.damage == ()
    assert found.n_shards > 0


def test_its_values_scores_and_tables_are_what_they_were(tmp_path: Path) -> None:
    old = open_store(OLD)
    planted_store(tmp_path / "now", PLANTING)
    score_neurons(tmp_path / "now", stats=("ap", "mean"))
    now = open_store(tmp_path / "now", "a")
    assert old.checkpoints == now.checkpoints
    assert old.corpus.texts.equals(now.corpus.texts)
    for checkpoint in now.checkpoints:
        for site in now.sites(checkpoint):
            np.testing.assert_array_equal(old.cube(checkpoint, site).read(), now.cube(checkpoint, site).read())
            # the engine that scored the old store may have summed in another order than today's
            scores = [store.scores(checkpoint, site).read("ap") for store in (old, now)]
            np.testing.assert_allclose(*scores, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(old.token_counts(checkpoint).active, now.token_counts(checkpoint).active)
        np.testing.assert_array_equal(old.token_cube(checkpoint, "resid").read(0), now.token_cube(checkpoint, "resid").read(0))
    assert_frame_equal(old.sql("SELECT * FROM experts ORDER BY ALL"), now_experts(now), rel_tol=0, abs_tol=1e-12)


def now_experts(store: Atlas) -> pl.DataFrame:
    top_experts(store, k=2)
    return store.sql("SELECT * FROM experts ORDER BY ALL")


def test_it_takes_new_scores(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(OLD, tmp_path / "copy"))
    score_neurons(copy, stats=("auroc",), overwrite=True)
    assert open_store(copy).scores("planted-step64", "attn_out").stats == ("auroc",)


class TestOldStore(StoreTests):
    """What every store must do."""

    @pytest.fixture(scope="class")
    @classmethod
    def path(cls) -> Path:
        return OLD


@pytest.mark.parametrize("name", ["zarr.json", "corpus/texts.parquet"])
def test_it_is_committed_with_the_tests(name: str) -> None:
    assert (OLD / name).is_file()


if __name__ == "__main__":
    make()
