from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from actlas.errors import DamagedStore
from actlas.query import Atlas, open_store, score_neurons
from actlas.store import Store
from actlas.testing import Planting, planted_store
from tests.store.conftest import PER_TEXT, Planted, plant


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_every_dtype_comes_back_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    planted = plant(dtype)
    store = Store(planted.write(tmp_path / "s"))
    for site, values in planted.values.items():
        cube = store.cube("model-step1", site)
        assert cube.dtype == dtype
        np.testing.assert_array_equal(cube.read(), planted.expected(values))
    tokens = store.token_cube("model-step1", "resid")
    for layer in range(tokens.shape[0]):
        np.testing.assert_array_equal(tokens.read(layer), planted.expected(planted.vectors)[layer].astype(np.float32))
    assert tokens.table["text_id"].to_list() == np.repeat(np.arange(150), PER_TEXT).tolist()


def test_read_selects_like_numpy(store_path: Path, planted: Planted) -> None:
    cube = Store(store_path).cube("model-step1", "mlp_hidden", pooling="max")
    expected = planted.expected(planted.values["mlp_hidden"])
    np.testing.assert_array_equal(cube.read(layer=1), expected[1])
    np.testing.assert_array_equal(cube.read(layer=-1, neurons=7), expected[-1, 7])
    np.testing.assert_array_equal(cube.read(neurons=slice(3, 190), texts=slice(40, 60)), expected[:, 3:190, 40:60])
    np.testing.assert_array_equal(cube.read(layer=2, neurons=[190, 3, 3], texts=[149, 0]), expected[2][[190, 3, 3]][:, [149, 0]])
    np.testing.assert_array_equal(cube.read(layer=0, texts=slice(0, 150, 7)), expected[0, :, ::7])
    assert cube.read(layer=0, neurons=[]).shape == (0, 150)


@pytest.mark.parametrize("where", [{"layer": 3}, {"neurons": [0, 200]}, {"texts": 150}, {"texts": [[0]]}])
def test_read_refuses_what_is_outside(store_path: Path, where: dict[str, object]) -> None:
    with pytest.raises(IndexError):
        Store(store_path).cube("model-step1", "mlp_hidden").read(**where)


def test_plain_zarr_reads_the_cube(store_path: Path, planted: Planted) -> None:
    array = zarr.open_group(store_path, mode="r")["cubes/model-step1/mlp_hidden.max/value"]
    assert array.metadata.dimension_names == ("layer", "neuron", "text")
    np.testing.assert_array_equal(array[:], planted.expected(planted.values["mlp_hidden"]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_xarray_is_lazy_and_named(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = plant(dtype)
    cube = Store(planted.write(tmp_path / "s")).cube("model-step1", "mlp_hidden")
    data = cube.to_xarray()
    assert data.dims == ("layer", "neuron", "text")
    assert data.coords["text_id"].values.tolist() == list(range(150))
    picked = data.sel(layer=1, neuron=[3, 5]).isel(text=slice(0, 4))
    np.testing.assert_array_equal(picked.values, planted.expected(planted.values["mlp_hidden"])[1, [3, 5], :4])


def test_what_was_never_written_is_nan_not_zero(planted: Planted, tmp_path: Path) -> None:
    with planted.writer(tmp_path / "s") as writer:
        run = planted.begin(writer)
        block = run.claim_next()
        assert block is not None
        run.write_block(block, planted.block(block.start, block.stop))
        run.release_claims()
    array = zarr.open_array(tmp_path / "s" / "cubes/model-step1/resid.max/value", mode="r")
    assert np.isnan(array[:, :, block.stop :]).all()
    assert not np.isnan(array[:, :, : block.stop]).any()


READS: dict[str, Callable[[Atlas], object]] = {
    "cubes/planted-step64/mlp_pre.max/value": lambda store: store.cube("planted-step64", "mlp_pre").read(),
    "tokens/planted-step64/resid/value": lambda store: [
        store.token_cube("planted-step64", "resid").read(layer) for layer in (0, 1)
    ],
    "counts/planted-step64/mlp_hidden/value": lambda store: store.token_counts("planted-step64"),
    "scores/planted-step64/mlp_pre.max/ap": lambda store: store.scores("planted-step64", "mlp_pre").read("ap"),
    "states/planted-step64/mlp_pre.max/active": lambda store: [
        store.states("planted-step64", "mlp_pre").read("active", layer) for layer in (0, 1)
    ],
}


@pytest.mark.parametrize("array", READS)
@pytest.mark.parametrize("damage", ["removed", "emptied", "of another checkpoint", "without its last byte"])
def test_a_shard_that_is_not_the_one_that_was_committed_is_never_read(tmp_path: Path, array: str, damage: str) -> None:
    planting = Planting(steps=(0, 64), sharing=(0.0, 1.0), states=("moments",) if array.startswith("states") else ())
    path = planted_store(tmp_path / "run.actlas", planting)
    if array.startswith("scores"):
        score_neurons(path, stats=("ap",))
    store = open_store(path)
    READS[array](store)
    for shard in [file for file in sorted((path / array / "c").rglob("*")) if file.is_file()]:
        whole = shard.read_bytes()
        if damage == "removed":
            shard.unlink()
        elif damage == "of another checkpoint":
            shard.write_bytes(Path(str(shard).replace("step64", "step0")).read_bytes())
        else:
            shard.write_bytes(b"" if damage == "emptied" else whole[:-1])
        if shard.exists() and shard.read_bytes() == whole:
            continue
        with pytest.raises(DamagedStore, match="committed") as error:
            READS[array](store)
        assert str(shard) in str(error.value)
        shard.write_bytes(whole)
    READS[array](store)
