"""A checkpoint is loaded with the weights of its store and with proved sites, or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace

import polars as pl
import pytest
import torch

from actlas import corpus_from_frames, extract_activations
from actlas.errors import CheckpointNotFound, InterventionError, ModelNotLoaded, SiteNotProved, WeightsDiffer
from actlas.extract.sites import families
from actlas.intervene import load_live, steer
from actlas.query import open_store
from actlas.testing import random_checkpoint


@pytest.fixture(scope="module")
def store(tiny, tmp_path_factory):
    texts = pl.DataFrame({"text_id": [0, 1], "text": ["a cat", "dogs"], "language": ["en", "en"]})
    labels = pl.DataFrame({"text_id": [0, 1], "concept": ["cat", "cat"], "is_concept": [True, False]})
    path = tmp_path_factory.mktemp("store") / "run.actlas"
    extract_activations(tiny, corpus_from_frames(texts, labels), path, device="cpu")
    return path


def test_a_checkpoint_of_a_store_is_loaded_from_where_it_was(store, tiny):
    with load_live(store, "tiny", device="cpu") as live:
        assert live.weight_hash == open_store(store).checkpoint("tiny")["weight_hash"]
        assert (live.checkpoint, live.n_layers, live.compute_dtype) == ("tiny", 2, "float32")
        assert live.widths("attn_qkv") == (72, 72)
        assert live.widths("embed") == (24,)
        assert [point.modules for point in live.points("mlp_hidden")] == [(f"model.layers.{i}.mlp.down_proj",) for i in (0, 1)]
        assert not live.model.training
        assert live.tokenizer.padding_side == "left"
    with load_live(open_store(store), "tiny", device="cpu", compute_dtype="bfloat16") as live:
        assert live.model.dtype == torch.bfloat16


def test_it_may_lie_elsewhere_by_now(store, tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "moved")
    with load_live(store, "tiny", model=tmp_path / "moved", device="cpu") as live:
        assert live.checkpoint == "tiny"


def test_a_checkpoint_that_is_gone_says_what_can_be_done(tmp_path):
    texts = pl.DataFrame({"text_id": [0, 1], "text": ["a cat", "dogs"], "language": ["en", "en"]})
    labels = pl.DataFrame({"text_id": [0, 1], "concept": ["cat", "cat"], "is_concept": [True, False]})
    model, path = random_checkpoint(tmp_path / "tiny"), tmp_path / "run.actlas"
    extract_activations(model, corpus_from_frames(texts, labels), path, device="cpu", random_twin=True, twin_seed=3)
    model.rename(tmp_path / "gone")
    with pytest.raises(ModelNotLoaded, match="says of tiny; name where it is now as the model"):
        load_live(path, "tiny", device="cpu")
    # a control is made again out of the files of its model
    with load_live(path, "tiny-random3", model=tmp_path / "gone", device="cpu") as live:
        assert live.weight_hash == open_store(path).checkpoint("tiny-random3")["weight_hash"]


def test_other_weights_are_refused(store, tmp_path):
    other = random_checkpoint(tmp_path / "tiny", seed=1)
    with pytest.raises(WeightsDiffer, match="of tiny; name the folder"):
        load_live(store, "tiny", model=other, device="cpu")


def test_a_checkpoint_has_to_be_named_and_be_there(store):
    with pytest.raises(InterventionError, match="name a checkpoint of .*: it has tiny"):
        load_live(store)
    with pytest.raises(InterventionError, match="run it under torch.autocast"):
        load_live(store, "tiny", compute_dtype="autocast-bfloat16")
    with pytest.raises(CheckpointNotFound, match="'huge'"):
        load_live(store, "huge")


def test_one_of_several_step_folders_is_named(tmp_path):
    for step in (1, 2):
        random_checkpoint(tmp_path / f"m-step{step}", seed=step)
    with pytest.raises(ModelNotLoaded, match="holds 2 checkpoints; name one: m-step1"):
        load_live(tmp_path, device="cpu")
    with load_live(tmp_path, "m-step2", device="cpu") as live:
        assert live.checkpoint == "m-step2"


def test_a_site_that_is_not_what_its_name_says_is_refused_at_load(tiny, monkeypatch):
    (llama,) = [family for family in families.FAMILIES if "LlamaForCausalLM" in family.architectures]
    wrong = replace(llama, sites={**llama.sites, "mlp_hidden": replace(llama.sites["mlp_hidden"], modules=("mlp.gate_proj",))})
    monkeypatch.setattr(families, "FAMILIES", (wrong,))
    with pytest.raises(SiteNotProved, match="LlamaForCausalLM: .*mlp_hidden .down."):
        load_live(tiny, device="cpu")


def test_a_model_of_no_family_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(families, "FAMILIES", ())
    with pytest.raises(SiteNotProved, match="is in no family"):
        load_live(tiny, device="cpu")


def test_a_site_that_it_lacks_and_a_model_that_was_closed(tiny):
    with load_live(tiny, device="cpu") as live, pytest.raises(SiteNotProved, match="no proved site 'mlp_huge'"):
        live.points("mlp_huge")
    frame = pl.DataFrame({"site": ["resid"], "layer": [0], "neuron": [0], "value": [1.0]})
    with pytest.raises(InterventionError, match="tiny was closed"), steer(live, frame):
        pass
