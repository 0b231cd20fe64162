"""`prove_sites` and the verb check: checkpoints on disk, what is refused by name, what a site named by hand is held to."""

import json

import polars as pl
import pytest
import torch
import transformers

from actlas.cli import run
from actlas.errors import CapturePointNotFound, ModelNotSupported
from actlas.extract import prove_sites
from actlas.extract.sites.families import REFUSED
from actlas.extract.sites.resolve import site_map
from actlas.testing import random_checkpoint
from actlas.testing.tiny_configs import tiny_configs

WRONG = "mlp_hidden=model.layers.{layer}.mlp.gate_proj:output"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_checkpoint(tmp_path_factory.mktemp("check") / "tiny")


def test_every_site_of_a_checkpoint_is_proved(folder):
    proofs = prove_sites(folder, device="cpu")
    assert proofs["is_proved"].all()
    assert set(proofs["checkpoint"]) == {"tiny"}
    assert set(proofs["architecture"]) == {"LlamaForCausalLM"}
    assert proofs.filter(pl.col("figure") > pl.col("allowed")).is_empty()
    assert (proofs.filter(proof="down")["figure"] > 0).all(), "a figure that is 0 was compared with itself"
    some = prove_sites(folder, sites=["resid"], compute_dtype="autocast-bfloat16", device="cpu")
    assert set(some["site"]) == {"resid"}
    assert some["is_proved"].all()


def test_a_site_named_by_hand_under_a_name_of_the_family_is_held_to_it(folder):
    proofs = prove_sites(folder, sites=[WRONG], device="cpu")
    assert set(proofs["site"]) == {"mlp_hidden"}
    assert set(proofs.filter(is_proved=False)["proof"]) == {"activation", "down"}
    # under a name of its own nothing is claimed but that it is there once
    other = prove_sites(folder, sites=["gate=model.layers.{layer}.mlp.gate_proj:output"], device="cpu")
    assert other["is_proved"].all()
    assert set(other["proof"]) == {"layers", "once", "left", "right"}


def test_the_verb_shows_figures_and_its_status_says_whether_all_hold(folder, capfd):
    assert run(["check", str(folder), "--device", "cpu", "--format", "csv"]) == 0
    header, *rows = capfd.readouterr().out.splitlines()
    assert header == "checkpoint,architecture,compute_dtype,site,proof,layer,figure,allowed,is_proved"
    assert len(rows) > 40
    assert run(["check", str(folder), "--device", "cpu", "--site", WRONG]) == 1
    shown = capfd.readouterr()
    assert "false" in shown.out
    (line,) = shown.err.splitlines()
    assert line.startswith("actlas: LlamaForCausalLM: site mlp_hidden, layer ")


def test_a_mixture_of_experts_is_refused_by_name(tmp_path):
    settings = {"d_model": 24, "n_layers": 2, "n_heads": 4, "vocab_size": 96, "ffn_config": {"moe_num_experts": 4}}
    config = transformers.DbrxConfig(**settings)
    written = {**config.to_dict(), "architectures": ["DbrxForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(written, default=str))
    with pytest.raises(ModelNotSupported, match="DbrxForCausalLM routes each token to some of 4 experts"):
        prove_sites(tmp_path, device="cpu")
    for architecture in REFUSED:
        with pytest.raises(ModelNotSupported, match=f"{architecture} is not read: it"):
            site_map(architecture, 2, ["resid"])
        with pytest.raises(CapturePointNotFound):
            site_map(architecture, 2, ["mlp_pre"])


def test_layers_of_deepseek_are_read_where_all_of_them_are_dense(tmp_path):
    """The configuration counts experts that no layer has."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(tiny_configs()["deepseek_v3"]())
    model.save_pretrained(tmp_path / "dense")
    assert prove_sites(tmp_path / "dense", device="cpu")["is_proved"].all()
    config = json.loads((tmp_path / "dense" / "config.json").read_text())
    (tmp_path / "dense" / "config.json").write_text(json.dumps({**config, "first_k_dense_replace": 1}))
    with pytest.raises(ModelNotSupported, match="DeepseekV3ForCausalLM routes each token to some of 4 experts"):
        prove_sites(tmp_path / "dense", device="cpu")


def test_an_architecture_without_a_family_is_refused(tmp_path):
    config = transformers.GPTNeoConfig(
        vocab_size=96, hidden_size=24, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "neo")
    with pytest.raises(CapturePointNotFound, match="no sites known for architecture 'GPTNeoForCausalLM'"):
        prove_sites(tmp_path / "neo", device="cpu")
    with pytest.raises(CapturePointNotFound, match="GPTNeoForCausalLM is in no family"):
        prove_sites(tmp_path / "neo", sites=["gate=transformer.h.{layer}.mlp.c_fc:output"], device="cpu")
