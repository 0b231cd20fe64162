"""A store opens with other people's libraries alone, without a word of warning, and gives them the numbers that it gives us."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import xarray as xr
import zarr

from actlas.compiled.bfloat16 import bfloat16_to_float32
from actlas.query import Atlas, open_store, score_neurons, top_experts
from actlas.store import layout
from actlas.store.files.atomic import read_json
from actlas.testing import Planting, planted_store

STEPS = {"steps": (0, 64), "sharing": (0.0, 1.0)}
CHECKPOINT = "planted-step64"
SITES = ("attn_out", "mlp_hidden", "mlp_pre")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """Cubes of two widths, token vectors, counts, scores and a table."""
    path = planted_store(tmp_path_factory.mktemp("elsewhere") / "cubes.actlas", Planting(**STEPS))
    score_neurons(path, stats=("ap", "mean"))
    top_experts(open_store(path, "a"), k=5)
    return open_store(path)


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """States in place of cubes."""
    planting = Planting(steps=(0,), sharing=(1.0,), states=("moments", "histogram"))
    return open_store(planted_store(tmp_path_factory.mktemp("elsewhere") / "states.actlas", planting))


def group(store: Atlas, kind: str, site: str, pooling: str | None = "max") -> str:
    """Path of a group inside a store."""
    return f"{kind}/{CHECKPOINT}/{site}" + (f".{pooling}" if pooling else "")


def total(values: Any) -> float:
    return float(np.nansum(np.asarray(values), dtype=np.float64))


def arrays(store: Atlas) -> Iterator[tuple[str, float]]:
    """Path and sum of every array of one checkpoint, as we read it."""
    for site in store.sites(CHECKPOINT):
        yield f"{group(store, 'cubes', site)}/value", total(store.cube(CHECKPOINT, site).read())
        for stat in ("ap", "mean"):
            yield f"{group(store, 'scores', site)}/{stat}", total(store.scores(CHECKPOINT, site).read(stat))
    for site in store.checkpoint(CHECKPOINT)["token_cubes"]:
        cube = store.token_cube(CHECKPOINT, site)
        yield f"{group(store, 'tokens', site, None)}/value", sum(total(cube.read(layer)) for layer in range(cube.shape[0]))
    yield f"{group(store, 'counts', 'mlp_hidden', None)}/value", total(store.token_counts(CHECKPOINT).active)


# xarray


@pytest.mark.parametrize("site", SITES)
def test_xarray_opens_a_cube_with_its_coordinates(store: Atlas, site: str) -> None:
    data = xr.open_zarr(store.path / group(store, "cubes", site))
    cube = store.cube(CHECKPOINT, site)
    assert data["value"].dims == ("layer", "neuron", "text")
    assert set(data.coords) == {"layer", "neuron", "text_id"}
    assert data["text_id"].dims == ("text",)
    np.testing.assert_array_equal(data["text_id"], store.corpus.texts["text_id"])
    np.testing.assert_array_equal(data["value"].sel(layer=1, neuron=[3, 20]), cube.read(layer=1, neurons=[3, 20]))
    assert total(data["value"]) == total(cube.read())
    xr.testing.assert_equal(data["value"].drop_attrs(), cube.to_xarray().drop_attrs())


def test_dask_cuts_values_and_text_ids_alike(store: Atlas) -> None:
    data = xr.open_zarr(store.path / group(store, "cubes", "mlp_pre"))
    assert data.chunksizes["text"] == data["text_id"].chunksizes["text"] == (64, 64, 16)


def test_xarray_opens_scores_by_the_names_of_languages_and_concepts(store: Atlas) -> None:
    data = xr.open_zarr(store.path / group(store, "scores", "mlp_hidden"))
    scores = store.scores(CHECKPOINT, "mlp_hidden")
    assert set(data.data_vars) == {"ap", "mean"}
    assert data["language"].values.tolist() == list(scores.languages)
    assert data["concept"].values.tolist() == list(scores.concepts)
    np.testing.assert_array_equal(data["ap"].sel(language="en", concept="salt"), scores.read("ap", "en", "salt"))


def test_xarray_opens_token_vectors_with_the_texts_they_stand_in(store: Atlas) -> None:
    data = xr.open_zarr(store.path / group(store, "tokens", "resid", None))
    cube = store.token_cube(CHECKPOINT, "resid")
    owned = data.isel(token=np.flatnonzero(data["text_id"].values >= 0))
    np.testing.assert_array_equal(owned["text_id"], cube.table["text_id"])
    np.testing.assert_array_equal(owned["value"].sel(layer=1), cube.read(1))
    assert np.isnan(data["value"].values[:, data["text_id"].values < 0]).all()


def test_xarray_opens_counts_by_language(store: Atlas) -> None:
    data = xr.open_zarr(store.path / group(store, "counts", "mlp_hidden", None))
    counts = store.token_counts(CHECKPOINT)
    np.testing.assert_array_equal(data["value"].sel(language="es"), counts.active[counts.languages.index("es")])


def test_xarray_opens_states_whose_arrays_share_no_size_by_name_alone(states: Atlas) -> None:
    data = xr.open_zarr(states.path / "states/planted-step0/mlp_pre.max")
    assert set(data.data_vars) == set(layout.STATE_ARRAYS)
    sets = pl.read_parquet(states.path / layout.STATE_SETS)
    assert data["set"].values.tolist() == list(range(sets.height))
    kept = states.states("planted-step0", "mlp_pre")
    for name in layout.STATE_ARRAYS:
        assert total(data[name]) == sum(total(kept.read(name, layer)) for layer in range(2)), name


def test_xarray_opens_the_whole_store_as_a_tree(store: Atlas) -> None:
    tree = xr.open_datatree(store.path, engine="zarr", consolidated=False)
    for path, expected in arrays(store):
        assert total(tree[path]) == expected, path
    assert set(tree.children) == {"corpus", "manifests", "tables", "log", "cubes", "tokens", "counts", "scores"}
    # without the argument xarray says that it looked for a list of everything at the root, which a store has not
    with pytest.warns(RuntimeWarning, match="Failed to open Zarr store with consolidated metadata"):
        assert set(xr.open_datatree(store.path, engine="zarr").groups) == set(tree.groups)


def test_xarray_opens_states_in_a_tree(states: Atlas) -> None:
    tree = xr.open_datatree(states.path, engine="zarr", consolidated=False)
    assert set(tree["states/planted-step0"].children) == {f"{site}.max" for site in SITES}


def test_bfloat16_opens_as_its_bits(tmp_path: Path) -> None:
    planting = Planting(steps=(64,), sharing=(1.0,), dtype="bfloat16")
    store = open_store(planted_store(tmp_path / "s", planting))
    data = xr.open_zarr(store.path / group(store, "cubes", "mlp_pre"))["value"]
    assert (data.dtype, data.attrs["logical_dtype"]) == (np.uint16, "bfloat16")
    np.testing.assert_array_equal(bfloat16_to_float32(data.values), store.cube(CHECKPOINT, "mlp_pre").read())
    shifted = (data.astype("uint32") << 16).values.view("float32")
    np.testing.assert_array_equal(shifted, store.cube(CHECKPOINT, "mlp_pre").read())


# zarr-python


def listed(node: zarr.Group) -> Iterator[tuple[str, zarr.Array[Any]]]:
    """Every array below a group, as zarr lists them."""
    for _, array in node.arrays():
        yield array.path, array
    for _, child in node.groups():
        yield from listed(child)


def test_zarr_lists_and_reads_everything(store: Atlas) -> None:
    found = dict(listed(zarr.open_group(store.path, mode="r")))
    for path, expected in arrays(store):
        assert total(found[path][:]) == expected, path
    names = {"layer", "neuron", "text_id", "channel", "language", "concept", "value", "ap", "mean"}
    assert {path.rpartition("/")[2] for path in found} == names


def test_a_group_carries_the_metadata_of_its_arrays(store: Atlas) -> None:
    for path in (group(store, "cubes", "mlp_pre"), group(store, "scores", "mlp_pre")):
        inline = zarr.open_group(store.path / path, mode="r").metadata.consolidated_metadata
        assert inline is not None
        assert set(inline.metadata) == {folder.name for folder in (store.path / path).iterdir() if folder.is_dir()}
        listed = read_json(store.path / path / "zarr.json")["consolidated_metadata"]["metadata"]
        assert listed == {name: read_json(store.path / path / name / "zarr.json") for name in inline.metadata}


# tensorstore


def test_tensorstore_reads_every_array(store: Atlas) -> None:
    tensorstore = pytest.importorskip("tensorstore", reason="tensorstore is not installed: pip install -e '.[interop]'")
    for path, expected in arrays(store):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{store.path / path}/"}}
        array = tensorstore.open(spec, read=True).result()
        assert array.domain.labels == zarr.open_array(store.path / path, mode="r").metadata.dimension_names
        assert total(array.read().result()) == expected, path
    spec["kvstore"]["path"] = f"{store.path / group(store, 'cubes', 'mlp_pre')}/text_id/"
    ids = tensorstore.open(spec, read=True).result().read().result()
    np.testing.assert_array_equal(ids, store.corpus.texts["text_id"])


# SQL


@pytest.fixture
def context() -> Any:
    """A context of xarray-sql."""
    found = pytest.importorskip("xarray_sql", reason="xarray-sql is not installed: pip install -e '.[interop]'")
    return found.Context()


@pytest.mark.parametrize("chunks", [{}, None], ids=["dask", "no dask"])
def test_xarray_sql_asks_a_cube(store: Atlas, context: Any, chunks: dict[str, int] | None) -> None:
    cube = store.cube(CHECKPOINT, "mlp_hidden")
    data = xr.open_zarr(store.path / group(store, "cubes", "mlp_hidden"), chunks=chunks)
    context.from_dataset("cube", data.swap_dims(text="text_id"))
    query = "SELECT layer, sum(CAST(value AS DOUBLE)) AS total FROM cube GROUP BY layer ORDER BY layer"
    answer = context.sql(query).to_pandas()
    assert answer["total"].tolist() == [total(cube.read(layer)) for layer in range(2)]
    ids = context.sql("SELECT DISTINCT text_id FROM cube ORDER BY text_id").to_pandas()
    assert ids["text_id"].tolist() == store.corpus.texts["text_id"].to_list()


def test_xarray_sql_asks_scores_as_one_table(store: Atlas, context: Any) -> None:
    scores = store.scores(CHECKPOINT, "mlp_hidden")
    context.from_dataset("scores", xr.open_zarr(store.path / group(store, "scores", "mlp_hidden")))
    answer = context.sql("SELECT max(ap) AS best FROM scores WHERE language = 'en' AND concept = 'salt'").to_pandas()
    assert answer["best"].tolist() == [scores.read("ap", "en", "salt").max()]


FORMAT = Path(__file__).resolve().parents[2] / "docs/format.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", FORMAT.read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split()[1].rstrip(","))
def test_the_examples_of_the_specification_run(
    store: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    for library in ("tensorstore", "xarray_sql"):
        if library in example:
            pytest.importorskip(library, reason=f"{library} is not installed: pip install -e '.[interop]'")
    (tmp_path / "run.actlas").symlink_to(store.path)
    monkeypatch.chdir(tmp_path)
    *lines, last = example.strip().splitlines()
    scope: dict[str, Any] = {}
    exec("\n".join(lines), scope)
    assert eval(last, scope) is not None  # noqa: S307 - our own document


def test_duckdb_reads_the_tables(store: Atlas) -> None:
    duckdb = pytest.importorskip("duckdb")
    experts = f"read_parquet('{store.path}/tables/experts/checkpoint=*/*.parquet', hive_partitioning = true)"
    answer = duckdb.sql(f"SELECT checkpoint, sum(ap), count(*) FROM {experts} GROUP BY ALL ORDER BY ALL").fetchall()
    ours = store.sql("SELECT checkpoint, sum(ap), count(*) FROM experts GROUP BY ALL ORDER BY ALL").rows()
    assert answer == [pytest.approx(row) for row in ours]
    texts = duckdb.sql(f"SELECT sum(text_id), count(DISTINCT language) FROM '{store.path}/corpus/texts.parquet'").fetchall()
    assert texts == [(store.corpus.texts["text_id"].sum(), len(store.corpus.languages))]
