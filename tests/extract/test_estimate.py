"""An estimate is what the run then takes."""

import pytest

import actlas
from actlas.cli import run
from actlas.errors import OptionError
from actlas.extract import estimate_extraction, extract_activations
from actlas.testing import random_checkpoint


@pytest.fixture
def model(tmp_path):
    return random_checkpoint(tmp_path / "tiny")


def test_bytes_and_tokens_are_those_of_the_run(model, small_corpus, tmp_path):
    options = {"sites": ["mlp_pre", "attn_out"], "dtype": "float32", "device": "cpu"}
    (plan,) = estimate_extraction(model, small_corpus, efficiency=0.5, **options).to_dicts()
    assert not (tmp_path / "s").exists()
    reports = []
    extract_activations(model, small_corpus, tmp_path / "s", progress=reports.append, **options)
    told = next(report.disk_bytes for report in reports if report.disk_bytes is not None)
    assert plan["cube_bytes"] + plan["vector_bytes"] == told
    store = actlas.open_store(tmp_path / "s")
    counts = store.token_counts("tiny", "mlp_pre")
    assert plan["count_bytes"] == counts.active.nbytes
    assert plan["n_tokens"] == counts.n_tokens.sum()
    assert plan["tokens_from"] == "tokenizer"
    assert plan["flops"] == 2 * plan["parameters"] * plan["n_tokens"]
    assert plan["hours"] == pytest.approx(plan["flops"] / (989e12 * 0.5) / 3600)


def test_without_a_tokenizer_tokens_are_told_from_characters_and_that_is_said(model, small_corpus):
    for file in model.glob("tokenizer*"):
        file.unlink()
    (plan,) = estimate_extraction(model, small_corpus, max_tokens=3, device_flops=1e9).to_dicts()
    lengths = [min(3, max(1, -(-len(text) // 4))) for text in small_corpus.texts["text"]]
    assert (plan["n_tokens"], plan["tokens_from"]) == (sum(lengths), "characters / 4")
    assert (plan["device"], plan["device_flops"]) == ("as given", 1e9)


def test_a_configuration_alone_is_enough(tmp_path, small_corpus):
    from transformers import ApertusConfig

    # a family that the table of sites does not know
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 50}
    ApertusConfig(**shape, dtype="bfloat16", architectures=["ApertusForCausalLM"]).save_pretrained(tmp_path / "planned")
    site = "mlp_hidden=model.layers.{layer}.mlp.down_proj:input"
    (plan,) = estimate_extraction(tmp_path / "planned", small_corpus, sites=[site], compute_dtype="bfloat16").to_dicts()
    assert (plan["download_bytes"], plan["download_from"]) == (2 * plan["parameters"], "parameters")
    assert plan["cube_bytes"] == 3 * 48 * small_corpus.n_texts * 2


def test_what_can_not_be_told_is_refused(model, small_corpus):
    with pytest.raises(OptionError, match="device 'TPU' is not known; choose H100, A100, L4"):
        estimate_extraction(model, small_corpus, device_name="TPU")
    with pytest.raises(OptionError, match="leave stats_only out"):
        estimate_extraction(model, small_corpus, stats_only=True)


def test_the_command_line_shows_it_and_writes_nothing(model, corpus_folder, capsys, tmp_path):
    before = set(tmp_path.rglob("*"))
    assert run(["extract", str(model), "--corpus", str(corpus_folder), "--estimate", "--device-name", "L4"]) == 0
    assert set(tmp_path.rglob("*")) == before
    out = capsys.readouterr().out
    assert "on disk before compression" in out
    assert "L4: 1.21e+14 operations per second, of which 30%" in out
    assert run(["extract", str(model), "--corpus", str(corpus_folder)]) == 1
    assert "--store" in capsys.readouterr().err
    assert run(["extract", str(model), "--corpus", str(corpus_folder), "--store", str(tmp_path / "s"), "--efficiency", "1"]) == 1
    assert "--efficiency is about what --estimate says" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
