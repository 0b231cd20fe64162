"""The notebook of the tutorial runs from its first cell to its last, and its sentences come from its numbers."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

import actlas
from actlas.demo.corpus import demo_corpus
from actlas.demo.settings import model_folder
from actlas.store import corpus_from_frames
from actlas.testing import random_checkpoint

marimo = pytest.importorskip("marimo", reason="the notebook needs marimo")
pytest.importorskip("anywidget", reason="the notebook ends with the widget")

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "tutorial.py"
CONCEPTS = ("bread", "milk", "water")


def notebook() -> object:
    spec = importlib.util.spec_from_file_location("tutorial_notebook", NOTEBOOK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the demo's, with a model that nothing was taught: three concepts, two languages."""
    folder = tmp_path_factory.mktemp("notebook")
    whole = demo_corpus(("en", "es"))
    labels = whole.labels.filter(pl.col("concept").is_in(CONCEPTS))
    about = labels.filter("is_concept")["text_id"]
    texts = whole.texts.filter(pl.col("text_id").is_in(about.implode())).drop("source_id")
    labels = labels.filter(pl.col("text_id").is_in(about.implode()))
    models = model_folder(folder, "multi")
    models.mkdir(parents=True)
    random_checkpoint(models / "step8")
    corpus = corpus_from_frames(texts, labels)
    actlas.extract_activations(models, corpus, folder / "store.actlas", sites=["mlp_pre", "attn_out"], device="cpu")
    store = actlas.open_store(folder / "store.actlas", "a")
    actlas.score_neurons(store, stats=("ap", "median", "p90"))
    actlas.top_experts(store, k=50)
    actlas.overlap_controls(store, k=50, n_repeats=9)
    store.close()
    shutil.copytree(folder / "store.actlas", folder / "control.actlas")
    return folder


@pytest.mark.filterwarnings("default")
@pytest.mark.slow
def test_the_notebook_runs_to_its_end(demo: Path) -> None:
    from actlas.explore.widget import reply

    outputs, made = notebook().run(defs={"demo": demo})
    store = actlas.open_store(demo / "store.actlas")
    assert made["last"] == store.checkpoints[-1]
    assert made["concept"] == "water"
    assert made["overlap"]["step"].to_list() == [8]
    assert {"low", "high", "null", "p_value", "chance"} <= set(made["overlap"].columns)
    assert (made["neuron"]["site"], made["neuron"]["layer"]) == made["shared"].row(0)[:2]
    assert set(made["texts"]["arm"]) == {"none", "experts", "random"}
    assert made["rates"]["n_texts"].to_list() == [24] * 3
    said = " ".join(re.sub("<[^>]*>", "", output.text) for output in outputs if hasattr(output, "text"))
    last = made["overlap"].row(-1, named=True)
    assert f"at step 8 it is {last['overlap']:.1%} beside {last['null']:.1%}" in said
    # nothing was taught, nothing is claimed
    assert "Languages came to share their experts" not in said
    assert made["widget"].value["view"] == "neuron"
    assert made["widget"].value["params"]["neuron"] == made["neuron"]["neuron"]
    neuron = {name: made["neuron"][name] for name in ("site", "layer", "neuron")}
    typed = {"id": 1, "ask": "heat", "params": {"checkpoint": made["last"], "text": "the water", **neuron}}
    heat = reply(store, typed, made["model"])["answer"]
    assert heat["error"] is None
    assert "".join(token["piece"] for token in heat["tokens"] if not token["is_special"]) == "the water"
    rates = dict(made["rates"].select("arm", "rate").iter_rows())
    assert f"is in {rates['experts']:.0%} of the texts" in said
    # it only reads: what it wrote with the model is not kept
    assert not store.table_files("generations")


@pytest.mark.filterwarnings("default")
def test_without_the_demo_the_notebook_says_how_to_make_it(tmp_path: Path) -> None:
    outputs, made = notebook().run(defs={"demo": tmp_path})
    assert "store" not in made
    assert any("make demo" in getattr(output, "text", "") for output in outputs)
