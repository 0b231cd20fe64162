"""What is fixed before the first checkpoint: lengths of texts, and what is kept."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import transformers

from actlas.errors import (
    CorpusError,
    ExtractionError,
    OptionError,
)
from actlas.extract import extract_activations
from actlas.extract.backends.hf import backend as backend_hf
from actlas.extract.options import ExtractOptions
from actlas.extract.run.prepare import recipe_of
from actlas.store.corpus.corpus import corpus_from_frames
from actlas.store.store import Store
from tests.extract.runs import extract


def test_what_texts_hold_is_said_before_a_model_is_loaded(tiny_models, tmp_path):
    texts = pl.DataFrame({"text": ["<s> kala mone", "kala mone", "kala mone", "kala " * 20], "language": "en"})
    labels = pl.DataFrame({"text_id": [1, 2], "concept": "c", "is_concept": [True, False]})
    reports = []
    summary = extract(
        tiny_models("llama"),
        corpus_from_frames(texts, labels),
        tmp_path / "s",
        max_tokens=9,
        over_long="drop",
        progress=reports.append,
    )
    expected = [
        "1 of 4 texts have more than 9 tokens",
        "1 texts spell out special tokens",
        "1 of 3 texts repeat",
        "both true and false",
    ]
    assert [part in line for part, line in zip(expected, summary.warnings, strict=False)] == [True] * 4
    before = [report.warning for report in reports if report.stage == "locate" and report.warning]
    assert before == list(summary.warnings[:4])


def test_texts_longer_than_allowed(tiny_models, small_corpus, tmp_path):
    folder = tiny_models("llama")
    n_long = sum(
        len(ids) > 9 for ids in transformers.AutoTokenizer.from_pretrained(folder)(small_corpus.texts["text"].to_list()).input_ids
    )
    summary = extract(folder, small_corpus, tmp_path / "cut", max_tokens=9)
    assert (summary.n_over_long, summary.n_texts) == (n_long, 44)
    assert Store(tmp_path / "cut").corpus.texts["n_tokens"].max() == 9
    summary = extract(folder, small_corpus, tmp_path / "drop", max_tokens=9, over_long="drop")
    dropped = Store(tmp_path / "drop")
    assert summary.n_texts == dropped.corpus.n_texts == 44 - n_long
    assert dropped.cube("llama", "mlp_pre").shape[2] == 44 - n_long
    ids = dropped.corpus.texts["text_id"].to_numpy()
    whole = Store(tmp_path / "cut").cube("llama", "mlp_pre").read(texts=ids)
    np.testing.assert_allclose(dropped.cube("llama", "mlp_pre").read(), whole, rtol=1e-2, atol=1e-3)
    with pytest.raises(CorpusError, match="let over_long truncate or drop"):
        extract(folder, small_corpus, tmp_path / "no", max_tokens=9, over_long="error")
    with pytest.raises(ExtractionError, match="reads at most 64 tokens and this run allows 65; lower max_tokens to 64"):
        extract(folder, small_corpus, tmp_path / "no", max_tokens=65)
    assert not (tmp_path / "no").exists()


def test_without_a_length_the_model_s_own_limit_holds(tiny_models, small_corpus, tmp_path):
    extract_activations(tiny_models("llama"), small_corpus, tmp_path / "s", device="cpu")
    assert Store(tmp_path / "s").recipe.max_tokens == 64


def test_counting_alone_keeps_no_cube_and_can_be_stopped(tiny_models, small_corpus, tmp_path, monkeypatch):
    folder = tiny_models("llama")
    extract(folder, small_corpus, tmp_path / "whole", count_sites=["mlp_hidden"])
    expected = Store(tmp_path / "whole").token_counts("llama", "mlp_hidden")
    run_block, blocks = backend_hf.HfSession.run_block, []

    def stops(self, block, **kwargs):
        blocks.append(block)
        if len(blocks) == 3:  # the texts that a checkpoint is tried on, a block that is written, then this
            raise KeyboardInterrupt
        return run_block(self, block, **kwargs)

    options = {"sites": ["mlp_hidden", "mlp_up"], "stats_only": True}
    monkeypatch.setattr(backend_hf.HfSession, "run_block", stops)
    with pytest.raises(KeyboardInterrupt):
        extract(folder, small_corpus, tmp_path / "s", **options)
    monkeypatch.setattr(backend_hf.HfSession, "run_block", run_block)
    summary = extract(folder, small_corpus, tmp_path / "s", **options)
    assert summary.checkpoints[0].n_texts == 28
    store = Store(tmp_path / "s")
    assert store.sites("llama") == []
    np.testing.assert_array_equal(store.token_counts("llama", "mlp_hidden").active, expected.active)
    assert store.token_counts("llama", "mlp_up").active.shape == (2, 2, 40)
    assert not (tmp_path / "s" / "cubes").exists()


def recipe(architecture="LlamaForCausalLM", activation="silu", **options):
    """Of a checkpoint of that architecture that reads 64 tokens."""
    backend = SimpleNamespace(linear_sites=lambda source: ["attn_k=h.{layer}.k:output"])
    first = SimpleNamespace(architecture=architecture, activation=activation, max_positions=64, compute_dtype="float32")
    return recipe_of(ExtractOptions(**options), backend, first, "hash")


def test_the_recipe_is_what_was_asked_and_what_the_first_checkpoint_decides():
    assert (recipe().sites, recipe().count_sites, recipe().max_tokens) == (("mlp_pre",), ("mlp_pre",), 64)
    assert recipe(max_tokens=10).max_tokens == 10
    counted = recipe(stats_only=True)
    assert (counted.sites, counted.count_sites, counted.states, counted.tokens.per_text) == ((), ("mlp_pre",), None, 0)
    summed = recipe(stats_only=("counts", "moments"), sites=["resid", "mlp_up"])
    assert (summed.states.kinds, summed.states.sites) == (("moments",), ("mlp_up", "resid"))
    assert summed.count_sites == ("mlp_up", "resid")
    assert summed.states.range_texts == 0
    assert recipe(stats_only=("histogram",), range_texts=9).states.range_texts == 9


def test_tokens_are_counted_where_the_activation_function_is_above_zero():
    assert recipe("BloomForCausalLM", None).count_sites == ("mlp_hidden",)
    for options in ({}, {"stats_only": True}, {"stats_only": ("counts", "moments")}, {"sites": ["resid"]}):
        assert recipe(**options).count_sites == ("mlp_pre",)
        assert recipe(**options, count_sites=["mlp_up", "mlp_hidden"]).count_sites == ("mlp_hidden", "mlp_up")
        with pytest.raises(OptionError, match=r"'sigmoid' no site of LlamaForCausalLM .* count_sites = mlp_hidden"):
            recipe(activation="sigmoid", **options)
        assert recipe(activation="sigmoid", **options, count_sites=["mlp_hidden"]).count_sites == ("mlp_hidden",)
    named = ["mlp_act=model.layers.{layer}.mlp.act_fn:output"]
    assert recipe(activation="sigmoid", sites=named, count_sites=["mlp_act"]).count_sites == ("mlp_act",)
    assert recipe(activation="sigmoid", stats_only=("moments",)).count_sites == ()
    assert recipe(stats_only=True, sites=["resid"]).count_sites == ("resid",)


def test_an_architecture_that_is_not_known_keeps_what_is_named_alone():
    named = recipe("Unknown", sites=["resid=h.{layer}:output"])
    assert (named.sites, named.count_sites, named.tokens.sites) == (("resid",), (), ("resid",))
    assert recipe("Unknown", sites=["auto-linear"]).sites == ("attn_k",)
    assert recipe("Unknown", sites=["mlp_hidden=h.{layer}.down:input"]).count_sites == ("mlp_hidden",)
