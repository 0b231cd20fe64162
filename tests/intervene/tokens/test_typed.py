"""One text through a model: every script, any neurons, and whose experts are active."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import actlas
from actlas.errors import InterventionError, NeuronNotFound, QueryError, SiteNotProved
from actlas.explore.heat import heat
from actlas.intervene import LiveModel, active_experts, load_live, text_token_values, text_tokens
from actlas.query import Atlas, open_store, top_experts

from .test_pieces import KINDS, TEXTS
from .test_run import MODULES, plainly

NEURONS = pl.DataFrame({"site": ["mlp_out", "attn_out", "mlp_out"], "layer": [1, 0, 1], "neuron": [20, 3, 1]})


def test_values_are_those_of_the_model_run_plainly(live: LiveModel) -> None:
    text = "the cat, 東京 e\u0301"
    frame = text_token_values(live, text, NEURONS)
    assert frame.height == 3 * len(text)
    for (site, layer, neuron), own in frame.group_by("site", "layer", "neuron"):
        assert site in MODULES
        assert np.allclose(own["value"], plainly(live, str(site), int(str(layer)), text)[:, neuron], atol=1e-6)
        assert [text[start:end] for start, end in own.select("char_start", "char_end").rows()] == list(text)


def test_a_store_says_how_texts_are_cut_and_rounded(live: LiveModel, extracted: Path) -> None:
    store = open_store(extracted)
    text = "a" * 200
    assert text_tokens(live, text).height == 200
    cut = text_token_values(live, text, NEURONS.head(1), store=store)
    assert cut.height == store.recipe.max_tokens
    values = cut["value"].to_numpy()
    assert np.array_equal(values, values.astype(np.float16).astype(np.float32))


def test_experts_that_are_active_are_counted(live: LiveModel, extracted: Path) -> None:
    store, text = open_store(extracted), "die Katze, a dog"
    experts = top_experts(store, k=6)
    values = text_token_values(live, text, experts.select("site", "layer", "neuron").unique(), store=store)
    pairs = values.join(experts, on=["site", "layer", "neuron"]).filter(pl.col("value") > pl.col("median"))
    expected = {
        key: own.sort("rank").row(0, named=True) | {"n": own.height} for key, own in pairs.group_by("position", "language")
    }
    found = active_experts(live, text, store, k=6, n=9)
    assert found.height == len(expected) > 0
    for row in found.iter_rows(named=True):
        best = expected[row["position"], row["language"]]
        assert (row["n_active"], row["n_experts"], row["expert_rank"]) == (best["n"], 6, best["rank"])
        assert [row[name] for name in ("site", "layer", "neuron", "value")] == [
            best[name] for name in ("site", "layer", "neuron", "value")
        ]
    for _, own in found.group_by("position"):
        assert own.sort("rank")["n_active"].is_sorted(descending=True)
    language = next(name for _, name in expected)
    one = active_experts(live, text, store, k=6, n=1, languages=[str(language)])
    assert one["language"].unique().to_list() == [language]
    assert one["rank"].unique().to_list() == [1]


def test_what_cannot_be_read_is_refused(live: LiveModel, store: Callable[[], Atlas]) -> None:
    with pytest.raises(InterventionError, match="the text has no token"):
        text_tokens(live, "")
    with pytest.raises(InterventionError, match="no column layer, neuron"):
        text_token_values(live, "a", pl.DataFrame({"site": ["resid"]}))
    with pytest.raises(NeuronNotFound, match="no neuron 99"):
        text_token_values(live, "a", pl.DataFrame({"site": ["resid"], "layer": [0], "neuron": [99]}))
    with pytest.raises(SiteNotProved, match="no proved site 'gate'"):
        text_token_values(live, "a", pl.DataFrame({"site": ["gate"], "layer": [0], "neuron": [0]}))
    opened = store()
    with pytest.raises(QueryError, match="have no|not in|unknown|no language"):
        active_experts(live, "a", opened, languages=["xx"])


@pytest.mark.parametrize("kind", ["byte level", "byte level, composed", "byte fallback", "unigram"])
def test_pages_get_every_script_right(kind: str, tmp_path: Path) -> None:
    """The payload for a page, of a model whose tokenizer divides characters."""
    made = KINDS[kind]()
    folder = tmp_path / "tiny"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
        LlamaForCausalLM(LlamaConfig(vocab_size=400, max_position_embeddings=256, **shape)).save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    frame = pl.DataFrame({"text": ["the cat", "café with 東京"], "language": ["en", "fr"]})
    labels = pl.DataFrame({"text_id": [0, 1], "concept": "cat", "is_concept": [True, False]})
    path = tmp_path / "run.actlas"
    actlas.extract_activations(folder, actlas.corpus_from_frames(frame, labels), path, device="cpu")
    store = open_store(path)
    with load_live(store, "tiny", device="cpu") as live:
        for text in TEXTS:
            params = {"checkpoint": "tiny", "site": "mlp_pre", "layer": 0, "neuron": 5, "text": text}
            found = heat(store, params, model=live)
            assert found["error"] is None
            tokens = found["tokens"]
            encoded = made.tokenizer(text)["input_ids"]
            values = live_values(live, encoded)
            assert [token["value"] for token in tokens] == pytest.approx(values, rel=2e-3, abs=1e-6)
            covered = {place for token in tokens for place in range(token["start"], token["end"])}
            assert covered == set(range(len(text)))
            assert [token["is_special"] for token in tokens] == [True, *[False] * (len(tokens) - 2), True]
            # pieces of one character stand at that character, and at no other
            for token in tokens:
                assert "<0x" not in token["piece"] or "<0x" in text or token["end"] - token["start"] <= 2


def live_values(live: LiveModel, token_ids: list[int]) -> list[float]:
    """Neuron 5 of mlp_pre at every token, plainly."""
    seen: list[torch.Tensor] = []
    handle = live.model.model.layers[0].mlp.gate_proj.register_forward_hook(lambda *all_of_it: seen.append(all_of_it[2]))
    with torch.no_grad():
        live.model(torch.tensor([token_ids]))
    handle.remove()
    values: list[float] = seen[0][0, :, 5].tolist()
    return values


def test_no_neurons_give_no_rows(live: LiveModel) -> None:
    assert text_token_values(live, "ab", NEURONS.clear()).height == 0
