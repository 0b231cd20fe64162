"""Fused projections hold q, k and v in the order that the table records: told by what attention receives of numbered outputs."""

import pytest
import torch
import transformers

from actlas.extract.sites.families import family_of

SMALL = {"vocab_size": 32, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4}
HEADS, SIZE = 4, 6


def per_head(n_groups, n_queries):
    """Numbers of q, k and v per head where every group of heads is its queries, then k, then v."""
    groups = torch.arange(n_groups * (n_queries + 2) * SIZE).view(n_groups, n_queries + 2, SIZE)
    repeated = [part.repeat_interleave(n_queries, 0) for part in (groups[:, -2], groups[:, -1])]
    return groups[:, :-2].reshape(-1, SIZE), *repeated


def side_by_side():
    return torch.arange(3 * HEADS * SIZE).view(3, HEADS, SIZE).unbind(0)


def all_queries_first():
    numbers = torch.arange((HEADS + 2) * SIZE).view(HEADS + 2, SIZE)
    return numbers[:HEADS], numbers[[-2]].expand(HEADS, SIZE), numbers[[-1]].expand(HEADS, SIZE)


def attention_of(config):
    model = transformers.AutoModelForCausalLM.from_config(config)
    names = (".self_attention", ".attn", ".attention")
    (module,) = (part for name, part in model.named_modules() if name.endswith(names))
    return model, module


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (lambda: transformers.BloomConfig(vocab_size=32, hidden_size=24, n_layer=1, n_head=4), per_head(HEADS, 1)),
        (lambda: transformers.FalconConfig(**SMALL, multi_query=True), all_queries_first()),
        (lambda: transformers.FalconConfig(**SMALL, multi_query=False, alibi=True, parallel_attn=False), per_head(HEADS, 1)),
        (lambda: transformers.FalconConfig(**SMALL, new_decoder_architecture=True, num_kv_heads=2), per_head(2, 2)),
    ],
    ids=["bloom", "falcon, multi-query", "falcon, per head", "falcon, groups"],
)
def test_models_that_split_by_a_function_of_their_own(config, expected):
    model, module = attention_of(config())
    fused = torch.arange(module.query_key_value.out_features)[None, None]
    split = module._reshape(fused) if hasattr(module, "_reshape") else module._split_heads(fused)
    for found, numbers in zip(split, expected, strict=True):
        heads = found.reshape(-1, SIZE)
        assert torch.equal(heads.expand(HEADS, SIZE) if len(heads) == 1 else heads, numbers)
    assert "per head" in family_of(type(model).__name__).sites["attn_qkv"].layout


@pytest.mark.parametrize(
    ("config", "projection", "expected", "recorded"),
    [
        (lambda: transformers.GPTNeoXConfig(**SMALL), "query_key_value", per_head(HEADS, 1), "per head"),
        (lambda: transformers.GPT2Config(vocab_size=32, n_embd=24, n_layer=1, n_head=4), "c_attn", side_by_side(), "q | k | v"),
    ],
    ids=["gpt_neox", "gpt2"],
)
def test_models_that_split_on_the_way(config, projection, expected, recorded):
    heard = []

    def attend(module, query, key, value, mask, **rest):
        heard.append((query, key, value))
        return query.transpose(1, 2), None

    transformers.AttentionInterface.register("listening", attend)
    transformers.AttentionMaskInterface.register("listening", lambda *args, **rest: None)
    settings = config()
    settings._attn_implementation = "listening"
    model, module = attention_of(settings)
    fused = getattr(module, projection)
    with torch.no_grad():
        fused.weight.zero_()
        fused.bias.copy_(torch.arange(fused.bias.numel()))
        model(torch.tensor([[5, 6]]))
    # rotary positions leave the first token as it is
    for found, numbers in zip(heard[0], expected, strict=True):
        assert torch.equal(found[0, :, 0].long(), numbers)
    assert recorded in family_of(type(model).__name__).sites["attn_qkv"].layout
