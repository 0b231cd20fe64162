"""LAPE's counts: act(gate) > 0 of every gated family, and what is selected from them, against plain scripts."""

import numpy as np
import pytest
import torch
import transformers
from transformers.activations import ACT2FN

from actlas.errors import CubeNotFound
from actlas.extract.sites.gate import SIGN_KEEPING, is_gated, lape_site
from actlas.query import language_neurons, open_store
from actlas.testing.tiny_configs import tiny_configs
from tests.extract.conftest import ENCODERS
from tests.extract.runs import extract
from tests.published import language_sets

#: Written down a second time: every family whose MLPs have two branches.
GATED = {
    *("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "gemma3", "gemma4", "olmo", "olmo2", "olmo3"),
    *("granite", "cohere", "cohere2", "stablelm", "stablelm_serial", "phi3", "glm", "glm4", "deepseek_v2", "deepseek_v3"),
}


def published_counts(folder, texts):
    """Tokens with act(gate) > 0, "layers neurons", one text at a time, as the published script counts them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    active = torch.zeros((2, model.config.intermediate_size), dtype=torch.int64)
    for layer, block in enumerate(model.model.layers):

        def count(mlp, args, layer=layer):
            act = mlp.act_fn if hasattr(mlp, "act_fn") else mlp.activation_fn
            gate = mlp.gate_proj(args[0]) if hasattr(mlp, "gate_proj") else mlp.gate_up_proj(args[0]).chunk(2, dim=-1)[0]
            active[layer] += (act(gate) > 0).sum(dim=(0, 1))

        block.mlp.register_forward_pre_hook(count)
    with torch.no_grad():
        for text in texts:
            model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=60, return_token_type_ids=False))
    return active.numpy()


def selected(frame, languages):
    return [set(frame.filter(language=language).select("layer", "neuron").rows()) for language in languages]


@pytest.mark.parametrize("family", sorted(GATED))
def test_counts_and_selection_are_those_of_the_published_scripts(family, tiny_models, small_corpus, tmp_path):
    extract(tiny_models(family), small_corpus, tmp_path / "s", stats_only=True, sites=None, fidelity_texts=0)
    store = open_store(tmp_path / "s")
    counts, texts = store.token_counts(family), store.corpus.texts
    for language, active in zip(counts.languages, counts.active, strict=True):
        expected = published_counts(tiny_models(family), texts.filter(language=language)["text"])
        assert (active == expected).all()
    over_zero = torch.from_numpy(np.moveaxis(counts.active, 0, -1).copy())
    for share, quantile in ((0.1, 0.95), (0.3, 0.6)):
        expected = language_sets(over_zero, torch.from_numpy(counts.n_tokens), share, quantile)
        frame = language_neurons(store, share=share, bar_quantile=quantile)
        assert selected(frame, counts.languages) == expected
        assert any(expected)
        assert set(frame["site"]) == {"mlp_pre"}


def test_the_product_is_counted_where_it_is_asked_for_and_never_taken_for_the_gate(tiny_models, small_corpus, tmp_path):
    folder = tiny_models("llama")
    extract(folder, small_corpus, tmp_path / "s", count_sites=["mlp_hidden"])
    store = open_store(tmp_path / "s")
    message = r"not counted at mlp_pre; the MLPs of this model are gated, .* counted at mlp_hidden\. .*--count-sites mlp_pre"
    for ask in (language_neurons, lambda store: store.token_counts("llama")):
        with pytest.raises(CubeNotFound, match=message):
            ask(store)
    product = language_neurons(store, site="mlp_hidden", share=0.3, bar_quantile=0.5)
    assert set(product["site"]) == {"mlp_hidden"}
    extract(folder, small_corpus, tmp_path / "both", count_sites=["mlp_hidden", "mlp_pre"])
    both = open_store(tmp_path / "both", "a")
    assert language_neurons(both, site="mlp_hidden", share=0.3, bar_quantile=0.5).equals(product)
    gate = language_neurons(both, share=0.3, bar_quantile=0.5)
    assert gate.select("layer", "neuron", "language").rows() != product.select("layer", "neuron", "language").rows()
    assert [both.table_settings("lape", "llama", which)["site"] for which in (None, *both.table_variants("lape"))] == [
        "mlp_hidden",
        "mlp_pre",
    ]


def test_the_activation_function_s_own_output_is_a_site_when_named(tiny_models, small_corpus, tmp_path):
    """The way out where no site has the sign of act(gate)."""
    sites = ["mlp_act=model.layers.{layer}.mlp.act_fn:output"]
    extract(tiny_models("llama"), small_corpus, tmp_path / "s", sites=sites, count_sites=["mlp_act", "mlp_pre"])
    counts = [open_store(tmp_path / "s").token_counts("llama", site).active for site in ("mlp_act", "mlp_pre")]
    np.testing.assert_array_equal(*counts)


def test_families_are_gated_where_their_mlps_have_two_branches():
    for family, config in tiny_configs().items():
        auto = transformers.AutoModelForMaskedLM if family in ENCODERS else transformers.AutoModelForCausalLM
        with torch.device("meta"):
            model = auto.from_config(config())
        architecture = type(model).__name__
        assert is_gated(architecture) == (family in GATED), family
        assert lape_site(architecture, "silu") == ("mlp_pre" if family in GATED else "mlp_hidden")
    assert (is_gated("Unknown"), lape_site("Unknown", "silu")) == (False, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_named_activations_keep_the_sign_and_the_others_do_not(dtype):
    """Every number of the two half precisions but subnormal ones, and a fine grid of float32."""
    if dtype == torch.float32:
        size = torch.cat([torch.logspace(-37, 4, 4000), torch.linspace(0, 20, 4001)])
        gate = torch.cat([size, -size])
    else:
        gate = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    gate = gate[torch.isfinite(gate) & ((gate == 0) | (gate.abs() >= torch.finfo(dtype).smallest_normal * 2))]
    signs = {}
    for name in ACT2FN:
        function = ACT2FN[name]
        if any(True for _ in function.parameters()):
            continue  # what it does is learned
        signs[name] = bool(((function(gate) > 0) == (gate > 0)).all())
    assert {name for name, keeps in signs.items() if keeps} == SIGN_KEEPING
