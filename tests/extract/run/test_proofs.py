"""Sites are proved before a checkpoint is extracted: the figures are a table, a wrong tensor stops the run."""

import json
from dataclasses import replace

import polars as pl
import pytest

from actlas.errors import SiteNotProved
from actlas.extract import extract_activations
from actlas.extract.sites import families
from actlas.extract.sites.families import SitePath, family_of, known_sites
from actlas.names import TokenSample
from actlas.query import open_store
from actlas.store.store import Store
from actlas.testing import random_checkpoint

WRONG = "mlp_pre=model.layers.{layer}.mlp.up_proj:output"
OPTIONS = {"sites": ["mlp_pre"], "device": "cpu", "syncs": False, "fidelity_texts": 0}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return random_checkpoint(tmp_path_factory.mktemp("proofs") / "tiny")


def about(store):
    (record,) = Store(store).snapshot().checkpoints.values()
    return record.provenance


def test_the_figures_of_every_site_of_the_family_are_a_table(model, small_corpus, tmp_path):
    extract_activations(model, small_corpus, tmp_path / "s", **OPTIONS)
    proofs = open_store(tmp_path / "s").sql("SELECT * FROM site_proofs")
    assert proofs["is_proved"].all()
    assert set(proofs["site"]) == set(known_sites(family_of("LlamaForCausalLM")))
    assert proofs.select("checkpoint", "architecture", "compute_dtype").unique().rows() == [
        ("tiny", "LlamaForCausalLM", "float32")
    ]
    assert proofs.filter(pl.col("proof").is_in(["left", "right"])).is_empty()
    assert "no_proofs" not in about(tmp_path / "s")


def test_proofs_that_were_switched_off_leave_a_word(model, small_corpus, tmp_path):
    extract_activations(model, small_corpus, tmp_path / "s", **{**OPTIONS, "sites": [WRONG]}, proves_sites=False)
    store = open_store(tmp_path / "s")
    assert store.sql("SELECT * FROM site_proofs").is_empty()
    assert about(tmp_path / "s")["no_proofs"] == "switched off"
    assert "site_proofs" not in about(tmp_path / "s")


def test_a_wrong_tensor_stops_the_run_before_anything_is_written(model, small_corpus, tmp_path, monkeypatch):
    right = family_of("LlamaForCausalLM")
    wrong = replace(right, sites={**right.sites, "mlp_out": SitePath(("post_attention_layernorm",))})
    monkeypatch.setattr(families, "FAMILIES", tuple(wrong if family is right else family for family in families.FAMILIES))
    with pytest.raises(SiteNotProved, match=r"^LlamaForCausalLM: site \w+, layer \d did not pass the proof .* float32 allows"):
        extract_activations(model, small_corpus, tmp_path / "s", **OPTIONS)
    assert not (tmp_path / "s").exists()


def test_a_module_named_by_hand_under_the_name_of_a_site_is_held_to_it(model, small_corpus, tmp_path):
    with pytest.raises(SiteNotProved, match="site mlp_pre, layer . did not pass the proof 'activation'"):
        extract_activations(model, small_corpus, tmp_path / "s", **{**OPTIONS, "sites": [WRONG]})
    named = "by_hand=model.layers.{layer}.mlp.up_proj:output"
    extract_activations(model, small_corpus, tmp_path / "s", **{**OPTIONS, "sites": [named]})
    own = open_store(tmp_path / "s").sql("SELECT proof FROM site_proofs WHERE site = 'by_hand' ORDER BY proof")
    assert own["proof"].to_list() == ["layers", "once"]


def test_of_numbers_that_are_none_nothing_is_proved_and_the_record_says_why(model, small_corpus, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    # no site that is read sees it
    name = "model.layers.1.mlp.down_proj.weight"
    weights[name][0, 0] = float("nan")
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in model.iterdir():
        if path.suffix == ".json":
            (broken / path.name).write_bytes(path.read_bytes())
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    summary = extract_activations(
        broken, small_corpus, tmp_path / "s", **OPTIONS, broken="flag", token_sample=TokenSample(per_text=0)
    )
    assert any("broken" in line for line in summary.warnings)
    assert "is NaN or infinite" in about(tmp_path / "s")["no_proofs"]
    json.dumps(about(tmp_path / "s"), allow_nan=False)
