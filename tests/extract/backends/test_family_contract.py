"""What holds for every family: bytes depend on no padding side, long texts are cut, linear maps are found, experts refused."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
import transformers

from actlas.errors import CorpusError, ExtractionError, ModelNotSupported
from actlas.extract import extract_activations
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.hf.backend import make_backend
from actlas.extract.checkpoints.resolve import resolve_models
from actlas.extract.inputs.batches import plan_batches
from actlas.extract.inputs.tokens import TokenRules, tokenise
from actlas.extract.sites.resolve import AUTO_LINEAR, parse_sites
from actlas.names import TokenSample
from actlas.store.corpus.corpus import corpus_from_frames
from actlas.store.store import Store
from tests.extract.conftest import CONFIGS

SMALL = {
    "vocab_size": 96,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {"num_key_value_heads": 2}
LATENT = {**HEADS, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 6}

#: Configuration -> what makes a small mixture of experts of it.
MIXTURES = {
    "Mixtral": {**HEADS, "num_local_experts": 4},
    "Qwen2Moe": {**HEADS, "num_experts": 4, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8},
    "Qwen3Moe": {**HEADS, "num_experts": 4, "moe_intermediate_size": 8, "head_dim": 8},
    "Olmoe": {**HEADS, "num_experts": 4},
    "Doge": {**HEADS, "is_moe": True, "num_experts": 4, "num_experts_per_tok": 2},
    "Dots1": {**HEADS, "n_routed_experts": 4, "n_shared_experts": 1, "moe_intermediate_size": 8, "num_experts_per_tok": 2},
    "Gemma4Text": {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 8},
    "HunYuanMoEV1": {**HEADS, "num_experts": 4, "moe_topk": 2, "head_dim": 8},
    "DeepseekV2": {**LATENT, "first_k_dense_replace": 0, "n_routed_experts": 4, "moe_intermediate_size": 8},
    "DeepseekV3": {**LATENT, "first_k_dense_replace": 0, "n_routed_experts": 4, "moe_intermediate_size": 8},
    "GptOss": {**HEADS, "num_local_experts": 4, "head_dim": 8},
    "GraniteMoe": {**HEADS, "num_local_experts": 4},
    "Phimoe": {**HEADS, "num_local_experts": 4},
    "Ernie4_5_Moe": {**HEADS, "moe_num_experts": 4},
}


#: Families whose tiny models have a limit; BLOOM and Falcon have none, or one far beyond these texts.
BOUNDED = set(CONFIGS) - {"bloom", "falcon", "falcon_alibi"}


def place(folder):
    backend = make_backend(BackendSettings(device="cpu"))
    return backend, backend.locate(resolve_models(folder)[0])


def committed(store):
    """All bytes of cubes, token vectors, counts and tokens, by path."""
    folders = ("cubes", "tokens", "counts", "corpus")
    paths = [path for folder in folders for path in sorted((store / folder).rglob("*")) if path.is_file()]
    return {str(path.relative_to(store)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("family", CONFIGS)
def test_neither_padding_side_nor_order_of_batches_changes_the_bytes(
    family, tiny_models, tokenizer_writer, small_corpus, tmp_path, monkeypatch
):
    options = {"sites": ["mlp_pre", "resid"], "dtype": "float32", "device": "cpu", "max_tokens": 60, "texts_per_block": 44}
    options |= {"tokens_per_batch": 200, "syncs": False}
    extract_activations(tiny_models(family), small_corpus, tmp_path / "a", **options)
    folder = shutil.copytree(tiny_models(family), tmp_path / family)
    tokenizer_writer(folder, padding_side="left")
    assert transformers.AutoTokenizer.from_pretrained(folder).padding_side == "left"
    planned = []

    def backwards(*arguments):
        planned.append(plan_batches(*arguments)[::-1])
        return planned[-1]

    monkeypatch.setattr("actlas.extract.inputs.batches.plan_batches", backwards)
    extract_activations(folder, small_corpus, tmp_path / "b", **options)
    assert max(map(len, planned)) > 2
    ours, other = committed(tmp_path / "a"), committed(tmp_path / "b")
    assert ours == other
    assert any(path.startswith("cubes") for path in ours)
    assert Store(tmp_path / "a").cube(family, "mlp_pre").shape[2] == 44


@pytest.mark.parametrize("family", CONFIGS)
def test_texts_are_cut_dropped_or_refused_at_the_limit_of_the_model(family, tiny_models, text_maker, tmp_path):
    """A model without a limit, or with one far off, gets texts of up to 64 tokens."""
    folder = tiny_models(family)
    backend, source = place(folder)
    limit = source.max_positions if family in BOUNDED else 64
    assert limit is not None
    assert limit < 67
    short, long = text_maker(3), [" ".join(text_maker(30, seed=seed)) for seed in (1, 2)]
    texts = pl.DataFrame({"text": [*short, *long], "language": ["aa"] * 5})
    corpus = corpus_from_frames(texts, pl.DataFrame(schema={"text_id": pl.Int64, "concept": pl.String, "is_concept": pl.Boolean}))
    tokenizer = backend.tokenizer(source)

    def cut(policy):
        return tokenise(corpus, tokenizer, TokenRules(limit, policy, "pool", TokenSample(per_text=0, sites=())))

    found = cut("truncate")
    assert found.over_long.tolist() == [3, 4]
    assert cut("drop").corpus.texts["text_id"].to_list() == [0, 1, 2]
    with pytest.raises(CorpusError, match=f"2 of 5 texts have more than {limit} tokens"):
        cut("error")
    session = backend.open(source, Capture(("resid",), dtype="float32"))
    values = session.run_block(found.block(np.arange(5))).collect().cubes["resid"]
    session.close()
    by_hand = transformers.AutoTokenizer.from_pretrained(folder)
    auto = transformers.AutoModel.from_pretrained(folder, **({"add_pooling_layer": False} if "bert" in family else {}))
    model, kept = auto.eval(), {}
    blocks = next(part for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == 2)
    for layer, block in enumerate(blocks):
        block.register_forward_hook(
            lambda _, __, output, layer=layer: kept.__setitem__(layer, output[0] if isinstance(output, tuple) else output)
        )
    for row, text in enumerate([*short, *long]):
        ids = by_hand(text, truncation=True, max_length=limit, return_tensors="pt").input_ids
        assert ids.shape[1] == limit or row < 3
        with torch.no_grad():
            model(ids)
        expected = torch.stack([kept[layer].reshape(ids.shape[1], -1).amax(0) for layer in range(2)]).numpy()
        assert np.abs(values[:, :, row] - expected).max() <= 1e-5 * np.abs(expected).max()
    if family in BOUNDED:
        with pytest.raises(ExtractionError, match=f"reads at most {limit} tokens and this run allows {limit + 1}"):
            extract_activations(folder, corpus, tmp_path / "s", sites=["resid"], device="cpu", max_tokens=limit + 1)


OTHERS = {
    "stablelm": lambda: transformers.StableLmConfig(**SMALL, **HEADS, use_parallel_residual=True, qk_layernorm=True),
    "phi": lambda: transformers.PhiConfig(**{**SMALL, "num_attention_heads": 2}),
    "cohere": lambda: transformers.CohereConfig(**SMALL, **HEADS),
}


@pytest.mark.parametrize("name", ["llama", "gpt2", *OTHERS])
def test_every_linear_map_gives_what_plain_hooks_give(name, tiny_models, tokenizer_writer, blocks, tmp_path):
    if name in OTHERS:
        torch.manual_seed(0)
        folder = tmp_path / name
        transformers.AutoModelForCausalLM.from_config(OTHERS[name]()).save_pretrained(folder)
        tokenizer_writer(folder)
    else:
        folder = tiny_models(name)
    backend, source = place(folder)
    sites, by_hand = parse_sites(backend.linear_sites(source))
    lists = [np.random.default_rng(n).integers(3, 96, n).tolist() for n in (1, 2, 5, 6, 13, 31)]
    session = backend.open(source, Capture(sites, dtype="float32", site_modules=by_hand))
    values = session.run_block(blocks(lists)).collect()
    session.close()
    model, kept = transformers.AutoModelForCausalLM.from_pretrained(folder).eval(), {}
    linear = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    for layer, block in enumerate(model.transformer.h if name == "gpt2" else model.model.layers):
        for path, module in block.named_modules():
            if isinstance(module, linear):
                key = (path.replace(".", "_"), layer)
                module.register_forward_hook(lambda _, __, output, key=key: kept.setdefault(key, []).append(output))
    for ids in lists:
        with torch.no_grad():
            model(torch.tensor([ids]))
    assert {(site, layer) for site in sites for layer in range(2)} == set(kept)
    for (site, layer), outputs in kept.items():
        expected = torch.stack([output.reshape(-1, output.shape[-1]).amax(0) for output in outputs], dim=1).numpy()
        assert np.abs(values.cubes[site][layer] - expected).max() <= 1e-5 * np.abs(expected).max(), site


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_of_experts_is_refused_on_known_sites_and_on_every_linear_map(name, small_corpus, tmp_path):
    config = getattr(transformers, f"{name}Config")(**{**SMALL, **MIXTURES[name]})
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert any("expert" in path or "router" in path for path, _ in [*model.named_modules(), *model.named_parameters()])
    written = {**config.to_dict(), "architectures": [type(model).__name__]}
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(json.dumps(written, default=str))
    for sites in (["mlp_pre"], [AUTO_LINEAR]):
        with pytest.raises(ModelNotSupported, match=f"{type(model).__name__} routes each token to some of 4 experts"):
            extract_activations(tmp_path / "m", small_corpus, tmp_path / "s", sites=sites, device="cpu")
    assert not (tmp_path / "s").exists()
