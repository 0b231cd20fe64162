"""What is written is what the store says, and what is read back."""

from __future__ import annotations

from types import SimpleNamespace

import polars as pl
import pytest
from safetensors import safe_open

from actlas.errors import CheckpointNotFound, QueryError, WeightsDiffer
from actlas.intervene import export_neurons, read_neurons
from actlas.query import language_neurons, open_store, score_neurons, top_experts
from actlas.testing import planted_store

CHECKPOINT = "planted-step64"
CHOICE = {"checkpoint": CHECKPOINT, "languages": ["en"], "concepts": ["water"], "k": 6}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = planted_store(tmp_path_factory.mktemp("exports") / "s.actlas")
    score_neurons(path, checkpoints=[CHECKPOINT], stats=("ap", "median"))
    return open_store(path)


@pytest.fixture
def live(store):
    return SimpleNamespace(weight_hash=store.checkpoint(CHECKPOINT)["weight_hash"], checkpoint=CHECKPOINT)


@pytest.mark.parametrize("ending", ["safetensors", "parquet"])
def test_experts_come_back_with_their_values(store, live, tmp_path, ending):
    export_neurons(store, tmp_path / f"x.{ending}", **CHOICE)
    best = top_experts(store, k=6, checkpoints=[CHECKPOINT], languages=["en"], concepts=["water"])
    frame = read_neurons(tmp_path / f"x.{ending}", live)
    columns = ["site", "layer", "neuron", "value", "language", "concept"]
    expected = best.rename({"median": "value"}).select(columns).sort(columns)
    assert frame.select(columns).sort(columns).equals(expected)
    assert frame["weight_hash"].unique().to_list() == [live.weight_hash]
    live.weight_hash = "f" * 64
    with pytest.raises(WeightsDiffer, match="is of other weights"):
        read_neurons(tmp_path / f"x.{ending}", live)


def test_tensors_are_masks_and_values_of_whole_sites_and_say_what_they_are_of(store, tmp_path):
    frame = export_neurons(store, tmp_path / "x.safetensors", **CHOICE)
    with safe_open(tmp_path / "x.safetensors", "numpy") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    sites = set(frame["site"])
    assert set(tensors) == {f"{site}.{kind}" for site in sites for kind in ("mask", "value")}
    for site in sites:
        mask, values = tensors[f"{site}.mask"], tensors[f"{site}.value"]
        assert mask.dtype == bool
        assert mask.shape == values.shape == store.shape(CHECKPOINT, site)
        assert mask.sum() == frame.filter(site=site).height
        assert not values[~mask].any()
    assert about == {
        "weight_hash": store.checkpoint(CHECKPOINT)["weight_hash"],
        "store": store.recipe.fingerprint,
        "checkpoint": CHECKPOINT,
        "source": "experts",
        "actlas": about["actlas"],
        "k": "6",
        "language": "en",
        "concept": "water",
    }


def test_language_sets_are_set_to_zero_where_they_are_acted_on(store, live, tmp_path):
    export_neurons(store, tmp_path / "x.parquet", checkpoint=CHECKPOINT, source="lape", share=0.1)
    frame = read_neurons(tmp_path / "x.parquet", live)
    expected = language_neurons(store, checkpoints=[CHECKPOINT], share=0.1)
    assert (
        frame.select("language", "layer", "neuron")
        .sort(pl.all())
        .equals(expected.select("language", "layer", "neuron").sort(pl.all()))
    )
    assert set(frame["site"]) == {"mlp_hidden"}
    assert set(frame["value"]) == {0.0}


@pytest.mark.parametrize(
    ("name", "choice", "message"),
    [
        ("x.safetensors", {"k": 3}, "would hold one set, and .* are meant"),
        ("x.npz", {}, "name it .safetensors or .parquet"),
        ("x.parquet", {"source": "published"}, "no sets called published"),
        ("x.parquet", {"source": "lape", "concepts": ["water"]}, "of languages, not of concepts"),
        ("x.parquet", {"source": "lape", "languages": ["xx"]}, "no set of lape of language 'xx'"),
    ],
)
def test_what_is_not_there_is_refused(store, tmp_path, name, choice, message):
    with pytest.raises(QueryError, match=message):
        export_neurons(store, tmp_path / name, **{"checkpoint": CHECKPOINT, "k": 3, **choice})
    assert not list(tmp_path.iterdir())
    with pytest.raises(CheckpointNotFound):
        export_neurons(store, tmp_path / name, checkpoint="planted-step65")
