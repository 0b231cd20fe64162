"""A store that format 1 wrote once is read, scored and gone on with by every later version.

The store is in tests/data and stays as it is.

It was made by `python tests/test_can_read_old.py`, which refuses to replace it.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from actlas.query import Atlas, open_store, score_neurons, top_experts
from actlas.store import layout, verify
from actlas.store.files import read_json
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


@pytest.mark.slow
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


def arrays(store: Path) -> dict[str, tuple[object, ...]]:
    """Dimensions and shape of every array of a store."""
    found = {}
    for path in sorted(store.rglob("zarr.json")):
        about = read_json(path)
        if about["node_type"] == "array":
            found[str(path.parent.relative_to(store))] = (about["shape"], about["dimension_names"], sorted(about["attributes"]))
    return found


def test_it_goes_on_in_its_own_format(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(OLD, tmp_path / "copy"))
    planted_store(copy, replace(PLANTING, steps=(128,), sharing=(0.5,)))
    score_neurons(copy, stats=("ap", "mean"))
    store, found = open_store(copy), arrays(copy)
    assert store.about["format"] == 1
    assert store.checkpoints == ["planted-step0", "planted-step64", "planted-step128"]
    assert verify(store).damage == ()
    new = {path: about for path, about in found.items() if "planted-step128" in path}
    old = {path.replace("step64", "step128"): about for path, about in found.items() if "planted-step64" in path}
    assert new == old
    now = open_store(planted_store(tmp_path / "now", replace(PLANTING, steps=(128,), sharing=(0.5,))))
    score_neurons(now.path, stats=("ap", "mean"))
    assert now.about["format"] == layout.FORMAT_VERSION == 2
    for site in now.sites("planted-step128"):
        np.testing.assert_array_equal(*(which.cube("planted-step128", site).read() for which in (store, now)))
        np.testing.assert_array_equal(*(which.scores("planted-step128", site).read("ap") for which in (store, now)))
    np.testing.assert_array_equal(*(which.token_counts("planted-step128").active for which in (store, now)))
    np.testing.assert_array_equal(*(which.token_cube("planted-step128", "resid").read(0) for which in (store, now)))
    assert set(store.cube("planted-step128", "attn_out").to_xarray().coords) == {"layer", "neuron", "text_id"}


def test_states_of_format_1_go_on_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planting = Planting(steps=(0,), sharing=(0.0,), states=("moments", "histogram"))
    with monkeypatch.context() as patch:
        patch.setattr(layout, "FORMAT_VERSION", 1)
        path = planted_store(tmp_path / "old", planting)
    planted_store(path, replace(planting, steps=(64,), sharing=(1.0,)))
    found = {path: about for path, about in arrays(path).items() if path.startswith("states/")}
    assert {path for path in found if "step0" in path} == {path.replace("step64", "step0") for path in found if "step64" in path}
    assert all(about[1][0] == "digit" for path, about in found.items() if path.endswith(("total", "squares")))
    now = open_store(planted_store(tmp_path / "now", replace(planting, steps=(64,), sharing=(1.0,))))
    for name in layout.STATE_ARRAYS:
        np.testing.assert_array_equal(
            *(store.states("planted-step64", "mlp_pre").read(name, 1) for store in (open_store(path), now))
        )
    assert verify(open_store(path)).damage == ()


@pytest.mark.parametrize("name", ["zarr.json", "corpus/texts.parquet"])
def test_it_is_committed_with_the_tests(name: str) -> None:
    assert (OLD / name).is_file()


if __name__ == "__main__":
    make()
