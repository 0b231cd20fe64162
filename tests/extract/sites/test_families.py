"""Every family: what the hooks give in batches equals a plain script that runs one text at a time."""

import numpy as np
import pytest
import torch
import transformers

from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.hf.backend import make_backend
from actlas.extract.checkpoints.resolve import resolve_models
from actlas.names import SITES
from tests.extract.conftest import FORMS

DECODERS = (
    *("bloom", "xglm", "gpt2", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3"),
    *("gemma2", "gemma3", "olmo2", "falcon", "falcon_alibi"),
)
ENCODERS = ("bert", "xlm_roberta")
FAMILIES = (*DECODERS, *ENCODERS)
GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "olmo2")

# written down a second time, by hand, from the modules of each family: (block, qkv, attn_out, pre, up, down, embed)
PLAIN = {
    "bloom": (
        "transformer.h",
        "self_attention.query_key_value",
        "self_attention.dense",
        "mlp.dense_h_to_4h",
        None,
        "mlp.dense_4h_to_h",
        "transformer.word_embeddings",
    ),
    "xglm": ("model.layers", "self_attn.{}_proj", "self_attn.out_proj", "fc1", None, "fc2", "model.embed_tokens"),
    "gpt2": ("transformer.h", "attn.c_attn", "attn.c_proj", "mlp.c_fc", None, "mlp.c_proj", "transformer.wte"),
    "gpt_neox": (
        "gpt_neox.layers",
        "attention.query_key_value",
        "attention.dense",
        "mlp.dense_h_to_4h",
        None,
        "mlp.dense_4h_to_h",
        "gpt_neox.embed_in",
    ),
    "opt": (
        "model.decoder.layers",
        "self_attn.{}_proj",
        "self_attn.out_proj",
        "fc1",
        None,
        "fc2",
        "model.decoder.embed_tokens",
    ),
    "bert": (
        "encoder.layer",
        ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attention.output.dense",
        "intermediate.dense",
        None,
        "output.dense",
        "embeddings.word_embeddings",
    ),
}
PLAIN["falcon"] = PLAIN["falcon_alibi"] = PLAIN["bloom"]
PLAIN["xlm_roberta"] = PLAIN["bert"]
for _name in GATED:
    PLAIN[_name] = (
        "model.layers",
        "self_attn.{}_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
        "model.embed_tokens",
    )


def sites_of(family):
    family, _ = FORMS.get(family, (family, {}))
    return [site for site in SITES if site != "mlp_up" or family in GATED]


def token_lists(n=9, seed=0):
    """Odd lengths from 1 to 31 in no order."""
    rng = np.random.default_rng(seed)
    return [rng.integers(3, 96, size=length).tolist() for length in rng.permutation([1, 2, 3, 5, 5, 7, 13, 30, 31])[:n]]


def plain_activations(folder, family, lists):
    """site -> per text float array "layers tokens neurons", by hooks that keep everything, one text at a time."""
    family, _ = FORMS.get(family, (family, {}))
    if family in ENCODERS:
        model = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    else:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    block, qkv, attn_out, pre, up, down, embed = PLAIN[family]
    kept = {}

    def keep(name, side):
        def before(_, args):
            kept[name] = args[0].detach().clone()

        def after(_, __, output):
            kept[name] = (output[0] if isinstance(output, tuple) else output).detach().clone()

        return before if side == "input" else after

    heads = (qkv,) if isinstance(qkv, str) and "{" not in qkv else qkv
    heads = [qkv.format(name) for name in "qkv"] if isinstance(heads, str) else list(heads)
    for layer in range(2):
        module = model.get_submodule(f"{block}.{layer}")
        for i, path in enumerate(heads):
            module.get_submodule(path).register_forward_hook(keep(("attn_qkv", layer, i), "output"))
        plain = [("attn_out", attn_out), ("mlp_pre", pre), ("mlp_out", down)] + ([("mlp_up", up)] if up else [])
        for site, path in plain:
            module.get_submodule(path).register_forward_hook(keep((site, layer, 0), "output"))
        module.get_submodule(down).register_forward_pre_hook(keep(("mlp_hidden", layer, 0), "input"))
        module.register_forward_hook(keep(("resid", layer, 0), "output"))
    model.get_submodule(embed).register_forward_hook(keep(("embed", 0, 0), "output"))
    values, losses = {site: [] for site in sites_of(family)}, []
    for ids in lists:
        tensor = torch.tensor([ids])
        with torch.no_grad():
            answer = model(tensor) if family in ENCODERS else model(tensor, labels=tensor)
        if family not in ENCODERS and len(ids) > 1:
            losses.append((float(answer.loss), len(ids) - 1))
        for site in values:
            n_layers = 1 if site == "embed" else 2
            layers = [
                np.concatenate(
                    [kept[site, layer, i].reshape(len(ids), -1).numpy() for i in range(3) if (site, layer, i) in kept],
                    axis=1,
                )
                for layer in range(n_layers)
            ]
            values[site].append(np.stack(layers))
    return values, losses


def relative_error(ours, plain):
    return float(np.abs(ours - plain).max() / np.abs(plain).max())


def open_session(folder, **changes):
    backend = make_backend(BackendSettings(device="cpu", tokens_per_batch=changes.pop("tokens_per_batch", 70)))
    source = backend.locate(resolve_models(folder)[0])
    return backend.open(source, Capture(**{"dtype": "float32", **changes}))


@pytest.mark.parametrize("family", [*FAMILIES, *FORMS])
def test_batched_values_equal_a_plain_hook_script(family, tiny_models, blocks):
    folder, lists = tiny_models(family), token_lists()
    sites = tuple(sites_of(family))
    sampled = [(0, 0), (2, 1), (2, 4), (8, 6)]
    sampled = [(row, min(at, len(lists[row]) - 1)) for row, at in sampled]
    plain, losses = plain_activations(folder, family, lists)
    block = blocks(lists, language=[0] * 4 + [1] * 5, sampled=sampled)
    for pooling in ("max", "mean", "last"):
        session = open_session(
            folder,
            sites=sites,
            token_sites=("embed", "resid"),
            count_sites=("mlp_hidden",),
            pooling=pooling,
            n_languages=2,
        )
        values = session.run_block(block).collect()
        session.close()
        reduce = {"max": lambda x: x.max(axis=1), "mean": lambda x: x.mean(axis=1), "last": lambda x: x[:, -1]}[pooling]
        for site in sites:
            expected = np.stack([reduce(text) for text in plain[site]], axis=2)
            assert values.cubes[site].shape == expected.shape
            assert relative_error(values.cubes[site], expected) <= 1e-5, site
    for site in ("embed", "resid"):
        expected = np.stack([plain[site][row][:, at] for row, at in sampled], axis=1)
        assert relative_error(values.tokens[site], expected) <= 1e-5
    for language, rows in enumerate((range(4), range(4, 9))):
        expected = sum((plain["mlp_hidden"][row] > 0).sum(axis=1) for row in rows)
        assert np.array_equal(values.counts["mlp_hidden"][language], expected)
        assert values.n_tokens[language] == sum(len(lists[row]) for row in rows)
    if not losses:
        assert values.loss_tokens == 0
        assert FORMS.get(family, (family,))[0] in ENCODERS
    else:
        assert values.loss_tokens == sum(n for _, n in losses)
        assert values.loss_sum == pytest.approx(sum(loss * n for loss, n in losses), rel=1e-4)


def test_tied_and_untied_heads_are_both_covered(tiny_models):
    """The losses above would not cover a head that is loaded wrongly if all models tied theirs."""
    configs = [transformers.AutoConfig.from_pretrained(tiny_models(family)) for family in DECODERS]
    assert {config.tie_word_embeddings for config in configs} == {True, False}


def test_forms_differ_from_their_families(tiny_models):
    """A setting that transformers does not read would leave two equal models behind two names."""
    ids = torch.tensor([max(token_lists(), key=len)])
    for form, (family, _) in FORMS.items():
        found = []
        for name in (form, family):
            auto = transformers.AutoModel if family in ENCODERS else transformers.AutoModelForCausalLM
            model = auto.from_pretrained(tiny_models(name)).eval()
            with torch.no_grad():
                found.append(model(ids)[0])
        assert not torch.allclose(*found, atol=1e-3), form


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom"])
def test_max_with_pad_is_the_maximum_over_a_fixed_length(family, tiny_models, blocks):
    folder, lists = tiny_models(family), token_lists()
    session = open_session(folder, sites=("mlp_pre",), count_sites=("mlp_hidden",), pooling="max_with_pad", pad_to=40)
    values = session.run_block(blocks(lists)).collect()
    session.close()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    kept = []
    block, pre = PLAIN[family][0], PLAIN[family][3]
    model.get_submodule(f"{block}.1.{pre}").register_forward_hook(lambda _, __, output: kept.append(output))
    for ids in lists:
        padded = torch.zeros(1, 40, dtype=torch.long)
        padded[0, : len(ids)] = torch.tensor(ids)
        with torch.no_grad():
            model(padded, attention_mask=(torch.arange(40) < len(ids)).long()[None])
    expected = torch.stack([output.reshape(40, -1).amax(0) for output in kept], dim=1).numpy()
    assert relative_error(values.cubes["mlp_pre"][1], expected) <= 1e-5
    assert values.n_tokens.sum() == sum(map(len, lists))
    plain, _ = plain_activations(folder, family, lists)
    expected_counts = sum((text > 0).sum(axis=1) for text in plain["mlp_hidden"])
    assert np.array_equal(values.counts["mlp_hidden"][0], expected_counts)


@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_pooling_a_batch_at_once_as_on_a_gpu_gives_the_same(pooling, tiny_models, blocks):
    found = []
    for pools_at_once in (False, True):
        session = open_session(tiny_models("gpt2"), sites=("mlp_pre",), count_sites=("mlp_hidden",), pooling=pooling)
        session._hooks.pooler.pools_at_once = pools_at_once
        found.append(session.run_block(blocks(token_lists())).collect())
        session.close()
    spanwise, at_once = found
    np.testing.assert_allclose(at_once.cubes["mlp_pre"], spanwise.cubes["mlp_pre"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(at_once.counts["mlp_hidden"], spanwise.counts["mlp_hidden"])


def test_special_tokens_can_be_run_but_not_pooled(tiny_models, blocks):
    folder, lists = tiny_models("llama"), token_lists()
    lists = [[1, *ids, 2] for ids in lists]
    for inner in (None, 2):
        flags = [np.array([True] + [i == inner for i in range(len(ids) - 2)] + [True]) for ids in lists]
        flags = [flag if (~flag).any() else np.arange(len(flag)) != 1 for flag in flags]
        session = open_session(folder, sites=("resid",), count_sites=("mlp_hidden",))
        values = session.run_block(blocks(lists, is_special=np.concatenate(flags))).collect()
        session.close()
        plain, _ = plain_activations(folder, "llama", lists)
        expected = np.stack([x[:, ~f].max(axis=1) for x, f in zip(plain["resid"], flags, strict=True)], axis=2)
        assert relative_error(values.cubes["resid"], expected) <= 1e-5
        counts = sum((x[:, ~f] > 0).sum(axis=1) for x, f in zip(plain["mlp_hidden"], flags, strict=True))
        assert np.array_equal(values.counts["mlp_hidden"][0], counts)
        assert values.n_tokens[0] == sum((~f).sum() for f in flags)
