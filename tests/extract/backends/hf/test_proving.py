"""Every family of the table is proved; a wrong tensor planted in the table is not, in every dtype."""

from dataclasses import replace

import pytest
import torch

from actlas.errors import CapturePointNotFound, NotFiniteValues, SiteNotProved
from actlas.extract.backends.hf.proving import Prover
from actlas.extract.sites import families
from actlas.extract.sites.families import SitePath, family_of, known_sites
from actlas.extract.sites.proofs import PROOFS, refuse_unproved
from actlas.extract.sites.resolve import site_map
from actlas.testing.tiny_configs import model_of as random_model
from actlas.testing.tiny_configs import tiny_configs
from tests.extract.conftest import FORMS

CONFIGS = tiny_configs()
NAMES = [*CONFIGS, *FORMS]
DTYPES = ("float32", "bfloat16", "float16")


def config_of(name):
    family, changes = FORMS.get(name, (name, {}))
    config = CONFIGS[family]()
    return type(config)(**{**config.to_dict(), **changes}) if changes else config


def model_of(config, dtype):
    return random_model(config).to(getattr(torch, dtype))


def prove(model, dtype, *, is_full=False):
    architecture = type(model).__name__
    with torch.inference_mode():
        return Prover.of(
            model,
            architecture,
            family_of(architecture),
            dtype,
            model.config.pad_token_id or 0,
            torch.device("cpu"),
            has_head=model.get_output_embeddings() is not None,
        ).prove(is_full=is_full)


def red(proofs):
    return {proof.proof for proof in proofs if not proof.is_proved}


@pytest.mark.parametrize("name", NAMES)
def test_every_family_is_proved(name):
    model = model_of(config_of(name), "float32")
    proofs = prove(model, "float32", is_full=True)
    assert red(proofs) == set()
    family = family_of(type(model).__name__)
    assert {proof.site for proof in proofs} == set(known_sites(family))
    wanted = set(PROOFS)
    if not family.is_causal:
        wanted -= {"keys"}
    if family.rules.heads == "latent":
        wanted -= {"values"}
    if "attn_qkv" not in family.sites:
        wanted -= {"values", "replay", "queries", "keys"}
    assert {proof.proof for proof in proofs} == wanted


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("name", ["bloom", "opt", "gemma3", "gemma4", "falcon", "xlm_roberta", "deepseek_v3", "granite"])
def test_families_are_proved_in_half_precision(name, dtype):
    assert red(prove(model_of(config_of(name), dtype), dtype, is_full=True)) == set()


def test_no_family_of_the_table_is_left_out():
    """The cases above are by configuration; this holds that the table has no family beside them."""
    proved = set()
    for name in CONFIGS:
        config = type(config_of(name)).__name__.removesuffix("Config").removesuffix("Text")
        proved |= {family.architectures for family in families.FAMILIES if family.architectures[-1].startswith(config)}
        proved |= {family.architectures for family in families.FAMILIES if family.architectures[0].startswith(config)}
    assert {family.architectures for family in families.FAMILIES} == proved
    assert len(proved) >= 30


def test_numbers_that_are_none_prove_nothing():
    model = model_of(config_of("llama"), "float32")
    model.model.layers[1].mlp.down_proj.weight.data[3, 4] = float("nan")
    with pytest.raises(NotFiniteValues, match=r"the output of model.layers.1.\S+ is NaN or infinite for some tokens"):
        prove(model, "float32")


def test_a_site_of_layers_that_differ_in_width_is_not_known():
    """Layers of Gemma 4 have keys of several widths, or none of their own."""
    assert "attn_qkv" not in known_sites(family_of("Gemma4ForCausalLM"))
    with pytest.raises(CapturePointNotFound, match="Gemma4ForCausalLM has no site 'attn_qkv'; it has attn_out"):
        site_map("Gemma4ForCausalLM", 2, ["attn_qkv"])


def at(module, side="output", **more):
    return SitePath((module,), side, **more)


def stream(**changes):
    return lambda rules: replace(rules, stream=replace(rules.stream, **changes))


def embedding(**changes):
    return lambda rules: replace(rules, embedding=replace(rules.embedding, **changes))


#: What is wrong -> family, sites that are read elsewhere, other rules, proofs of which one at least has to be red.
MUTATIONS = {
    "mlp_hidden at the output of a sibling": ("llama", {"mlp_hidden": at("mlp.gate_proj")}, None, {"activation", "down"}),
    "mlp_pre and mlp_up swapped": ("qwen2", {"mlp_pre": at("mlp.up_proj"), "mlp_up": at("mlp.gate_proj")}, None, {"activation"}),
    "halves swapped": (
        "phi3",
        {s: at("mlp.gate_up_proj", part=(1 - i, 2)) for i, s in enumerate(["mlp_pre", "mlp_up"])},
        None,
        {"activation"},
    ),
    "mlp_pre behind the nonlinearity": ("gpt2", {"mlp_pre": at("mlp.act")}, None, {"activation"}),
    "attn_out at the block's output": ("llama", {"attn_out": at("")}, None, {"stream", "values"}),
    "mlp_out with the residual in it": ("bloom", {"mlp_out": at("mlp")}, None, {"stream", "down"}),
    "mlp_out behind its norm": ("gemma3", {"mlp_out": at("post_feedforward_layernorm")}, None, {"stream", "down"}),
    "attn_out behind its norm": ("olmo2", {"attn_out": at("post_attention_layernorm")}, None, {"stream", "values"}),
    "channels of the stream named neurons": ("mistral", {"mlp_hidden": at("mlp.up_proj", "input")}, None, {"width"}),
    "channels of the stream for queries": ("opt", {"attn_qkv": at("self_attn.q_proj", "input")}, None, {"width"}),
    "a module that never runs": ("falcon", {"mlp_pre": at("self_attention.attention_dropout")}, None, {"once"}),
    "a module that runs twice": ("phi", {"mlp_out": at("resid_dropout")}, None, {"once"}),
    "queries and keys swapped": ("qwen3", {"attn_qkv": SitePath(tuple(f"self_attn.{n}_proj" for n in "kqv"))}, None, {"queries"}),
    "keys for values": ("llama", {"attn_qkv": SitePath(tuple(f"self_attn.{n}_proj" for n in "qkk"))}, None, {"replay", "values"}),
    "keys and values swapped": (
        "bert",
        {"attn_qkv": SitePath(tuple(f"attention.self.{n}" for n in ("query", "value", "key")))},
        None,
        {"values"},
    ),
    "heads in another order": ("gpt_neox", {}, lambda rules: replace(rules, heads="parts"), {"values"}),
    "a norm behind attention forgotten": ("gemma2", {}, stream(attn_norm=""), {"stream"}),
    "a norm behind the MLP forgotten": ("olmo3", {}, stream(mlp_norm=""), {"stream"}),
    "a norm of the stream forgotten": ("bert", {}, stream(middle=""), {"stream"}),
    "a multiplier forgotten": ("granite", {}, stream(multiplier=""), {"stream"}),
    "a second addition forgotten": ("gemma4", {}, stream(added=()), {"stream"}),
    "a scale of the stream forgotten": ("gemma4", {}, stream(scale=""), {"stream"}),
    "a scale of embeddings forgotten": ("gemma", {}, embedding(scale=""), {"rows"}),
    "a factor of embeddings forgotten": ("granite", {}, embedding(factor=""), {"start"}),
    "positions forgotten": ("xglm", {}, embedding(added=()), {"start"}),
    "another nonlinearity": ("bloom", {}, lambda rules: replace(rules, activation="=silu"), {"activation"}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("what", MUTATIONS)
def test_a_wrong_tensor_in_the_table_is_not_proved(what, dtype, monkeypatch):
    name, sites, rules, expected = MUTATIONS[what]
    model = model_of(config_of(name), dtype)
    right = family_of(type(model).__name__)
    wrong = replace(right, sites={**right.sites, **sites}, rules=rules(right.rules) if rules else right.rules)
    monkeypatch.setattr(families, "FAMILIES", tuple(wrong if family is right else family for family in families.FAMILIES))
    proofs = prove(model, dtype)
    assert red(proofs) & expected
    with pytest.raises(
        SiteNotProved, match=rf"^{type(model).__name__}: site \w+, layer \d did not pass the proof '\w+' \(.*{dtype} allows"
    ):
        refuse_unproved(proofs, type(model).__name__, dtype)
